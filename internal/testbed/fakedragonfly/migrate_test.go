package fakedragonfly

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
)

// eager tries again after a moment.
var eager = Options{RetryPause: 10 * time.Millisecond}

func TestFinalisationPausesEveryClientOfTheClientPort(t *testing.T) {
	p := startPair(t, Options{})
	keys := movingKeys(20)
	fill(p.a, keys)
	hold := p.a.Faults.Hold(Paused)
	p.push(t, p.move())
	arrived(t, hold)
	ping, slots, get, set := later(t, p.a.Addr(), "PING"), later(t, p.a.Addr(), "CLUSTER", "SLOTS"),
		later(t, p.a.Addr(), "GET", "bar"), later(t, p.a.Addr(), "SET", keys[0], "new")
	waits(t, p.a, "PING", ping)
	waits(t, p.a, "CLUSTER", slots)
	waits(t, p.a, "GET", get)
	waits(t, p.a, "SET", set)
	admin := connect(t, p.a.AdminAddr())
	admin.expect(t, "+PONG\r\n", "PING")
	admin.expect(t, "$2\r\nv0\r\n", "GET", keys[0])
	connect(t, p.b.Addr()).expect(t, "+PONG\r\n", "PING")
	hold.Release()
	got(t, "+PONG\r\n", ping)
	got(t, "$-1\r\n", get)
	got(t, fmt.Sprintf("-MOVED %d %s\r\n", fake.SlotOf(keys[0]), p.b.Addr()), set)
	becomes(t, p.b, statusCommand, "FINISHED", ":20\r\n")
	connect(t, p.b.Addr()).expect(t, "$2\r\nv0\r\n", "GET", keys[0])
}

func TestWhatIsWrittenDuringAMigrationArrives(t *testing.T) {
	p := startPair(t, Options{})
	keys := movingKeys(300)
	fill(p.a, keys)
	hold := p.a.Faults.Hold(Sending)
	p.push(t, p.move())
	arrived(t, hold)
	hold.Release()
	c := connect(t, p.a.Addr())
	acknowledged := map[string]string{}
	for i := 0; p.a.Finished() == 0; i++ {
		key, value := keys[i%len(keys)], fmt.Sprintf("w%d", i)
		if c.ask(t, "SET", key, value) == "+OK\r\n" {
			acknowledged[key] = value
		}
	}
	becomes(t, p.b, statusCommand, "FINISHED")
	d := connect(t, p.b.Addr())
	for i, key := range keys {
		want, ok := acknowledged[key]
		if !ok {
			want = fmt.Sprintf("v%d", i)
		}
		d.expect(t, fake.Bulk(want), "GET", key)
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was written meanwhile")
	}
}

func TestEveryTypeMoves(t *testing.T) {
	p := startPair(t, Options{})
	key := movingKeys(1)[0]
	tag := key[strings.Index(key, "{"):]
	for _, cmd := range [][]string{{"HSET", "h" + tag, "f", "1"}, {"RPUSH", "l" + tag, "a", "b"}, {"SADD", "s" + tag, "m"},
		{"ZADD", "z" + tag, "1.5", "m"}, {"SET", "e" + tag, "x", "PX", "90000"}} {
		p.a.Do(cmd...)
	}
	p.push(t, p.move())
	becomes(t, p.b, statusCommand, "FINISHED", ":5\r\n")
	c := connect(t, p.b.Addr())
	c.expect(t, "$1\r\n1\r\n", "HGET", "h"+tag, "f")
	c.expect(t, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "LRANGE", "l"+tag, "0", "-1")
	c.expect(t, ":1\r\n", "SISMEMBER", "s"+tag, "m")
	c.expect(t, "$3\r\n1.5\r\n", "ZSCORE", "z"+tag, "m")
	c.expect(t, ":90000\r\n", "PTTL", "e"+tag)
}

// stuckInSync freezes the target while the source sends.
func stuckInSync(t *testing.T, p pair) {
	t.Helper()
	fill(p.a, movingKeys(50))
	hold := p.a.Faults.Hold(Sending)
	p.push(t, p.move())
	arrived(t, hold)
	p.b.Faults.Freeze()
	hold.Release()
	testbed.Eventually(t, func() error {
		if p.b.Calls("FLUSHSLOTS").Running == 0 {
			return fmt.Errorf("nothing is being sent")
		}
		return nil
	}, 20*time.Second)
}

func TestTargetThatHangsInSyncStopsKeysAndNotPing(t *testing.T) {
	p := startPair(t, eager)
	stuckInSync(t, p)
	get := later(t, p.a.Addr(), "GET", "bar")
	waits(t, p.a, "GET", get)
	connect(t, p.a.Addr()).expect(t, "+PONG\r\n", "PING")
	becomes(t, p.a, statusCommand, "SYNC", "$1\r\n0\r\n")
	// The entry is dropped: all go on at once, and nothing has moved.
	admin := connect(t, p.a.AdminAddr())
	admin.expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.two())
	got(t, "$-1\r\n", get)
	admin.expect(t, "*0\r\n", statusCommand...)
	p.b.Faults.Thaw()
	connect(t, p.b.AdminAddr()).expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.two())
	becomes(t, p.b, []string{"DBSIZE"}, ":0\r\n")
	connect(t, p.a.Addr()).expect(t, "$2\r\nv7\r\n", "GET", movingKeys(8)[7])
}

func TestErrorOfATargetThatHungStays(t *testing.T) {
	p := startPair(t, Options{ReplicationTimeout: 200 * time.Millisecond, RetryPause: 10 * time.Millisecond})
	stuckInSync(t, p)
	get := later(t, p.a.Addr(), "GET", "bar")
	becomes(t, p.a, statusCommand, "CONNECTING", "JournalStreamer write operation timeout")
	got(t, "$-1\r\n", get)
	p.b.Faults.Thaw()
	becomes(t, p.a, statusCommand, "FINISHED", ":50\r\n", "JournalStreamer write operation timeout")
}

func TestTargetThatHangsInTheFinalisationPausesAgainAndAgain(t *testing.T) {
	p := startPair(t, Options{FinalizationTimeout: 200 * time.Millisecond, RetryPause: 10 * time.Millisecond})
	fill(p.a, movingKeys(5))
	hold := p.a.Faults.Hold(Paused)
	p.push(t, p.move())
	arrived(t, hold)
	p.b.Faults.Freeze()
	ping := later(t, p.a.Addr(), "PING")
	waits(t, p.a, "PING", ping)
	hold.Release()
	got(t, "+PONG\r\n", ping) // Between two attempts.
	again := p.a.Faults.Hold(Paused)
	arrived(t, again)
	becomes(t, p.a, statusCommand, "SYNC", ":5\r\n", "$1\r\n0\r\n")
	again.Release()
	p.b.Faults.Thaw()
	becomes(t, p.a, statusCommand, "FINISHED")
	becomes(t, p.b, statusCommand, "FINISHED", ":5\r\n")
}

// The acknowledgement lies in the socket of the target when the entry is dropped at the source.
func TestDroppingAnEntryInTheFinalisationMakesTwoOwners(t *testing.T) {
	p := startPair(t, Options{})
	keys := movingKeys(5)
	fill(p.a, keys)
	hold := p.a.Faults.Hold(Paused)
	p.push(t, p.move())
	arrived(t, hold)
	p.b.Faults.Freeze()
	hold.Release()
	testbed.Eventually(t, func() error {
		if p.b.Calls("DFLYMIGRATE").Running == 0 {
			return fmt.Errorf("no ACK has come")
		}
		return nil
	}, 20*time.Second)
	connect(t, p.a.AdminAddr()).expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.two())
	a := connect(t, p.a.Addr())
	a.expect(t, "+OK\r\n", "SET", keys[0], "at the source")
	p.b.Faults.Thaw()
	becomes(t, p.b, statusCommand, "FINISHED")
	b := connect(t, p.b.Addr())
	b.expect(t, "+OK\r\n", "SET", keys[0], "at the target")
	a.expect(t, fake.Bulk("at the source"), "GET", keys[0])
	connect(t, p.b.AdminAddr()).expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.two())
	b.expect(t, fmt.Sprintf("-MOVED %d %s\r\n", fake.SlotOf(keys[0]), p.a.Addr()), "GET", keys[0])
}

func TestSourceRetriesForEver(t *testing.T) {
	p := startPair(t, eager)
	fill(p.a, movingKeys(5))
	// The target has no configuration yet: no error.
	connect(t, p.a.AdminAddr()).expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.move())
	testbed.Eventually(t, func() error {
		if p.b.Calls("DFLYMIGRATE").Seen < 3 {
			return fmt.Errorf("not tried again")
		}
		return nil
	}, 20*time.Second)
	becomes(t, p.a, statusCommand, "CONNECTING", "$1\r\n0\r\n")
	p.b.Kill()
	becomes(t, p.a, statusCommand, "CONNECTING", "Connection refused: Couldn't connect to source.")
	if err := p.b.Restart(); err != nil {
		t.Fatal(err)
	}
	b := connect(t, p.b.Addr())
	b.expect(t, notConfigured, "GET", "foo")
	b.expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.move()) // The client port takes it too.
	becomes(t, p.a, statusCommand, "FINISHED", "Connection refused: Couldn't connect to source.")
}

func TestOutOfMemoryIsFinal(t *testing.T) {
	p := startPair(t, eager)
	fill(p.a, movingKeys(5))
	p.b.OutOfMemory(true)
	p.push(t, p.move())
	becomes(t, p.a, statusCommand, "FATAL", "$46\r\nCannot allocate memory: INCOMING_MIGRATION_OOM\r\n")
	becomes(t, p.b, statusCommand, "FATAL", "$22\r\nINCOMING_MIGRATION_OOM\r\n")
	seen := p.b.Calls("DFLYMIGRATE").Seen
	p.b.OutOfMemory(false)
	becomes(t, p.a, statusCommand, "FATAL")
	if n := p.b.Calls("DFLYMIGRATE").Seen; n != seen {
		t.Errorf("it was tried again: %d, %d before", n, seen)
	}
}

func TestFlushAllRestartsAMigration(t *testing.T) {
	p := startPair(t, eager)
	fill(p.a, movingKeys(50))
	hold := p.a.Faults.Hold(Sending)
	p.push(t, p.move())
	arrived(t, hold)
	connect(t, p.a.Addr()).expect(t, "+OK\r\n", "FLUSHALL")
	hold.Release()
	becomes(t, p.a, statusCommand, "FINISHED", ":0\r\n", "FLUSH command during migration")
}

// Who owns a slot is looked at when a command is queued.
func TestExecAfterAFinalisationRunsOnTheOldOwner(t *testing.T) {
	p := startPair(t, Options{})
	key := movingKeys(1)[0]
	c := connect(t, p.a.Addr())
	c.expect(t, "+OK\r\n", "MULTI")
	c.expect(t, "+QUEUED\r\n", "SET", key, "x")
	p.push(t, p.move())
	becomes(t, p.a, statusCommand, "FINISHED")
	c.expect(t, "*1\r\n+OK\r\n", "EXEC")
	connect(t, p.b.Addr()).expect(t, "$-1\r\n", "GET", key)
}

// A migration never hears of what transactions and scripts write.
func TestTransactionsAndScriptsAreLostInAMigration(t *testing.T) {
	p := startPair(t, Options{})
	keys := movingKeys(4)
	fill(p.a, keys)
	hold := p.a.Faults.Hold(Sending)
	p.push(t, p.move())
	arrived(t, hold)
	c := connect(t, p.a.Addr())
	c.expect(t, "+OK\r\n", "MULTI")
	c.expect(t, "+QUEUED\r\n", "SET", keys[0], "new")
	c.expect(t, "*1\r\n+OK\r\n", "EXEC")
	c.expect(t, "+OK\r\n", "EVAL", "return redis.call('set', KEYS[1], ARGV[1])", "1", keys[1], "new")
	c.expect(t, "+OK\r\n", "SET", keys[2], "new")
	hold.Release()
	becomes(t, p.a, statusCommand, "FINISHED")
	for i, want := range []string{"v0", "v1", "new", "v3"} {
		connect(t, p.b.Addr()).expect(t, fake.Bulk(want), "GET", keys[i])
	}
}

func TestOldConfigurationAfterAMigrationLosesWrites(t *testing.T) {
	p := startPair(t, Options{})
	key := movingKeys(1)[0]
	fill(p.a, []string{key})
	p.push(t, p.move())
	becomes(t, p.a, statusCommand, "FINISHED")
	connect(t, p.b.Addr()).expect(t, "+OK\r\n", "SET", key, "new")
	p.push(t, p.two())
	connect(t, p.a.Addr()).expect(t, "$2\r\nv0\r\n", "GET", key)
	becomes(t, p.b, []string{"DBSIZE"}, ":0\r\n")
}

func TestTakenOverMasterPointsToItself(t *testing.T) {
	p := startPair(t, Options{})
	p.a.TakenOver()
	c := connect(t, p.a.Addr())
	c.expect(t, fmt.Sprintf("-MOVED 5061 %s\r\n", p.a.Addr()), "GET", "bar")
	c.expect(t, "+PONG\r\n", "PING")
	for _, cmd := range [][]string{{"ROLE"}, {"INFO"}, {"CLUSTER", "SLOTS"}} {
		c.expect(t, loading, cmd...)
	}
	p.push(t, p.moved())
	c.expect(t, "$-1\r\n", "GET", "bar")
}

func TestStatusForms(t *testing.T) {
	f := func(form StatusForm, none, source, target string) {
		t.Helper()
		p := startPair(t, Options{Status: form})
		key := movingKeys(1)[0]
		fill(p.a, []string{key})
		connect(t, p.a.AdminAddr()).expect(t, none, statusCommand...)
		p.push(t, p.move())
		ports := strings.NewReplacer("19301", fmt.Sprint(p.a.Port()), "19302", fmt.Sprint(p.b.Port()))
		becomes(t, p.a, statusCommand, ports.Replace(source))
		becomes(t, p.b, statusCommand, ports.Replace(target))
	}
	f(Status14, "+NO_STATE\r\n", "*1\r\n+out 127.0.0.1:19302 STABLE_SYNC\r\n", "*1\r\n+in 127.0.0.1:19301 STABLE_SYNC\r\n")
	f(Status17, "+NO_STATE\r\n", "*1\r\n+out 127.0.0.1:19302 FINISHED\r\n", "*1\r\n+in 127.0.0.1:19301 FINISHED\r\n")
	f(Status21, "+NO_STATE\r\n", "*1\r\n$32\r\nout n2 FINISHED keys:1 errors: 0\r\n", "*1\r\n$31\r\nin n1 FINISHED keys:1 errors: 0\r\n")
	f(Status22, "+NO_STATE\r\n", "*1\r\n$31\r\nout n2 FINISHED keys:1 errors:0\r\n", "*1\r\n$30\r\nin n1 FINISHED keys:1 errors:0\r\n")
	f(Status39, "*0\r\n", "*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$8\r\nFINISHED\r\n:1\r\n$1\r\n0\r\n", "$8\r\nFINISHED\r\n:1\r\n$1\r\n0\r\n")
	f(Status40, "*0\r\n", "*1\r\n*6\r\n$3\r\nout\r\n$2\r\nn2\r\n$8\r\nFINISHED\r\n:1\r\n$1\r\n0\r\n$12\r\n[7000, 7999]\r\n", "[7000, 7999]")
}

func TestConfigurationIsChecked(t *testing.T) {
	f := func(want bool, config string) {
		t.Helper()
		if _, ok := parseConfig(config); ok != want {
			t.Errorf("%v, want %v: %s", ok, want, config)
		}
	}
	a, b := Node{ID: "a", IP: "127.0.0.1", Port: 1}, Node{ID: "b", IP: "127.0.0.1", Port: 2}
	to := func(id string, ranges ...Range) []Move {
		return []Move{{Slots: ranges, NodeID: id, IP: "127.0.0.1", Port: 3}}
	}
	all := []Range{{0, 16383}}
	f(true, JSON(Shard{Slots: all, Master: a}))
	f(true, JSON(Shard{Slots: all, Master: a, Replicas: []Node{b}}))
	f(true, JSON(Shard{Slots: all, Master: a, Migrations: to("b", Range{5, 9})}, Shard{Slots: []Range{}, Master: b}))
	f(false, `[{"slot_ranges":[{"start":0,"end":16383}],"master":{"id":"a","ip":"127.0.0.1","port":1}}]`) // No replicas.
	f(false, JSON(Shard{Slots: []Range{{0, 16382}}, Master: a}))
	f(false, JSON(Shard{Slots: all, Master: a}, Shard{Slots: []Range{{5, 5}}, Master: b}))
	f(false, JSON(Shard{Slots: []Range{{9, 5}}, Master: a}))
	f(false, JSON(Shard{Slots: all, Master: a, Replicas: []Node{a}}))
	f(false, JSON(Shard{Slots: all, Master: a, Migrations: to("a", Range{5, 9})}))
	f(false, JSON(Shard{Slots: all, Master: a, Replicas: []Node{b}, Migrations: to("b", Range{5, 9})}))
	f(false, JSON(Shard{Slots: all, Master: a, Migrations: append(to("b", Range{5, 9}), to("b", Range{10, 11})...)}, Shard{Slots: []Range{}, Master: b}))
	f(false, JSON(Shard{Slots: left, Master: a, Migrations: to("b", Range{8000, 8192})}, Shard{Slots: right, Master: b}))
	f(false, JSON(Shard{Slots: all, Master: a, Migrations: to("b", Range{5, 9}, Range{9, 10})}, Shard{Slots: []Range{}, Master: b}))
	f(false, JSON(Shard{Slots: all, Master: a, Migrations: to("b")}, Shard{Slots: []Range{}, Master: b}))
}

func TestPasswordIsAskedFor(t *testing.T) {
	s := Start(t, Options{ID: "n1", Password: "secret"})
	c := connect(t, s.Addr())
	c.expect(t, "-NOAUTH Authentication required.\r\n", "CLUSTER", "MYID")
	c.expect(t, "-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", "wrong")
	c.expect(t, "+OK\r\n", "AUTH", "secret")
	c.expect(t, "+n1\r\n", "CLUSTER", "MYID")
	if !strings.HasPrefix(c.ask(t, "HELLO", "3"), "%7\r\n$6\r\nserver\r\n") {
		t.Error("no RESP3")
	}
}
