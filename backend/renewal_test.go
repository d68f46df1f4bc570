package backend

import "testing"

// A connection with something in flight is left alone until that is answered, and its successor does not dial before.
func TestRetiredConnIsReplacedWhenItIsIdle(t *testing.T) {
	s, _, n := newTestSet(t, 1, nil)
	old := up(t, s.Replica(n[0], 3, 4))
	ask(t, old, nil, 1)
	old.Flush()
	s.Retire(old)
	s.Retire(old)
	next := s.Replica(n[0], 3, 4)
	if old.Closed() || next == old || !old.Retiring() || next.Retiring() || s.Renewals() != 0 {
		t.Errorf("closed %v, the same %v, retiring %v and %v", old.Closed(), next == old, old.Retiring(), next.Retiring())
	}
	if ask(t, next, nil, 1); next.UnderWay() != nil {
		t.Error("the successor dials")
	}
	if err := old.Receive([]byte("+PONG\r\n"), 2); err != nil {
		t.Fatal(err)
	}
	s.Tick(old, 2)
	if !old.Closed() || next.UnderWay() == nil || s.Renewals() != 1 || s.Replica(n[0], 3, 4) != next {
		t.Errorf("closed %v, dial %v, %d renewals", old.Closed(), next.UnderWay(), s.Renewals())
	}
}

// When an address leads to another process, what is idle and leads to the old one is left at once, and nothing else.
func TestConnSetLeavesStrays(t *testing.T) {
	s, _, n := newTestSet(t, 2, nil)
	stray := func(c *Conn) *Conn {
		if !c.Up() {
			up(t, c)
		}
		c.peer.process = 1
		return c
	}
	free := stray(lease(t, s, n[0], 0, 1))
	taken := stray(lease(t, s, n[0], 0, 1))
	s.GiveBack(free, true, 1)
	moving := stray(s.Migration(n[0], 0, 2))
	ask(t, moving, nil, 1)
	idle := stray(s.Migration(n[0], 0, 2))
	subscription := stray(s.Subscribe(n[0], new(recordedPushes)))
	ask(t, subscription, nil, 1)
	shared, busy := stray(s.Shared(n[0], 2, 0)), stray(s.Shared(n[0], 2, 1))
	ask(t, busy, nil, 1)
	elsewhere, right := stray(s.Shared(n[1], 2, 0)), stray(s.Shared(n[0], 2, 2))
	right.peer.process = 2
	for _, node := range n {
		node.probed.Store(2)
		node.answeredAt.Store(2)
	}
	s.LeaveStrays(n[0])
	for i, c := range []*Conn{free, idle, subscription, shared} {
		if !c.Closed() {
			t.Errorf("stray %d is kept", i)
		}
	}
	for i, c := range []*Conn{taken, moving, busy, elsewhere, right} {
		if c.Closed() {
			t.Errorf("connection %d is closed", i)
		}
	}
	if !busy.Retiring() || right.Retiring() {
		t.Errorf("retiring: %v, %v", busy.Retiring(), right.Retiring())
	}
}
