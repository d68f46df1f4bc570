package dialect

// Pika is Pika 3.5 and 4.0, with and without the fix of pull request 3233. Its SLOTSMGRT-EXEC-WRAPPER can't be
// believed: 4.x says "on its way" for ever of keys that are gone, 3.5 says "gone" of keys with capitals that
// are there, and both say [-1,-1] while another slot moves. So a key is moved on access; what is not moved by it (a stream
// on 3.5, a tagged key that is missing in the index) shows in TYPE, as does on 3.5 a key that is gone but
// still in the cache of its GET. What the server reports as its version makes no difference to any of this.
var Pika = register(&Family{Name: "pika", Judge: judgePika, MovesKeys: true, ReadsAtSource: true, ProveMoved: true})

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
