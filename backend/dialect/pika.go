package dialect

import (
	"bytes"
	"strings"

	"sluice/router"
)

// Pika is Pika 3.5 and 4.0, with and without the fix of pull request 3233. Its SLOTSMGRT-EXEC-WRAPPER can't be
// believed: 4.x says "on its way" for ever of keys that are gone, 3.5 says "gone" of keys with capitals that are there,
// and both say [-1,-1] while another slot moves. So a key is moved on access; what is not moved by it (a stream on 3.5,
// a tagged key that is missing in the index) shows in EXISTS, asked as AppendExists does, and so does a key that is
// gone and still in the cache. And the background migration that the dashboard drives does not know of keys that are
// moved on access: for such a key it sends an older value after a newer one, or a DEL. So with the dashboard's method
// semi-async keys are left to it. What the server reports as its version makes no difference to any of this.
var Pika = register(&Family{
	Name: "pika", Judge: judgePika, FindKey: findKeyPika, CachesMoved: true, Background: true, RelinkUnproven: true,
	NoDBSize: true,
})

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

// findKeyPika never lets the source write, and moves no key that the background may move.
func findKeyPika(r KeyRequest) Way {
	switch {
	case r.Single && r.Reads:
		return ReadAtSource
	case r.Method == router.SemiAsync:
		return AwaitBackground
	}
	return MoveAlone
}

// ClearCache is the command that empties the cache of a Pika. It is answered at once, and from then on nothing is
// read from what was in it (4.0.1 and 3.5.5, PikaServer::ClearCacheDbAsync: the cache is not used until it is empty).
const ClearCache = "CLEARCACHE"

// ReplicaFault is why replicas of a master with this version lack data whatever they say, in words, "" when nothing is
// known. Pika 4.0 (4.0.0 and 4.0.1 call themselves 4.0.0) replicates SET with EX or PX, SETEX and PSETEX with an expiry
// in 1970.
func (f *Family) ReplicaFault(version string) string {
	if f == Pika && strings.HasPrefix(version, "4.0.") {
		return "Pika " + version + " replicates SET with EX or PX, and SETEX, as keys that have expired"
	}
	return ""
}

// BackgroundBusy reads the answer to INFO stats: "is_slots_migrating:Yes, , 3" while the background migration has its
// thread, also between two rounds. SLOTSMGRT-ASYNC-STATUS would tell too, but it holds the lock for which a batch of the
// dashboard does not wait: the dashboard would get "may be currently migrating", and pause for six seconds
// (Pika 4.0, src/pika_migrate_thread.cc).
func BackgroundBusy(info []byte) bool {
	return bytes.Contains(info, []byte("is_slots_migrating:Yes"))
}
