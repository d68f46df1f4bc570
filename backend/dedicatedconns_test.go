package backend

import (
	"errors"
	"testing"
	"time"
)

// A client gets the connection that was used last, if it fits and is not about to be hit by somebody's CLIENT UNBLOCK.
func TestLeaseTakesWhatIsFree(t *testing.T) {
	s, _, n := newTestSet(t, 1, nil)
	older, newer := lease(t, s, n[0], 0, 1), lease(t, s, n[0], 0, 1)
	other, hit := lease(t, s, n[0], 1, 1), lease(t, s, n[0], 0, 1)
	doubtful := lease(t, s, n[0], 0, 1)
	for _, c := range []*Conn{older, newer, other, hit} {
		s.GiveBack(c, true, 2)
	}
	hit.Unblocking = 1
	s.GiveBack(doubtful, false, 2)
	if !doubtful.Closed() || older.Until != 2+int64(time.Second) {
		t.Errorf("in doubt, closed: %v; the free one may take until %d", doubtful.Closed(), older.Until)
	}
	if free, all := n[0].FreeDedicated(), n[0].dedicated.all.Load(); free != 4 || all != 4 {
		t.Errorf("%d of %d are free", free, all)
	}
	for i, want := range []*Conn{newer, older} {
		if c, err := s.Lease(n[0], 2, 0, 3); c != want || err != nil {
			t.Errorf("client %d got another connection, or %v", i, err)
		}
	}
	if free, all := n[0].FreeDedicated(), n[0].dedicated.all.Load(); free != 2 || all != 4 {
		t.Errorf("%d of %d are free", free, all)
	}
	newer.Close(errors.New("lost"))
	s.GiveBack(newer, true, 4)
	if free, all := n[0].FreeDedicated(), n[0].dedicated.all.Load(); free != 2 || all != 3 {
		t.Errorf("with one that was lost %d of %d are free", free, all)
	}
}

// Loops share the bound: a free connection makes room, on its own loop at once and on another one when it is asked to.
func TestLeaseIsBounded(t *testing.T) {
	s, _, n := newTestSet(t, 1, func(o *Options) { o.MaxDedicated = 2 })
	a := lease(t, s, n[0], 0, 1)
	elsewhere := NewConnSet(s.home, s.pool)
	b := lease(t, elsewhere, n[0], 0, 1)
	if _, err := s.Lease(n[0], 2, 0, 1); !errors.Is(err, ErrAllTaken) {
		t.Errorf("all are taken: %v", err)
	}
	elsewhere.GiveBack(b, true, 1)
	if _, err := s.Lease(n[0], 2, 0, 1); !errors.Is(err, ErrNoRoom) {
		t.Errorf("another loop has a free one: %v", err)
	}
	if s.MakeRoom(n[0]) || !elsewhere.MakeRoom(n[0]) || !b.Closed() {
		t.Error("no room is made")
	}
	c := lease(t, s, n[0], 0, 1)
	s.GiveBack(a, true, 1)
	s.GiveBack(c, true, 2)
	if d := lease(t, s, n[0], 7, 3); d == nil || !a.Closed() || c.Closed() {
		t.Errorf("of two free ones, closed: %v, %v", a.Closed(), c.Closed())
	}
}

// After a dial that failed nobody gets a new connection before the pause is over, and then one does.
func TestLeaseWaitsForADial(t *testing.T) {
	s, _, n := newTestSet(t, 1, nil)
	c, err := s.Lease(n[0], 2, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	c.dials.failed(refused, 1, 1, n[0].Options())
	s.GiveBack(c, false, 1)
	if _, err := s.Lease(n[0], 2, 0, 2); !errors.Is(err, refused) {
		t.Errorf("in the pause: %v", err)
	}
	s.Sweep(2)
	if d := s.Dials(n[0]); d == nil || d.FailedAt() != 1 {
		t.Errorf("what the dial has shown is forgotten: %+v", d)
	}
	later := 1 + int64(n[0].Options().ReconnectMin)
	first, err := s.Lease(n[0], 2, 0, later)
	if err != nil {
		t.Fatal(err)
	}
	first.underway = &Dial{conn: first}
	if _, err := s.Lease(n[0], 2, 0, later); !errors.Is(err, refused) {
		t.Errorf("while one dials: %v", err)
	}
	s.Close(first, ErrClosed)
	if s.Sweep(2 + freeTime); s.Dials(n[0]) != nil {
		t.Error("what the dial has shown is never forgotten")
	}
}
