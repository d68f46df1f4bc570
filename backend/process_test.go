package backend

import (
	"io"
	"net"
	"testing"
	"time"

	"sluice/internal/bufpool"
	"sluice/internal/clock"
	"sluice/internal/control"
	"sluice/internal/testbed"
)

// What the families say of themselves, and what tells two processes apart.
func TestIdentities(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	of := func(info string) *identity {
		t.Helper()
		who, told := identityOf(control.Value{Kind: control.Bulk, Text: info}, ours)
		if !told {
			t.Errorf("%q tells nothing", info)
		}
		return &who
	}
	f := func(a, b string, want bool) {
		t.Helper()
		if x, y := of(a), of(b); x.sameAs(y) != want || y.sameAs(x) != want {
			t.Errorf("%+v and %+v: same is %v", x, y, !want)
		}
	}
	redis := "redis_version:7.0.15\r\nprocess_id:1\r\nrun_id:aa\r\ntcp_port:6379\r\nuptime_in_seconds:8\r\n"
	f(redis, redis, true)
	f(redis, "redis_version:7.0.15\r\nprocess_id:1\r\nrun_id:aa\r\ntcp_port:6379\r\nuptime_in_seconds:999\r\n", true)
	f(redis, "redis_version:7.0.15\r\nprocess_id:1\r\nrun_id:ab\r\ntcp_port:6379\r\nuptime_in_seconds:8\r\n", false)
	f(redis, "", false)
	pika := "pika_version:4.0.0\r\nprocess_id:1\r\ntcp_port:9221\r\nuptime_in_seconds:8\r\nrun_id:aa\r\n"
	f(pika, pika, true)
	f(pika, "pika_version:4.0.0\r\nprocess_id:1\r\ntcp_port:9221\r\nuptime_in_seconds:90\r\nrun_id:aa\r\n", false) // Restarted in its container.
	f(pika, "pika_version:4.0.0\r\nprocess_id:2\r\ntcp_port:9221\r\nuptime_in_seconds:8\r\nrun_id:aa\r\n", false)  // Its configuration was copied.
	kvrocks := "redis_version:4.0.0\r\nkvrocks_version:2.8.0\r\nprocess_id:7\r\ntcp_port:6666\r\nuptime_in_seconds:70\r\n"
	f(kvrocks, kvrocks, true)
	f(kvrocks, "redis_version:4.0.0\r\nkvrocks_version:2.8.0\r\nprocess_id:8\r\ntcp_port:6666\r\nuptime_in_seconds:70\r\n", false)
	dragonfly := "redis_version:7.4.0\r\ndragonfly_version:df-v1.36.0\r\ntcp_port:6379\r\nuptime_in_seconds:70\r\n"
	f(dragonfly, "redis_version:7.4.0\r\ndragonfly_version:df-v1.36.0\r\ntcp_port:6379\r\nuptime_in_seconds:71\r\n", true)
	f(dragonfly, "redis_version:7.4.0\r\ndragonfly_version:df-v1.36.0\r\ntcp_port:6379\r\nuptime_in_seconds:7\r\n", false)
	f("run_id:0000\r\n", "", true)
	g := func(text string, want bool) {
		t.Helper()
		if _, told := identityOf(control.Value{Kind: control.Error, Text: text}, ours); told != want {
			t.Errorf("%q: told is %v", text, told)
		}
	}
	g("LOADING Redis is loading the dataset in memory", false)
	g("NOPERM this user has no permissions to run the 'info' command", true)
	g("ERR unknown command 'INFO'", true)
}

// A connection that leads elsewhere than the probe is counted, told from one that is younger than the probe's answer,
// and makes the probe look again when others follow it there.
func TestStrays(t *testing.T) {
	opts := testOptions()
	n := NewNode(0, "name:1", &opts)
	defer n.Retire()
	here, there := n.processes.number(identity{runID: "a", unique: true}), n.processes.number(identity{runID: "b", unique: true})
	if again := n.processes.number(identity{runID: "a", unique: true}); again != here || here == there {
		t.Fatalf("processes %d, %d, %d", here, there, again)
	}
	check := func(process uint64, strays, all int) {
		t.Helper()
		if s, a := n.Strays(); n.Process() != process || s != strays || a != all {
			t.Errorf("process %d, %d of %d stray; want %d, %d of %d", n.Process(), s, a, process, strays, all)
		}
	}
	if n.setProbed(here) {
		t.Error("the first process is no move")
	}
	check(here, 0, 0)
	c := newConn(n, 2, 0, bufpool.New(1<<20), newTestLoop(t))
	c.state, c.openedAt, c.peer.process = stateUp, 100, there
	n.counted(c, 1)
	check(0, 1, 1)
	n.answeredAt.Store(100)
	if c.Stray() {
		t.Error("stray before the probe has heard anything since")
	}
	n.answeredAt.Store(101)
	if !c.Stray() || c.overdue(100+strayMin-1) || !c.overdue(100+strayMin) {
		t.Error("no stray, or replaced at another time")
	}
	next := newConn(n, 2, 0, bufpool.New(1<<20), newTestLoop(t))
	next.succeed(c)
	if next.patience != 2*strayMin {
		t.Errorf("patience %s", time.Duration(next.patience))
	}
	n.counted(c, 1)
	if n.lookAgain.Load() {
		t.Error("looks again after two")
	}
	n.counted(c, 1)
	if !n.lookAgain.Load() {
		t.Error("does not look again after three")
	}
	check(0, 3, 3)
	if !n.setProbed(there) {
		t.Error("it was moved")
	}
	check(there, 0, 3)
	reader := newConn(n, 2, 0, bufpool.New(1<<20), newTestLoop(t))
	reader.Kind, reader.peer.process = ReplicaReads, here // No write goes there.
	n.counted(reader, 1)
	check(there, 1, 4)
	n.counted(reader, -1)
	n.counted(c, -1)
	n.counted(c, -1)
	n.counted(c, -1)
	c.state = stateClosed
}

// What is sent on a Conn that takes another one's place waits until that one is closed.
func TestSuccessorWaits(t *testing.T) {
	s := testbed.Redis(t)
	opts := testOptions()
	n := NewNode(0, s.Addr(), &opts)
	defer n.Retire()
	loop := newTestLoop(t)
	old, next := newConn(n, 2, 0, bufpool.New(1<<20), loop), newConn(n, 2, 0, bufpool.New(1<<20), loop)
	old.Connect()
	loop.step() // It is up.
	loop.step() // The dial is over.
	next.succeed(old)
	var r recorder
	mustSend(t, next, &r, clock.Now(), command("PING"))
	next.Connect()
	next.Tick(clock.Now())
	if next.underway != nil {
		t.Fatal("dialled while the other one is up")
	}
	old.Close(io.EOF)
	next.Tick(clock.Now())
	loop.step()
	next.Flush()
	loop.receive(next, 0)
	if old.Process() == 0 || next.Process() != old.Process() {
		t.Errorf("processes %d and %d", old.Process(), next.Process())
	}
	next.Close(io.EOF)
}
