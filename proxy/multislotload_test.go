package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// TestKeysOverSlotsUnderLoad judges transactions, scripts and blocking pops with keys in several slots, while all slots go
// from one codis-server to another and back, a quarter at a time. What is refused has not run, no half is seen.
func TestKeysOverSlotsUnderLoad(t *testing.T) {
	t.Parallel()
	servers := []*fakecodis.Server{
		fakecodis.StartCodisServer(t, fakecodis.Options{}), fakecodis.StartCodisServer(t, fakecodis.Options{}),
	}
	m := &quarterMove{T: t, servers: servers, at: make([]int, codisModel.Slots())}
	m.p = startProxy(t, codisModel, m.specs(), holding(5*time.Minute), ofFamily("codis"),
		func(_ *Config, pool *PoolConfig) { pool.Backend.RequestTimeout = 5 * time.Minute })
	cfg := check.Defaults(check.Full)
	cfg.Sessions.Streams, cfg.Sessions.Moves, cfg.Sessions.Apart = 0, false, true // As old as a codis-server.
	cfg.Sessions.Slack = 10 * time.Minute                                         // How fast the slots go is not judged.
	cfg.Addr = m.p.addr
	cfg.Tolerate = func(text string) bool {
		return strings.HasPrefix(text, "CROSSSLOT ") || text == errExecAborted
	}
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.run = run
	m.warm()
	for _, to := range []int{1, 0} {
		for quarter := range 4 {
			m.move(quarter, to)
			m.warm()
		}
	}
	report := run.Stop()
	t.Logf("%v\n%s", m.p.pool.MultiSlot(), report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"exec", "eval", "blpop"} {
		if m.p.pool.MultiSlot()[name] == 0 {
			t.Errorf("no %s had keys in several slots", name)
		}
	}
}

// quarterMove moves slots between two servers, of which the first has all.
type quarterMove struct {
	*testing.T
	servers []*fakecodis.Server
	p       *testProxy
	run     *check.Run
	at      []int // the server that has a slot
}

func (m *quarterMove) specs() []router.GroupSpec {
	specs := make([]router.GroupSpec, len(m.servers))
	for i, server := range m.servers {
		specs[i] = router.GroupSpec{ID: router.GroupID(fmt.Sprint(i + 1)), Master: server.Addr(),
			Slots: router.RangesOf(len(m.at), func(slot router.Slot) bool { return m.at[slot] == i })}
	}
	return specs
}

// warm lets the load run for a while.
func (m *quarterMove) warm() {
	m.Helper()
	before, _ := m.run.Progress()
	for now := before; now < before+1500; now, _ = m.run.Progress() {
		select {
		case <-m.Context().Done():
			m.Fatal(m.Context().Err())
		case <-time.After(time.Millisecond): // Only how often it is looked.
		}
	}
}

// move moves every fourth slot as a dashboard does.
func (m *quarterMove) move(quarter, to int) {
	m.Helper()
	from := 1 - to
	for slot := quarter; slot < len(m.at); slot += 4 {
		m.at[slot] = to
	}
	phase := func(p router.Phase) {
		m.p.setTable(m, m.specs(), router.MoveSpec{
			Slots: router.RangesOf(len(m.at), func(slot router.Slot) bool { return int(slot)%4 == quarter }),
			Phase: p, Method: router.SemiAsync, From: m.servers[from].Addr(), FromID: router.GroupID(fmt.Sprint(from + 1)),
		})
		ctx, cancel := context.WithTimeout(m.Context(), 5*time.Minute)
		defer cancel()
		if err := m.p.pool.AwaitAnswered(ctx, []string{m.servers[0].Addr(), m.servers[1].Addr()}); err != nil {
			m.Fatal(err)
		}
	}
	phase(router.Locked)
	phase(router.Moving)
	m.warm()
	c := dial(m, "tcp", m.servers[from].Addr())
	for slot := quarter; slot < len(m.at); slot += 4 {
		for got := ""; !strings.HasSuffix(got, "\n:0\r\n"); { // So many keys are left.
			if got = c.do("SLOTSMGRTTAGSLOT-ASYNC", "127.0.0.1", fmt.Sprint(m.servers[to].Port()),
				"10000", "100", "1000000", fmt.Sprint(slot), "100"); got[0] != '*' {
				m.Fatal(got)
			}
		}
	}
	m.p.setTable(m, m.specs())
}
