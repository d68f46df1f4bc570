package proxy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/hold"
	"sluice/router"
)

// A command that has waited for one slot and now waits for another stands in the book under that, and has an end.
func TestHoldGoesOverToTheNextSlotInTheWay(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	keys := keysApart(codisModel, 2)
	x, y := lock(codisModel, keys[0]), lock(codisModel, keys[1])
	p := startProxy(t, codisModel, specs, holding(2*replyWait))
	waitsFor := func(slot router.Slot) {
		t.Helper()
		testbed.Eventually(t, func() error {
			if held := p.pool.HeldSlots(); len(held) != 1 || held[0].Slot != slot || held[0].Requests != 1 {
				return fmt.Errorf("held slots %+v, want one request for %d", held, slot)
			}
			return nil
		}, replyWait)
	}
	p.setTable(t, specs, x, y)
	c := p.dial(t)
	c.request("MSET", keys[0], "1", keys[1], "1")
	waitsFor(x.Slots[0].From)
	p.setTable(t, specs, y)
	waitsFor(y.Slots[0].From)
	p.setTable(t, specs, x)
	waitsFor(x.Slots[0].From)
	p.setTable(t, specs, y)
	settings := *p.pool.Settings()
	settings.Hold.MaxWait = time.Millisecond
	p.pool.SetSettings(settings)
	c.wantPrefix(fmt.Sprintf("-TRYAGAIN slot %d is locked in group 1 (held ", y.Slots[0].From))
	p.setTable(t, specs)
	c.want("*2\r\n$-1\r\n$-1\r\n", "MGET", keys[0], keys[1])
}

// A shorter hold.max_wait counts for those who wait already.
func TestReloadEndsHolds(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(2*replyWait))
	p.setTable(t, specs, lock(codisModel, "k"))
	c := p.dial(t)
	c.request("GET", "k")
	p.awaitHeld(t, 1)
	settings := *p.pool.Settings()
	settings.Hold.MaxWait = 0
	p.pool.SetSettings(settings)
	c.wantPrefix(fmt.Sprintf("-TRYAGAIN slot %d is locked in group 1 (held ", codisModel.Slot([]byte("k"))))
}

// Whatever comes behind a held request, and however it ends, the book balances.
func TestHoldsBalance(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	for _, tail := range []string{"", "QUIT\r\n", "*1\r\n$x\r\n", "PING\r\nQUIT\r\n", "GET"} {
		for _, end := range []hold.End{hold.ClientGone, hold.Released} {
			p := startProxy(t, codisModel, specs, holding(never))
			p.setTable(t, specs, lock(codisModel, "k"))
			c := p.dial(t)
			c.send("GET k\r\n" + tail)
			p.awaitHeld(t, 1)
			if end == hold.ClientGone {
				_ = c.Close()
			} else {
				p.setTable(t, specs)
				c.wantReply("$-1\r\n")
			}
			p.awaitHeld(t, 0)
			if counts := p.pool.Holds(); counts.Bytes != 0 || counts.Ended[end] != 1 ||
				slices.Max(counts.Ended[:]) != 1 {
				t.Errorf("%q behind: holds %+v", tail, counts)
			}
		}
	}
}
