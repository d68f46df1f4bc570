package replication

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/testbed/fakedragonfly"
)

// dragonflies are a master with data and its replica.
func dragonflies(t *testing.T) (master, replica *fakedragonfly.Server) {
	t.Helper()
	master = fakedragonfly.Start(t, fakedragonfly.Options{ID: "n1"})
	replica = fakedragonfly.Start(t, fakedragonfly.Options{ID: "n2"})
	configure(t, master, replica)
	for i := range 40 {
		if v := master.Do("SET", "key:"+strconv.Itoa(i), "1"); v.Error() != nil {
			t.Fatal(v)
		}
	}
	replica.ReplicaOf(master)
	return master, replica
}

func configure(t *testing.T, master, replica *fakedragonfly.Server) {
	t.Helper()
	config := fakedragonfly.JSON(fakedragonfly.Shard{
		Slots: []fakedragonfly.Range{{Start: 0, End: 16383}}, Master: master.Node(), Replicas: []fakedragonfly.Node{replica.Node()},
	})
	for _, s := range []*fakedragonfly.Server{master, replica} {
		tell(t, s.AdminAddr(), "DFLYCLUSTER", "CONFIG", config)
	}
}

// tell runs a command that answers OK.
func tell(t *testing.T, addr string, args ...string) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "*" + strconv.Itoa(len(args)) + "\r\n"
	for _, arg := range args {
		request += "$" + strconv.Itoa(len(arg)) + "\r\n" + arg + "\r\n"
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var reply [64]byte
	if n, err := conn.Read(reply[:]); err != nil || string(reply[:n]) != "+OK\r\n" {
		t.Fatalf("%s: %q %v", args[0], reply[:n], err)
	}
}

func ofDragonfly() plan {
	p := fast()
	p.family, p.rules.Heartbeat = dialect.Dragonfly, true
	return p
}

// TestDragonflyMasterHangs: its replica says up and online, and nothing in INFO grows. Only the heartbeat grows old.
func TestDragonflyMasterHangs(t *testing.T) {
	t.Parallel()
	master, replica := dragonflies(t)
	p := ofDragonfly()
	w := watch(t, p, master.Addr(), replica.Addr())
	for range 2 {
		if st := w.await(replica.Addr(), "in sync"); st.Lag < 0 || st.LagBytes != -1 {
			t.Errorf("%+v", st)
		}
		w.silenced(p, master.Addr(), func() {
			master.Faults.Freeze()
			w.awaitFailures(2, master.Addr())
			w.ban(replica.Addr(), false)
			mark := w.mark()
			w.awaitOrphan(p, replica.Addr())
			for _, e := range w.events(replica.Addr(), mark) {
				if e.To != "lagging" {
					t.Errorf("%+v", e)
				}
			}
			w.awaitProbes(5, replica.Addr())
			w.allow(replica.Addr())
			master.Faults.Thaw()
		})
	}
	w.await(replica.Addr(), "in sync")
}

// TestDragonflyAppliesLater: the watermark is that of what is applied.
func TestDragonflyAppliesLater(t *testing.T) {
	t.Parallel()
	master, replica := dragonflies(t)
	p := ofDragonfly()
	w := watch(t, p, master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	wr := startWriter(t, func(value string) error { return master.Do("SET", "number", value).Error() })
	check := func() {
		t.Helper()
		w.checkMarks(replica.Addr(), wr, func() string { return replica.Do("GET", "number").String() })
	}
	check()
	hold := replica.Faults.Hold(fakedragonfly.ReplicaApply)
	<-hold.Arrived()
	check() // It may be as far behind as it likes, and is read.
	strict := p.rules
	strict.MaxLag = time.Millisecond
	w.SetRules(strict)
	w.await(replica.Addr(), "lagging", "behind")
	w.ban(replica.Addr(), true)
	w.awaitProbes(5, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	w.SetRules(p.rules)
	hold.Release()
	w.await(replica.Addr(), "in sync")
	check()
}

// TestDragonflyMasterRestartsEmpty: a new id and no data; the replica is compared again.
func TestDragonflyMasterRestarts(t *testing.T) {
	t.Parallel()
	master, replica := dragonflies(t)
	w := watch(t, ofDragonfly(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	hold := replica.Faults.Hold(fakedragonfly.ReplicaConnect)
	if err := master.Restart(); err != nil {
		t.Fatal(err)
	}
	configure(t, master, replica)
	<-hold.Arrived()
	w.await(replica.Addr(), "broken", "is down") // Until the watcher knows that the master is back, max_lag counts.
	w.ban(replica.Addr(), true)
	w.awaitProbes(5, master.Addr(), replica.Addr())
	before := replica.Calls("TYPE").Seen
	w.allow(replica.Addr())
	hold.Release()
	w.await(replica.Addr(), "in sync")
	if replica.Calls("TYPE").Seen < before+20 { // Heartbeats are among the keys that are picked.
		t.Error("it was not compared again")
	}
}
