package replication

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/router"
)

// TestNodeThatWasAskedBeforeIsAskedAnew: others may have a node asked before the topology names it, and its next turn
// may be far away then.
func TestNodeThatWasAskedBeforeIsAskedAnew(t *testing.T) {
	s := testbed.Redis(t)
	p := plan{family: dialect.Redis, probe: time.Hour}
	n, answered := backend.NewNode(0, s.Addr(), p.options()), make(chan struct{}, 1)
	w := New(Config{
		Pool: "pool", Family: p.family, Node: func(string) *backend.Node { return n }, Rules: Rules{Interval: time.Hour},
	})
	n.OnProbe(func(o backend.Observation) {
		w.Observe(s.Addr(), o)
		select {
		case answered <- struct{}{}:
		default:
		}
	})
	var work sync.WaitGroup
	work.Go(n.Run)
	t.Cleanup(func() {
		n.Retire()
		work.Wait()
	})
	<-answered
	w.SetTable(tableOf(t, router.CodisModel(64), s.Addr()))
	testbed.Eventually(t, func() error {
		if st := w.Status().Groups[0].Nodes[0]; st.Says != "master" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	}, 30*time.Second)
}
