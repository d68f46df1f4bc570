package replication

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"sluice/internal/testbed"
)

// TestComparisonIsOfTheServerThatIsSuspect: the address of a suspect leads to another replica whenever it is
// compared. That one is all right, which says nothing.
func TestComparisonIsOfTheServerThatIsSuspect(t *testing.T) {
	t.Parallel()
	master := testbed.Redis(t)
	fill(t, master, "old")
	way := testbed.StartRelay(t, master.Addr())
	_, port, err := net.SplitHostPort(way.Addr())
	do(t, err)
	replicaOf := []string{"--replicaof", "127.0.0.1", fmt.Sprint(master.Port()), "--replica-read-only", "no"}
	right := testbed.Redis(t, append(slices.Clone(replicaOf), "--replica-announce-port", port)...)
	wrong := testbed.Redis(t, replicaOf...)
	testbed.AwaitReplica(t, master, wrong)
	says(t, master, "port="+port+",state=online")
	says(t, right, "master_link_status:up")
	for i := range 20 {
		ok(t, wrong, "SET", fmt.Sprint("string:", i), "other")
	}
	way.SetTargets(append([]string{wrong.Addr()}, slices.Repeat([]string{right.Addr()}, 1000)...)...)
	w := watch(t, fast(), master.Addr(), way.Addr())
	testbed.Eventually(t, func() error {
		if n := way.Next(); n < 1+2*reachTries {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	}, patience)
	if st, _ := w.find(way.Addr()); st.Readable || st.State == "in sync" {
		t.Errorf("%+v", st)
	}
	way.SetTargets(wrong.Addr())
	w.await(way.Addr(), "diverged", "sampled keys differ")
	way.SetTargets(right.Addr())
	w.nodes[way.Addr()].LookAgain(0)
	w.await(way.Addr(), "in sync")
}
