package lag

import (
	"math"
	"testing"
)

// TestWhatAReplicaSaysAgainstItself: one answer is enough to be read no more.
func TestWhatAReplicaSaysAgainstItself(t *testing.T) {
	f := func(state State, reason string, changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t)
		c.admit()
		c.say("r:2", changes...)
		c.wants(state, reason)
		// It counts as much when the master is silent, and before anything was known.
		c.say("m:1")
		c.say("r:2", changes...)
		c.wants(state, reason)
		c = newGroupFixture(t)
		c.say("m:1")
		c.say("r:2", changes...)
		c.wants(state, reason)
	}
	f(Syncing, "loads its data", loading)
	f(Syncing, "loads its data", loading, syncing, linkDown)
	f(Syncing, "gets a full copy of the master's data", syncing)
	f(Diverged, "says that it is a master", isMaster)
	f(Unknown, "does not say whether it is a replica", roleless)
	f(Broken, "a full sync has begun and not ended", unfit("a full sync has begun and not ended"))
	f(Broken, "follows nobody", follows(""))
	f(Broken, "its link to m:1 is down", linkDown)
	f(Broken, "its link to x:9 is down", linkDown, follows("x:9"))
	// Offsets of another history say nothing: equal ones least of all.
	f(Diverged, "has replication id bbbbbbbb, the master has aaaaaaaa", id(histB))
	f(Diverged, "has replication id bbbbbbbb, the master has aaaaaaaa", id(histB), follows("x:9"))
	// The old SYNC, after a PSYNC that was refused: no id, and a count of its own.
	f(Broken, "has no replication id, so its offset says nothing", id(""), at(-1))
	f(Broken, "has no replication id, so its offset says nothing", id(""), at(50))
	f(Broken, "has no replication id, so its offset says nothing", id(""), follows("x:9"))
	f(CatchingUp, "its link is up, and it has applied nothing (offset 0)", at(0))
	f(CatchingUp, "its link is up, and it has applied nothing (offset -1)", at(-1))
}

// TestWipedReplica: a master that was restarted empty and its replica agree on offset 0.
func TestWipedReplica(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	if dropped := c.say("m:1", id(histB), at(0), life(2)); dropped != "the master was restarted, or its connection was lost" {
		t.Errorf("dropped %q", dropped)
	}
	c.wants(Diverged, "has replication id aaaaaaaa, the master has bbbbbbbb")
	c.wantsMark(0)
	c.say("r:2", id(histB), at(0))
	c.wants(CatchingUp, "its link is up, and it has applied nothing (offset 0)")
	c.say("m:1", id(histB), at(14), life(2))
	c.say("r:2", id(histB), at(14))
	c.compare("")
	c.wants(InSync, "follows its master")
}

func TestWhatTheMasterSaysOfAReplica(t *testing.T) {
	f := func(state State, reason string, changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t)
		c.admit()
		c.say("m:1", changes...)
		c.wants(state, reason)
	}
	other := Listed{Addr: "s:3", Online: true, State: "online", Offset: 100}
	f(CatchingUp, "the master does not list it", lists())
	f(CatchingUp, "the master does not list it", lists(other))
	f(CatchingUp, `the master calls it "wait_bgsave" at offset 0`, lists(other, Listed{Addr: "r:2", State: "wait_bgsave"}))
	// Its lag is 0 then, and the offset may be that of its last life.
	f(CatchingUp, `the master calls it "send_bulk" at offset 100`, lists(Listed{Addr: "r:2", State: "send_bulk", Offset: 100}))
	f(CatchingUp, `the master calls it "online" at offset 0`, lists(Listed{Addr: "r:2", Online: true, State: "online"}))
	f(InSync, "follows its master", lists(Listed{Addr: "r:2", Online: true, State: "online", Offset: 7}))
	f(InSync, "follows its master", lists(Listed{Addr: "127.0.0.1:2", Online: true, State: "online", Offset: -1})) // By another name.
	// Valkey lists a replica twice while it gets its copy.
	f(InSync, "follows its master", lists(Listed{Addr: "r:2", State: "send_bulk"}, Listed{Addr: "r:2", Online: true, State: "online", Offset: 9}))
	f(CatchingUp, "the master loads its data", loading)
	f(Unknown, "the master says that it is a replica of x:9", isReplica)
}

func TestMasterHasAState(t *testing.T) {
	c := newGroupFixture(t)
	f := func(state State, reason string) {
		t.Helper()
		if v, _ := c.Verdict("m:1"); v.State != state || v.Reason != reason || v.Readable {
			t.Errorf("%q: %q, readable %t; want %q: %q", v.State, v.Reason, v.Readable, state, reason)
		}
	}
	c.judge()
	f(Unknown, "has not been asked yet")
	c.silent("m:1")
	f(Broken, "does not answer: connection refused")
	c.say("m:1", loading)
	f(Syncing, "loads its data")
	c.say("m:1")
	f(InSync, "is the master")
	c.say("m:1", isReplica)
	f(Broken, "says that it is a replica of x:9, which the topology does not name")
	c.wait(301 * ms)
	f(Broken, "has not answered for 300ms")
	if c.Proof("m:1") != nil {
		t.Error("a master has a proof")
	}
}

func TestWithoutEvidence(t *testing.T) {
	c := newGroupFixture(t)
	c.judge()
	c.wants(Unknown, "has not been asked yet")
	c.silent("r:2")
	c.wants(Broken, "does not answer: connection refused")
	// The master says that the replica is well, and nothing else is known.
	c.say("m:1")
	c.wants(Broken, "does not answer: connection refused")
	c.say("r:2")
	c.compare("")
	c.wants(InSync, "follows its master")
	c.silent("r:2")
	c.wants(Broken, "does not answer: connection refused")
	if _, ok := c.Sample("r:2"); ok {
		t.Error("a node that has failed has evidence")
	}
	c.say("r:2")
	c.wants(InSync, "follows its master")
	if v, ok := c.Verdict("x:9"); ok || v != (Verdict{}) || c.Proof("x:9") != nil {
		t.Errorf("a stranger has a verdict: %+v", v)
	}
	if c.say("x:9") != "" {
		t.Error("a stranger drops evidence")
	}
	c.silent("x:9")
	c.Comparing("x:9")
	c.Compared("x:9", 1, "")
	// What the master was asked later than the replica is reached all the same.
	c = newGroupFixture(t)
	c.say("r:2")
	c.wants(Broken, "the master does not answer, and nothing was proven before")
	c.say("m:1")
	c.wants(CatchingUp, "is 0s behind") // It is asked once more.
}

// TestUnread: where nobody reads from replicas nothing is compared, and nothing is proven by that.
func TestUnread(t *testing.T) {
	c := newGroupFixture(t, func(r *Rules) { r.Unread = true })
	c.say("m:1")
	c.say("r:2")
	c.wantsVerdict("r:2", InSync, "follows its master", false)
	if v, _ := c.Verdict("r:2"); v.Suspect {
		t.Errorf("%+v", v)
	}
	c.SetRules(Rules{OffsetsProve: true, MaxLag: 1000 * ms, MaxAge: 300 * ms})
	c.judge()
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
	c.compare("")
	c.wants(InSync, "follows its master")
}

// TestEvidenceGrowsOld: evidence that nobody has renewed counts for MaxAge, and the proof says so too.
func TestEvidenceGrowsOld(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	p := c.Proof("r:2")
	if answered := c.now; p.ValidUntil != answered+300*ms || p.Asked != answered-2*ms || p.CaughtUpTo != answered-12*ms || p.Behind != 0 {
		t.Errorf("%+v at %d", p, answered)
	}
	c.wait(280 * ms)
	c.say("m:1")
	c.wait(10 * ms)
	c.wants(InSync, "follows its master") // 300 ms.
	c.wait(1)
	c.wants(Broken, "has not answered for 300ms")
	c.say("r:2")
	c.wants(InSync, "follows its master")
}

// by makes r:2 answer with a watermark that is so long ago; it needs heartbeats.
func (c *groupFixture) by(lag int64, state State, reason string) {
	c.Helper()
	if v, _ := c.Verdict("r:2"); c.now < v.CaughtUpTo+lag {
		c.now = v.CaughtUpTo + lag // Watermarks do not go back.
	}
	c.say("m:1")
	c.say("r:2", heartbeat(c.now+10*ms-lag))
	c.wants(state, reason)
	c.wantsMark(c.now - lag)
	c.wait(1) // The same sample counts once.
	c.wants(state, reason)
}

// patient makes evidence count for ever.
func patient(r *Rules) { r.MaxAge = math.MaxInt64 / 2 }

// TestHysteresis: lagging above MaxLag; back after three good samples at half of it.
func TestHysteresis(t *testing.T) {
	const ok, before = "follows its master", "was behind until a moment ago"
	c := newGroupFixture(t, pika, beats, patient)
	c.now = 1e6 * ms
	c.say("m:1")
	c.say("r:2", heartbeat(c.now))
	c.compare("")
	c.by(501*ms, InSync, ok)
	c.by(1000*ms, InSync, ok)
	c.by(1010*ms, Lagging, "is 1.01s behind")
	c.by(2000*ms, Lagging, "is 2s behind")
	c.by(1000*ms, Lagging, before)
	for range 5 {
		c.by(501*ms, Lagging, before)
	}
	c.by(500*ms, Lagging, before)
	c.by(0, Lagging, before)
	c.by(501*ms, Lagging, before) // The count begins anew.
	c.by(500*ms, Lagging, before)
	c.by(500*ms, Lagging, before)
	c.by(500*ms, InSync, ok)
	c.by(1000*ms, InSync, ok)
	c.by(1010*ms, Lagging, "is 1.01s behind")
	c.by(0, Lagging, before)
	c.by(0, Lagging, before)
	c.by(1010*ms, Lagging, "is 1.01s behind")
	c.by(0, Lagging, before)
	c.by(0, Lagging, before)
	c.by(0, InSync, ok)
	if got := c.path(); got != "catching up, in sync, lagging, in sync, lagging, in sync" {
		t.Errorf("%s", got)
	}
}

// TestNothingToSettleAfterAnotherState: a replica whose link was lost lags no more, it catches up.
func TestNothingToSettleAfterAnotherState(t *testing.T) {
	c := newGroupFixture(t, pika, beats, patient, func(r *Rules) { r.RelinkUnproven = false })
	c.now = 1e6 * ms
	c.say("m:1")
	c.say("r:2", heartbeat(c.now))
	c.compare("")
	c.by(1010*ms, Lagging, "is 1.01s behind")
	c.by(0, Lagging, "was behind until a moment ago")
	c.say("r:2", linkDown)
	c.wants(Broken, "its link to m:1 is down")
	c.by(600*ms, CatchingUp, "is 600ms behind") // Neither far nor near.
	c.by(1010*ms, CatchingUp, "is 1.01s behind")
	c.by(500*ms, InSync, "follows its master")
}

func TestMaxBehind(t *testing.T) {
	c := newGroupFixture(t, patient, func(r *Rules) { r.MaxBehind, r.MaxLag = 1000, math.MaxInt64/4 })
	c.say("m:1", at(10))
	c.say("m:1", at(10_000))
	f := func(behind int64, state State, reason string) {
		t.Helper()
		m, _ := c.Sample("m:1")
		c.say("m:1", at(m.Offset+10_000))
		c.say("r:2", at(m.Offset+10_000-behind))
		c.wants(state, reason)
		if v, _ := c.Verdict("r:2"); v.Behind != behind {
			t.Errorf("%d behind, want %d", v.Behind, behind)
		}
		if p := c.Proof("r:2"); p != nil && p.Behind != behind {
			t.Errorf("%+v", p)
		}
		c.say("m:1", at(m.Offset+12_000)) // What it writes since then is no lag: the replica is asked next.
		c.wants(state, reason)
	}
	const ok, before = "follows its master", "was behind until a moment ago"
	f(501, CatchingUp, "is 20ms behind")
	f(500, CatchingUp, "was never seen to sync; its data is compared with the master's")
	c.compare("")
	f(1000, InSync, ok)
	f(1001, Lagging, "is 20ms behind")
	f(1000, Lagging, before)
	f(501, Lagging, before)
	f(500, Lagging, before)
	f(0, Lagging, before)
	f(500, InSync, ok)
}

// TestNewReplicaFarBehind: one that was never in sync catches up, it does not lag; one good sample is enough then.
func TestNewReplicaFarBehind(t *testing.T) {
	c := newGroupFixture(t, patient)
	c.say("m:1")
	first := c.now - 2*ms
	c.say("r:2", at(50))
	c.wants(CatchingUp, "has not reached what the master is known to have had")
	c.wantsMark(0)
	c.say("m:1", at(200))
	c.now = first + 1000*ms
	c.say("r:2", at(150)) // Between two samples of the master: the earlier one is reached.
	c.wants(CatchingUp, "is 1.01s behind")
	c.wantsMark(first)
	c.say("m:1", at(300))
	second := c.now - 2*ms
	c.say("m:1", at(400))
	c.now = second + 500*ms
	c.say("r:2", at(300)) // Neither far nor near.
	c.wants(CatchingUp, "is 510ms behind")
	c.say("m:1", at(500))
	c.say("m:1", at(600))
	c.say("r:2", at(500))
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
	c.compare("")
	c.wants(InSync, "follows its master")
}

func TestComparison(t *testing.T) {
	const mismatch = `its data is not the master's: 3 of 256 sampled keys differ, such as "k"`
	c := newGroupFixture(t)
	c.say("m:1")
	c.say("r:2")
	c.compare(mismatch)
	c.wants(Diverged, mismatch)
	c.say("r:2")
	c.wants(Diverged, mismatch)
	c.compare("") // It was mended.
	c.wants(InSync, "follows its master")
	// Of another life.
	c.say("r:2", life(2))
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
	c.Comparing("r:2")
	c.Compared("r:2", 1, "")
	c.wait(1)
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
	// A mismatch lasts over a loss of the link, and a full sync ends it.
	c.Compared("r:2", 2, mismatch)
	c.say("r:2", life(2), linkDown)
	c.wants(Broken, "its link to m:1 is down")
	c.say("r:2", life(2))
	c.wants(Diverged, mismatch)
	c.say("r:2", life(2), syncing)
	c.say("r:2", life(2))
	c.wants(InSync, "follows its master")
	c.silent("r:2")
	c.Compared("r:2", 2, mismatch) // Nobody knows what was compared.
	c.say("r:2", life(2))
	c.wants(InSync, "follows its master")
}

// TestComparisonThatWasOvertaken: what a comparison has read may be replaced before its outcome is told.
func TestComparisonThatWasOvertaken(t *testing.T) {
	f := func(changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t, func(r *Rules) { r.RelinkUnproven = true })
		c.say("m:1")
		c.say("r:2")
		c.Comparing("r:2")
		c.say("r:2", changes...)
		c.say("r:2")
		c.Compared("r:2", 1, "")
		c.wait(1)
		c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
		c.compare("")
		c.wants(InSync, "follows its master")
	}
	f(id(histB))
	f(syncing)
	f(linkDown)
	f(follows("s:3"))
	f(at(150)) // And back.
}

// TestSeenToSync: only a copy from the master is a proof, not what a server loads from its own disk.
func TestSeenToSync(t *testing.T) {
	f := func(relink bool, state State, changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t, func(r *Rules) { r.RelinkUnproven = relink })
		c.say("m:1")
		c.say("r:2", changes...)
		c.say("r:2")
		v, _ := c.Verdict("r:2")
		if v.State != state || v.Suspect == v.Readable {
			t.Errorf("relink %t: %+v", relink, v)
		}
	}
	f(false, InSync, syncing)
	f(false, InSync, syncing, loading)
	f(false, CatchingUp, loading)
	f(false, CatchingUp, linkDown)
	f(true, CatchingUp, syncing)
}

// TestOtherData: what may have replaced the data of a replica makes it a suspect.
func TestOtherData(t *testing.T) {
	f := func(reason string, changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t)
		c.admit()
		c.say("r:2", changes...)
		c.say("m:1")
		c.say("r:2")
		c.wants(CatchingUp, reason)
	}
	const compared = "was never seen to sync; its data is compared with the master's"
	f(compared, life(2))
	f(compared, id(histB))
	f(compared, follows(""))
	f(compared, isMaster)
	c := newGroupFixture(t)
	c.admit()
	c.say("m:1", at(200))
	c.say("r:2", at(200))
	c.wants(InSync, "follows its master")
	c.say("r:2", at(150)) // Backwards.
	c.wants(CatchingUp, compared)
	c = newGroupFixture(t)
	c.admit()
	c.say("r:2", at(-1)) // A count of its own, that has begun anew.
	c.say("m:1", at(300))
	c.say("m:1", at(400))
	c.say("r:2", at(300))
	c.wants(CatchingUp, compared)
	// A link that goes down and comes back at the same place is none of that.
	c = newGroupFixture(t)
	c.admit()
	c.say("r:2", linkDown, at(-1))
	c.wants(Broken, "its link to m:1 is down")
	c.say("r:2")
	c.wants(InSync, "follows its master")
}

// TestMasterGoesBack: evidence is void, and with it what was compared with data that is gone.
func TestMasterGoesBack(t *testing.T) {
	f := func(want string, changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t, func(r *Rules) { r.OffsetsProve = false })
		c.admit()
		if got := c.say("m:1", changes...); got != want {
			t.Errorf("dropped %q, want %q", got, want)
		}
		c.say("r:2", changes[0])
		c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
	}
	same := func(*Sample) {}
	f("the master's offset went back to 99", same, at(99))
	f("the master was restarted, or its connection was lost", same, at(99), life(2))
	f("the master's replication id changed from aaaaaaaa to bbbbbbbb", id(histB), at(99))
	c := newGroupFixture(t)
	c.admit()
	if got := c.say("m:1", at(99)); got != "the master's offset went back to 99" {
		t.Errorf("dropped %q", got)
	}
	c.wants(Diverged, "is at offset 100, beyond the master's 99")
	c.wantsMark(0)
	c.say("r:2", at(99))
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
}

// TestMasterIsAskedByANewConnection: the stream may be the same, so what was compared counts.
func TestMasterIsAskedByANewConnection(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	if got := c.say("m:1", life(2)); got != "the master was restarted, or its connection was lost" {
		t.Errorf("dropped %q", got)
	}
	c.wantsMark(c.now - 2*ms) // It has what the master had when it was asked now.
	c.say("r:2")
	c.wants(InSync, "follows its master")
	if got := c.say("m:1", life(2), at(150)); got != "" {
		t.Errorf("dropped %q", got)
	}
}

// TestReplicationIDChanges: without a failover too, when a master gets its first replica.
func TestReplicationIDChanges(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	if got := c.say("m:1", id(histB)); got != "the master's replication id changed from aaaaaaaa to bbbbbbbb" {
		t.Errorf("dropped %q", got)
	}
	c.wants(Diverged, "has replication id aaaaaaaa, the master has bbbbbbbb")
	c.say("r:2", id(histB))
	c.compare("")
	c.wants(InSync, "follows its master")
}

// TestSecondID: a replica may still be under the id that the master had before its promotion.
func TestSecondID(t *testing.T) {
	f := func(offset int64, state State, reason string) {
		t.Helper()
		c := newGroupFixture(t)
		promoted := []func(*Sample){id(histB), after(histA, 101), at(150)}
		c.say("m:1", promoted...)
		c.say("m:1", promoted...)
		c.say("r:2", at(offset))
		c.wants(state, reason)
	}
	const other = "has replication id aaaaaaaa, the master has bbbbbbbb"
	f(100, CatchingUp, "has not reached what the master is known to have had") // It is at 150 since it is known.
	f(101, Diverged, other)
	f(150, Diverged, other)
	f(-1, Diverged, other)
	c := newGroupFixture(t)
	c.admit()
	c.say("m:1", id(histB), after(histA, 101))
	c.say("m:1", id(histB), after(histA, 101))
	c.say("r:2")
	c.wants(InSync, "follows its master")
	c.silent("m:1") // Whom it gets the stream from is not known.
	c.wants(Diverged, "has replication id aaaaaaaa, the master had bbbbbbbb")
}

// TestBeyondTheMaster: only a master that was asked later can tell.
func TestBeyondTheMaster(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	c.say("r:2", at(150))
	c.wants(InSync, "follows its master")
	c.say("m:1", at(140))
	c.wants(Diverged, "is at offset 150, beyond the master's 140")
	c.say("r:2", at(160)) // The master may have moved on; what was found stays until it is asked.
	c.wants(Diverged, "is at offset 160, beyond the master's 140")
	c.say("m:1", at(170))
	c.say("r:2", at(160))
	c.wants(InSync, "follows its master")
	// It was asked before the replica had answered.
	c.say("r:2", at(180))
	answered := c.now
	c.say("m:1", at(175), func(s *Sample) { s.Asked = answered - 1 })
	c.wants(InSync, "follows its master")
	c.say("m:1", at(175))
	c.wants(Diverged, "is at offset 180, beyond the master's 175")
	// That the master dies makes it no better.
	c.silent("m:1")
	c.wants(Diverged, "was beyond the master's offset before the master fell silent")
}

// TestOrphan: a replica whose master is silent may be read as of its watermark, and is never in sync.
func TestOrphan(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	mark := c.now - 12*ms
	c.silent("m:1")
	c.wantsVerdict("r:2", Lagging, "the master does not answer; the data is at most 20ms old", true)
	c.wantsMark(mark)
	if p := c.Proof("r:2"); p.CaughtUpTo != mark || p.Behind != math.MaxInt64 {
		t.Errorf("%+v", p) // How far it is behind in bytes nobody knows.
	}
	for c.now < mark+990*ms {
		c.silent("m:1")
		c.say("r:2")
		v, _ := c.Verdict("r:2")
		if v.State != Lagging || v.Readable != (c.now-mark <= 1000*ms) || v.CaughtUpTo != mark {
			t.Fatalf("after %d ms: %+v", (c.now-mark)/ms, v)
		}
	}
	c.now = mark + 1000*ms
	c.judge()
	c.wantsVerdict("r:2", Lagging, "the master does not answer; the data is at most 1s old", true)
	c.wait(1)
	c.wants(Lagging, "the master does not answer; the data is 1s old")
}

// TestKeptOrphan: with KeepOrphans no age is too much, and the proof says so.
func TestKeptOrphan(t *testing.T) {
	c := newGroupFixture(t)
	rules := c.rules
	rules.KeepOrphans, rules.MaxBehind = true, 10
	c.SetRules(rules)
	c.admit()
	if p := c.Proof("r:2"); p.Orphan {
		t.Errorf("%+v", p)
	}
	mark := c.now - 12*ms
	c.silent("m:1")
	for c.now < mark+5000*ms {
		c.silent("m:1")
		c.say("r:2")
		if v, _ := c.Verdict("r:2"); v.State != Lagging || !v.Readable || v.CaughtUpTo != mark || !c.Proof("r:2").Orphan {
			t.Fatalf("after %d ms: %+v", (c.now-mark)/ms, v)
		}
	}
}

func TestWhoIsNoOrphan(t *testing.T) {
	f := func(state State, reason string, prepare func(c *groupFixture), changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t)
		if prepare != nil {
			prepare(c)
		} else {
			c.admit()
		}
		c.silent("m:1")
		c.say("r:2", changes...)
		c.wants(state, reason)
	}
	const nothing = "the master does not answer, and nothing was proven before"
	f(Broken, nothing, func(*groupFixture) {})
	f(Broken, nothing, func(c *groupFixture) { c.say("m:1"); c.say("r:2") }) // Not compared.
	f(Broken, nothing, func(c *groupFixture) { c.say("m:1"); c.say("r:2"); c.compare("differs") })
	f(Broken, nothing, nil, life(2))
	f(Broken, nothing, nil, id(histB))
	f(Broken, nothing, nil, follows("x:9"))
	f(Syncing, "gets a full copy of the master's data", nil, syncing)
	f(Syncing, "loads its data", nil, loading)
	f(Diverged, "says that it is a master", nil, isMaster)
	f(Broken, "follows nobody", nil, follows(""))
	f(Broken, "is unfit", nil, unfit("is unfit"))
	// The link is down, since the master is dead: that is what an orphan is.
	c := newGroupFixture(t)
	c.admit()
	c.silent("m:1")
	c.say("r:2", linkDown)
	c.wantsVerdict("r:2", Lagging, "the master does not answer; the data is at most 30ms old", true)
	// The evidence of a master that has another id now counts no more.
	c = newGroupFixture(t)
	c.admit()
	c.say("m:1", id(histB))
	c.silent("m:1")
	c.wants(Broken, nothing)
	// A limit in bytes is not met by what is unknown.
	c = newGroupFixture(t, func(r *Rules) { r.MaxBehind = 1000 })
	c.admit()
	c.silent("m:1")
	c.wants(Lagging, "the master does not answer, so how far behind is not known")
}

// TestOrphanBySilence: nobody has said that the master is dead, its evidence is only too old.
func TestOrphanBySilence(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	c.wait(291 * ms)
	c.say("r:2")
	c.wantsVerdict("r:2", Lagging, "the master does not answer; the data is at most 310ms old", true)
	c.say("m:1")
	c.say("r:2")
	c.wants(Lagging, "was behind until a moment ago")
	for range 2 {
		c.say("m:1")
		c.say("r:2")
	}
	c.wants(InSync, "follows its master")
}

// TestRelinkOfAPika: a link that comes back may lack data, and what was proven before may be gone.
func TestRelinkOfAPika(t *testing.T) {
	const compared = "was never seen to sync; its data is compared with the master's"
	c := newGroupFixture(t, pika)
	c.admit()
	for range 2 {
		c.say("r:2", linkDown)
		c.wants(Broken, "its link to m:1 is down")
		c.say("r:2")
		c.wants(CatchingUp, compared)
		c.say("r:2")
		c.wants(CatchingUp, compared)
		c.compare("")
		c.wants(InSync, "follows its master")
	}
	c.silent("r:2") // It may have gone unseen.
	c.say("r:2")
	c.wants(CatchingUp, compared)
	c.compare("k differs")
	c.wants(Diverged, "k differs")
	c.say("r:2", linkDown)
	c.say("r:2")
	c.wants(CatchingUp, compared)
}

func TestHeartbeats(t *testing.T) {
	c := newGroupFixture(t, pika, beats)
	c.say("m:1")
	c.say("r:2")
	c.wants(CatchingUp, "has not reached what the master is known to have had")
	beat := c.now
	c.say("r:2", heartbeat(beat))
	c.compare("")
	c.wants(InSync, "follows its master")
	c.wantsMark(beat)
	// Offsets move on, heartbeats do not: nothing is applied.
	for c.now <= beat+980*ms {
		c.say("m:1", at(c.now))
		c.say("r:2", at(c.now), heartbeat(beat))
		c.wants(InSync, "follows its master")
		c.wantsMark(beat)
	}
	c.say("m:1", at(c.now))
	c.say("r:2", at(c.now), heartbeat(beat))
	c.wants(Lagging, "is 1.01s behind")
	// A heartbeat that is missing proves nothing, and takes nothing back.
	c.say("r:2", at(c.now), heartbeat(0))
	c.wantsMark(beat)
	for range 3 {
		c.wantsVerdict("r:2", Lagging, c.reason(), false)
		c.say("m:1", at(c.now))
		c.say("r:2", at(c.now), heartbeat(c.now))
	}
	c.wants(InSync, "follows its master")
	// After a link was lost the data may be older than before.
	c.say("r:2", at(c.now), linkDown, heartbeat(beat))
	c.say("r:2", at(c.now), heartbeat(beat))
	c.wantsMark(beat)
}

func (c *groupFixture) reason() string {
	v, _ := c.Verdict("r:2")
	return v.Reason
}

// TestHeartbeatsOfAHungMaster: the replica says that it is well, and its newest heartbeat grows old.
func TestHeartbeatsOfAHungMaster(t *testing.T) {
	c := newGroupFixture(t, pika, beats)
	c.say("m:1", at(-1))
	beat := c.now
	c.say("r:2", heartbeat(beat))
	c.compare("")
	c.wants(InSync, "follows its master")
	for c.now < beat+2000*ms {
		c.silent("m:1")
		c.say("r:2", heartbeat(beat))
		v, _ := c.Verdict("r:2")
		if v.State != Lagging || v.CaughtUpTo != beat || v.Readable != (c.now-beat <= 1000*ms) {
			t.Fatalf("after %d ms: %+v", (c.now-beat)/ms, v)
		}
	}
}

// TestNothingToTellTheLag: without offsets and heartbeats a replica is readable, and nothing is proven about time.
func TestNothingToTellTheLag(t *testing.T) {
	c := newGroupFixture(t, pika)
	c.say("m:1", at(-1))
	c.say("r:2", at(7))
	c.compare("")
	c.wants(InSync, "follows its master")
	c.wantsMark(0)
	if v, _ := c.Verdict("r:2"); v.Behind != -1 {
		t.Errorf("%+v", v)
	}
	if p := c.Proof("r:2"); p.CaughtUpTo != 0 || p.Behind != 0 {
		t.Errorf("%+v", p)
	}
	c.silent("m:1")
	c.wantsVerdict("r:2", Lagging, "the master does not answer; the data is at most 10ms old", true)
	c.wait(990 * ms)
	c.say("r:2", at(7))
	c.wants(Lagging, "the master does not answer; the data is 1.01s old")
	// Offsets that prove nothing still tell who is behind.
	c = newGroupFixture(t, pika)
	c.admit()
	for range 60 {
		c.say("m:1", at(200))
		c.say("r:2")
	}
	c.wants(Lagging, "is 1.21s behind")
	c.wantsMark(0)
}

// TestChain: a replica of a replica is in no list of the master; its offset speaks for it.
func TestChain(t *testing.T) {
	c := newGroupFixture(t)
	only := lists(Listed{Addr: "s:3", Online: true, State: "online", Offset: 100})
	c.say("m:1", only)
	c.say("s:3")
	c.say("r:2", follows("s:3"))
	c.compare("")
	c.wants(InSync, "follows its master")
	// The one between them has lost its link: the offset stands still.
	for range 40 {
		c.say("m:1", only, at(200))
		c.say("s:3", linkDown)
		c.say("r:2", follows("s:3"))
	}
	c.wants(Lagging, "is 1.22s behind")
	f := func(state State, reason string, changes ...func(*Sample)) {
		t.Helper()
		c := newGroupFixture(t)
		c.say("m:1", only)
		c.say("s:3")
		c.say("r:2", changes...)
		c.wants(state, reason)
	}
	f(CatchingUp, "the master does not list it", follows("x:9"))
	f(Broken, "has no replication id, so its offset says nothing", follows("s:3"), id(""))
	// It follows a master of its own: the old one, that the topology takes for a replica since a failover.
	c = newGroupFixture(t, pika)
	c.say("m:1", only)
	c.say("s:3", isMaster)
	c.say("r:2", follows("s:3"))
	c.wants(CatchingUp, "the master does not list it")
	c.say("s:3")
	c.say("r:2", follows("s:3"))
	c.compare("")
	c.silent("s:3") // Nobody knows whom it follows.
	c.say("m:1", only)
	c.say("r:2", follows("s:3"))
	c.wants(CatchingUp, "the master does not list it")
}

// TestFamilyWithoutIDs: there the address of the master is all that tells histories apart.
func TestFamilyWithoutIDs(t *testing.T) {
	c := newGroupFixture(t)
	c.admit(id(""))
	c.say("r:2", id(""), follows("x:9"))
	c.wants(Broken, "follows x:9")
	c.wantsMark(0)
	c.say("r:2", id(""))
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's")
	c.compare("")
	c.silent("m:1")
	c.say("r:2", id(""), follows("x:9"))
	c.wants(Broken, "the master does not answer, and nothing was proven before")
}

// TestRestartWithoutIDs: the offset of a replica's last answer counts in the master's last stream. That it is the
// master's of now as well says nothing.
func TestRestartWithoutIDs(t *testing.T) {
	const old = "has not been asked since the master was restarted, or its connection was lost"
	c := newGroupFixture(t)
	c.admit(id(""))
	// It was restarted and has written since, and the replica has a part of that.
	again := []func(*Sample){id(""), life(2), lists(Listed{Addr: "r:2", Online: true, State: "online", Offset: 20})}
	c.say("m:1", again...)
	c.wants(CatchingUp, old)
	c.wantsMark(0)
	c.silent("m:1") // That it dies proves nothing of what the replica had.
	c.wants(Broken, "the master does not answer, and nothing was proven before")
	c.say("m:1", again...)
	c.wants(CatchingUp, old)
	c.say("r:2", id(""), at(20))
	c.wants(CatchingUp, "has not reached what the master is known to have had")
	c.say("r:2", id(""))
	c.wants(CatchingUp, "was never seen to sync; its data is compared with the master's") // It went backwards.
	c.compare("")
	c.wants(InSync, "follows its master")
	// It may have been the connection alone.
	c.say("m:1", id(""), life(3))
	c.wants(CatchingUp, old)
	c.say("r:2", id(""))
	c.wants(InSync, "follows its master")
}

// TestMasterRestartsWhileItsReplicaIsRead: a replica is read as of its watermark until it is known that the master came
// back as another one, and not by anything that was known before from then on.
func TestMasterRestartsWhileItsReplicaIsRead(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	mark := c.now - 12*ms
	c.silent("m:1")
	c.say("r:2", linkDown)
	c.wantsVerdict("r:2", Lagging, "the master does not answer; the data is at most 30ms old", true)
	c.wantsMark(mark)
	c.say("m:1", id(histB), at(0), life(2))
	c.wants(Broken, "its link to m:1 is down")
	c.wantsMark(0)
	c.silent("m:1") // Whether it answers or not.
	c.wants(Broken, "the master does not answer, and nothing was proven before")
	c.say("r:2", linkDown)
	c.wants(Broken, "the master does not answer, and nothing was proven before")
	c.say("m:1", id(histB), at(0), life(2))
	c.say("r:2")
	c.wants(Diverged, "has replication id aaaaaaaa, the master has bbbbbbbb")
}

func TestMembersChange(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	mark := c.now - 12*ms
	c.SetMembers("m:1", []string{"s:3", "r:2", "new:4"})
	c.judge()
	c.wants(InSync, "follows its master")
	c.wantsMark(mark)
	c.wantsVerdict("new:4", Unknown, "has not been asked yet", false)
	// Another master: nothing of the old one's stream counts.
	c.SetMembers("s:3", []string{"r:2", "m:1"})
	c.judge()
	c.wantsMark(0)
	c.wants(Broken, "the master does not answer, and nothing was proven before")
	c.wantsVerdict("m:1", Diverged, "says that it is a master", false)
	// Who leaves is forgotten.
	c.SetMembers("s:3", []string{"m:1"})
	c.SetMembers("s:3", []string{"m:1", "r:2"})
	c.judge()
	c.wants(Unknown, "has not been asked yet")
}

func TestTransitionsAndSince(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	v, _ := c.Verdict("r:2")
	since := c.now
	if v.Since != since {
		t.Errorf("since %d, want %d", v.Since, since)
	}
	for range 5 {
		c.say("m:1")
		c.say("r:2")
	}
	if v, _ := c.Verdict("r:2"); v.Since != since {
		t.Errorf("since %d, want %d", v.Since, since)
	}
	c.transitions = nil
	c.say("r:2", linkDown)
	c.say("r:2", linkDown)
	if len(c.transitions) != 1 || c.transitions[0] != (Transition{"r:2", InSync, Broken, "its link to m:1 is down"}) {
		t.Errorf("%+v", c.transitions)
	}
	if v, _ := c.Verdict("r:2"); v.Since != c.now-10*ms {
		t.Errorf("since %d at %d", v.Since, c.now)
	}
}
