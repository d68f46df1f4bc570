package dialect

import "bytes"

// Pika is Pika 3.5 and 4.0, with and without the fix of pull request 3233. Its SLOTSMGRT-EXEC-WRAPPER can't be
// believed: 4.x says "on its way" for ever of keys that are gone, 3.5 says "gone" of keys with capitals that
// are there, and both say [-1,-1] while another slot moves. So a key is moved on access; what is not moved by it (a stream
// on 3.5, a tagged key that is missing in the index) shows in TYPE, as does on 3.5 a key that is gone but
// still in the cache of its GET. And the background migration that the dashboard drives does not know of keys
// that are moved on access: what a round of it has sent for such a key may reach the target later, even a DEL, so
// the end of the round is awaited before the key is used there. What the server reports as its version makes no difference to any of this.
var Pika = register(&Family{Name: "pika", Judge: judgePika, MovesKeys: true, ReadsAtSource: true, ProveMoved: true, Rounds: true})

// pikaProven has the spellings of Pika, which puts ERR in front.
var pikaProven = []token{
	{"-ERR READONLY ", NoMaster},
	{"-ERR NOAUTH ", Denied},
	{"-ERR Cannot process command before new leader sync finished", NoMaster},
}

func judgePika(reply []byte, _ string) Verdict {
	if v := judge(reply, pikaProven); v.Kind != Pass {
		return v
	}
	return judge(reply, proven)
}

// Round is the background migration of a Pika, as SLOTSMGRT-ASYNC-STATUS and INFO stats tell it.
type Round struct {
	Idle  bool   // no migration is under way
	Moved string // what has been moved by the rounds that have ended; it changes with each that moved something
}

// RoundQueries are the two commands to ask for it. Their answers go to ReadRound.
var RoundQueries = [2][]byte{
	[]byte("*1\r\n$22\r\nSLOTSMGRT-ASYNC-STATUS\r\n"),
	[]byte("*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n"),
}

// ReadRound reads both answers. ok is false when they are not those of a Pika.
//
//	dest server: 127.0.0.1:9231 / slot number: 616 / migrating  : yes / moved keys : 10 / remain keys: 291
//	is_slots_migrating:Yes, 20261121005740, 3
//
// STATUS says "migrating : yes" for as long as the migration has its thread; INFO says Yes while keys are on
// their way (Pika 4.0, src/pika_migrate_thread.cc).
func ReadRound(status, info []byte) (r Round, ok bool) {
	if !bytes.HasPrefix(status, []byte("*5\r\n")) {
		return Round{}, false
	}
	for line := range bytes.Lines(status) {
		name, value, found := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if !found {
			continue
		}
		value = bytes.TrimSpace(value)
		switch string(bytes.TrimSpace(name)) {
		case "migrating":
			r.Idle, ok = string(value) == "no", true
		case "slot number", "moved keys":
			r.Moved += string(value) + " "
		}
	}
	r.Idle = r.Idle || bytes.Contains(info, []byte("is_slots_migrating:No,"))
	return r, ok
}
