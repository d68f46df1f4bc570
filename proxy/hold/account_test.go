package hold

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/router"
)

func TestLimitsAreNamed(t *testing.T) {
	wide := Settings{
		MaxRequests: 100, MaxBytes: 1000, SlotRequests: 100, SlotBytes: 1000, ClientRequests: 100, ClientBytes: 1000,
	}
	f := func(want string, change func(s *Settings)) {
		t.Helper()
		s := wide
		change(&s)
		var a Account
		client := Use{Requests: 2, Bytes: 20}
		for range 2 {
			if limit := a.Enter(&wide, 7, Locked, Use{}, 10); limit != "" {
				t.Fatalf("%s: %s", want, limit)
			}
		}
		limit := a.Enter(&s, 7, Locked, client, 10)
		if (want == "") != (limit == "") || !strings.HasSuffix(limit, want) {
			t.Errorf("limit %q, want %q", limit, want)
		}
		counts := a.Counts()
		if err := counts.Check(); err != nil || (want != "") != (counts.Ended[Overflowed] == 1) {
			t.Errorf("%s: %+v, %v", want, counts, err)
		}
	}
	f("", func(*Settings) {})
	f("dry run", func(s *Settings) { s.DryRun = true })
	f("2 requests wait, see hold.max_requests", func(s *Settings) { s.MaxRequests = 2 })
	f("2 requests wait for the slot, see hold.slot_requests", func(s *Settings) { s.SlotRequests = 2 })
	f("2 requests of the client wait, see hold.client_requests", func(s *Settings) { s.ClientRequests = 2 })
	f("20 bytes wait, see hold.max_bytes", func(s *Settings) { s.MaxBytes = 29 })
	f("20 bytes wait for the slot, see hold.slot_bytes", func(s *Settings) { s.SlotBytes = 29 })
	f("20 bytes of the client wait, see hold.client_bytes", func(s *Settings) { s.ClientBytes = 29 })
}

// Whatever happens to holds, the counts balance, and nothing is left when all have ended.
func TestAccountBalances(t *testing.T) {
	s := Settings{
		MaxRequests: 20, MaxBytes: 2000, SlotRequests: 5, SlotBytes: 500, ClientRequests: 1000, ClientBytes: 1 << 20,
	}
	type held struct {
		slot  router.Slot
		cause Cause
		bytes int
	}
	var a Account
	var all []held
	slot := func() router.Slot { return router.Slot(rand.IntN(4)) }
	cause := func() Cause { return Cause(rand.IntN(int(Causes))) }
	leave := func(i int) {
		h := all[i]
		a.Leave(h.slot, h.cause, h.bytes, End(rand.IntN(int(Ends))), time.Millisecond)
		all = append(all[:i], all[i+1:]...)
	}
	for range 10_000 {
		switch n := rand.IntN(4); {
		case n == 0 || len(all) == 0:
			h := held{slot(), cause(), rand.IntN(200)}
			if a.Enter(&s, h.slot, h.cause, Use{}, h.bytes) == "" {
				all = append(all, h)
			}
		case n == 1:
			h, more := &all[rand.IntN(len(all))], rand.IntN(50)
			a.Grow(&s, h.slot, Use{}, more) // It is noted beyond a limit, too.
			h.bytes += more
		case n == 2:
			h, to, is := &all[rand.IntN(len(all))], slot(), cause()
			a.Change(h.slot, h.cause, to, is, h.bytes)
			h.slot, h.cause = to, is
		default:
			leave(rand.IntN(len(all)))
		}
		counts, sum := a.Counts(), 0
		for _, h := range all {
			sum += h.bytes
		}
		if err := counts.Check(); err != nil || counts.Bytes != sum {
			t.Fatalf("%d bytes, want %d: %v", counts.Bytes, sum, err)
		}
	}
	for len(all) > 0 {
		leave(0)
	}
	if slots := a.Slots(); len(slots) != 0 || a.Counts().Bytes != 0 {
		t.Errorf("left: %+v, %d bytes", slots, a.Counts().Bytes)
	}
}
