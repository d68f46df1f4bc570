package backend

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"sluice/internal/bufpool"
	"sluice/internal/clock"
)

// newTestSet returns a set whose nodes dial nothing: the test says which connections are up.
func newTestSet(t *testing.T, nodes int, change func(*Options)) (*ConnSet, *testLoop, []*Node) {
	t.Helper()
	opts := testOptions()
	if change != nil {
		change(&opts)
	}
	var list []*Node
	for i := range nodes {
		n := NewNode(i, "127.0.0.1:0", &opts)
		n.Retire()
		list = append(list, n)
	}
	loop := newTestLoop(t)
	return NewConnSet(loop, bufpool.New(1<<20)), loop, list
}

// up says that c is connected.
func up(t *testing.T, c *Conn) *Conn {
	t.Helper()
	open(t, c, &testSocket{write: func(p []byte) (int, error) { return len(p), nil }})
	return c
}

// ask sends something on c that is not answered.
func ask(t *testing.T, c *Conn, owner Owner, now int64) {
	t.Helper()
	if err := c.Send([]byte("PING\r\n"), owner, 0, now); err != nil {
		t.Fatal(err)
	}
}

// onFail is an owner that does something when its request fails.
type onFail func(Failure)

func (f onFail) Reply(uint32, Reply)      {}
func (f onFail) Fail(_ uint32, x Failure) { f(x) }

// lease is Lease of which the test knows that it succeeds.
func lease(t *testing.T, s *ConnSet, n *Node, db int, now int64) *Conn {
	t.Helper()
	c, err := s.Lease(n, 2, db, now)
	if err != nil {
		t.Fatal(err)
	}
	return up(t, c)
}

// kindsOf counts the connections of a set.
func kindsOf(s *ConnSet) (count [Subscription + 1]int) {
	for c := range s.All() {
		count[c.Kind]++
	}
	return count
}

// A shared connection is one for all who name the same node, kind, protocol and database, for as long as it is open.
func TestConnSetSharesConnections(t *testing.T) {
	s, _, n := newTestSet(t, 2, nil)
	stranger := NewNode(0, "127.0.0.1:0", n[0].Options()) // The ID of a node that has gone is given again.
	stranger.Retire()
	get := []func() *Conn{
		func() *Conn { return s.Shared(n[0], 2, 0) }, func() *Conn { return s.Shared(n[0], 3, 0) },
		func() *Conn { return s.Shared(n[0], 2, 1) }, func() *Conn { return s.Shared(n[1], 2, 0) },
		func() *Conn { return s.Replica(n[0], 2, 0) }, func() *Conn { return s.Kill(n[0], 2) },
		func() *Conn { return s.Shared(stranger, 2, 0) },
	}
	var made []*Conn
	for i, f := range get {
		c := f()
		if slices.Contains(made, c) {
			t.Errorf("connection %d is another one, too", i)
		}
		made = append(made, c)
	}
	for i, f := range get {
		if f() != made[i] {
			t.Errorf("connection %d is not found again", i)
		}
	}
	for i, f := range get {
		made[i].Close(ErrClosed)
		if c := f(); c == made[i] || c.Closed() {
			t.Errorf("connection %d is closed and found", i)
		}
	}
	if got := kindsOf(s); got != [...]int{5, 1, 1, 0, 0, 0} {
		t.Errorf("connections by kind: %d", got)
	}
}

// A connection that is closed has left its set, of whatever kind it is, before the owners of its requests are told.
func TestConnSetLosesWhatIsClosed(t *testing.T) {
	s, loop, n := newTestSet(t, 1, nil)
	conns := []*Conn{
		s.Shared(n[0], 2, 0), s.Replica(n[0], 2, 0), s.Kill(n[0], 2), lease(t, s, n[0], 0, 1), s.Migration(n[0], 0, 1),
		s.Subscribe(n[0], new(recordedPushes)),
	}
	if got := kindsOf(s); got != [...]int{1, 1, 1, 1, 1, 1} {
		t.Fatalf("connections by kind: %d", got)
	}
	for _, c := range conns {
		if !c.Up() {
			up(t, c)
		}
		told := false
		ask(t, c, onFail(func(f Failure) {
			told = errors.Is(f.Err, net.ErrClosed)
			for other := range s.All() {
				if other == c {
					t.Errorf("kind %d is in the set when its owner is told", c.Kind)
				}
			}
		}), 1)
		gc := c.GnetConn()
		loop.hungUp = nil
		s.Close(c, net.ErrClosed)
		if !told || len(loop.hungUp) != 1 || loop.hungUp[0] != gc {
			t.Errorf("kind %d: told %v, hung up on %v", c.Kind, told, loop.hungUp)
		}
	}
	s.Sweep(2)
	if got := kindsOf(s); got != [Subscription + 1]int{} || len(s.dedicated)+len(s.migration)+len(s.subscriptions) != 0 {
		t.Errorf("left: %d, %v, %v, %v", got, s.dedicated, s.migration, s.subscriptions)
	}
	if all := n[0].dedicated.all.Load(); all != 0 {
		t.Errorf("%d dedicated connections are counted", all)
	}
}

// Who goes over all connections may close any of them, make others and go over all again; none is seen twice.
func TestConnSetIsWalkedWhileItChanges(t *testing.T) {
	s, _, n := newTestSet(t, 3, nil)
	for _, node := range n {
		for db := range 3 {
			s.Shared(node, 2, db)
			lease(t, s, node, db, 1)
			s.Migration(node, db, 9)
		}
	}
	all := len(slices.Collect(s.All()))
	seen := make(map[*Conn]bool)
	for c := range s.All() {
		if seen[c] || c.Closed() {
			t.Errorf("seen before: %v, closed: %v", seen[c], c.Closed())
		}
		seen[c] = true
		if inner := len(slices.Collect(s.All())); inner != all {
			t.Errorf("%d connections seen from inside, want %d", inner, all)
		}
		if len(seen) == 2 {
			s.Close(c, ErrClosed)
			for other := range s.All() {
				if other.Node == c.Node && other.Kind == c.Kind && !seen[other] {
					s.Close(other, ErrClosed)
					all--
					break
				}
			}
			all--
		}
	}
	if len(seen) != all+1 {
		t.Errorf("%d connections seen, want %d and one that was closed", len(seen), all)
	}
	for range s.All() {
		break
	}
	if got := len(slices.Collect(s.All())); got != all {
		t.Errorf("%d connections after a walk that was left, want %d", got, all)
	}
}

// What Tick says of a connection with a request in flight, and when it ends it, by kind.
func TestConnSetTicks(t *testing.T) {
	second := int64(time.Second)
	now := clock.Now()
	f := func(name string, make func(*ConnSet, *Node) *Conn, change func(*Conn, *Node), busy bool, closed string) {
		t.Helper()
		s, _, n := newTestSet(t, 1, func(o *Options) { o.BreakerFailures = 1 })
		c := make(s, n[0])
		if !c.Up() {
			up(t, c)
		}
		var err error
		ask(t, c, onFail(func(f Failure) { err = f.Err }), now)
		c.Flush()
		if change != nil {
			change(c, n[0])
		}
		if got := s.Tick(c, now); got != busy || c.Closed() != (closed != "") || closed != "" && err.Error() != closed {
			t.Errorf("%s: busy %v, closed %v with %v", name, got, c.Closed(), err)
		}
	}
	shared := func(s *ConnSet, n *Node) *Conn { return s.Shared(n, 2, 0) }
	leased := func(s *ConnSet, n *Node) *Conn { return lease(t, s, n, 0, now) }
	moving := func(s *ConnSet, n *Node) *Conn { return s.Migration(n, 0, 1) }
	subscribed := func(s *ConnSet, n *Node) *Conn { return s.Subscribe(n, new(recordedPushes)) }
	hung := func(c *Conn, n *Node) {
		c.lastReply = now - 2*int64(n.hungAfter())
		c.fifo.at(0).start = c.lastReply
	}
	const unanswered = "backend 127.0.0.1:0 left a request unanswered"
	f("shared", shared, nil, true, "")
	f("hung", shared, hung, false, ErrTimeout.Error())
	f("blocked for ever", leased, nil, false, "")
	f("blocked for long", leased, func(c *Conn, _ *Node) { c.Until = now + 3*second }, false, "")
	f("blocked up to soon", leased, func(c *Conn, _ *Node) { c.Until = now + second }, true, "")
	f("blocked for too long", leased, func(c *Conn, _ *Node) { c.Until = now - 1 }, false, ErrTimeout.Error())
	f("migration", moving, nil, true, "")
	lost := func(c *Conn, n *Node) {
		c.Patience = time.Hour
		n.Report(errors.New("gone"))
	}
	f("migration from a source that has gone", moving, lost, true, errSourceAway.Error())
	f("migration of a moment from a source that has gone", moving, func(c *Conn, n *Node) {
		lost(c, n)
		c.Patience = 0
	}, true, "")
	f("subscription", subscribed, nil, false, "")
	f("subscription, hung", subscribed, hung, false, unanswered)
}

// A request that has timed out on a migration connection may ask for a migration connection at once.
func TestMigrationConnIsAskedForInATick(t *testing.T) {
	s, _, n := newTestSet(t, 1, nil)
	now := clock.Now()
	var conns []*Conn
	for range 3 {
		c := up(t, s.Migration(n[0], 0, 3))
		asked := func(Failure) {
			if s.Migration(n[0], 0, 4) == nil {
				t.Error("no migration connection")
			}
		}
		ask(t, c, onFail(asked), now-int64(time.Hour))
		conns = append(conns, c)
	}
	conns[0].Close(errors.New("lost")) // A migration connection fewer moves the others in the list.
	ticked := make(map[*Conn]bool)
	for c := range s.All() {
		s.Tick(c, now)
		ticked[c] = true
	}
	if !ticked[conns[1]] || !ticked[conns[2]] {
		t.Error("a connection was not ticked")
	}
}

// There are limit migration connections at most, one of another database gives way, and whoever waits may go on for
// each that is free or was closed since somebody looked.
func TestMigrationConnsAreBounded(t *testing.T) {
	s, _, n := newTestSet(t, 1, nil)
	room := func(want int) {
		t.Helper()
		if got := s.MigrationRoom(n[0]); got != want {
			t.Errorf("room for %d, want %d", got, want)
		}
	}
	room(1)
	a := up(t, s.Migration(n[0], 0, 2))
	if s.Migration(n[0], 0, 2) != a {
		t.Error("a free connection is not used")
	}
	ask(t, a, nil, 1)
	room(0)
	b := up(t, s.Migration(n[0], 0, 2))
	room(1)
	other := s.Migration(n[0], 1, 2)
	if other == nil || other.DB != 1 || !b.Closed() || a.Closed() {
		t.Error("a free connection of another database does not give way")
	}
	ask(t, up(t, other), nil, 1)
	if s.Migration(n[0], 0, 2) != nil {
		t.Error("more than the limit")
	}
	room(0)
	a.Close(net.ErrClosed)
	other.Close(net.ErrClosed)
	room(2)
	s.Sweep(1)
	room(1)
}

// Connections that are of no use are closed, by kind.
func TestConnSetTrims(t *testing.T) {
	s, _, n := newTestSet(t, 2, nil)
	make := func(node *Node) []*Conn {
		free := lease(t, s, node, 0, 1)
		taken := lease(t, s, node, 0, 1)
		s.GiveBack(free, true, 1)
		return []*Conn{
			s.Shared(node, 2, 0), free, taken, s.Migration(node, 0, 1), s.Subscribe(node, new(recordedPushes)),
		}
	}
	wanted, gone := make(n[0]), make(n[1])
	n[1].SetWanted(false)
	trim := func(now int64) (closed []int) {
		for c := range s.All() {
			s.Trim(c, now)
		}
		for i, c := range slices.Concat(wanted, gone) {
			if c.Closed() {
				closed = append(closed, i)
			}
		}
		return closed
	}
	ask(t, up(t, wanted[3]), nil, 1)
	idle := s.Migration(n[0], 0, 2)
	if got := trim(2); !slices.Equal(got, []int{5, 6, 8}) || !idle.Closed() {
		t.Errorf("closed: %v, an idle migration connection: %v", got, idle.Closed())
	}
	if got := trim(2 + freeTime); !slices.Equal(got, []int{1, 5, 6, 8}) {
		t.Errorf("closed after a while: %v", got)
	}
}
