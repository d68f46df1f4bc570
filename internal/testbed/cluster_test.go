package testbed

import (
	"fmt"
	"strings"
	"testing"
)

// One cluster for all that can be done to it: forming one takes seconds.
func TestCluster(t *testing.T) {
	c := Cluster(t, 3, 1)
	nodes := c.Nodes()
	if len(nodes) != 6 || len(c.Addrs()) != 6 {
		t.Fatalf("%d nodes, addresses %v", len(nodes), c.Addrs())
	}
	// {b} hashes to slot 3300, in the first third.
	const slot = 3300
	if got := c.NodeOf(slot); got != nodes[0] {
		t.Fatalf("slot %d is with %v", slot, got)
	}
	for i := range 250 {
		if v := nodes[0].Do("SET", fmt.Sprintf("{b}%d", i), "v"); v.String() != "OK" {
			t.Fatalf("SET: %s", v)
		}
	}

	t.Run("a begun move answers ASK", func(t *testing.T) {
		if err := c.BeginMove(slot, nodes[1]); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("ASK %d %s", slot, nodes[1].Addr())
		if v := nodes[0].Do("GET", "{b}absent"); v.String() != want {
			t.Errorf("absent key: %s, want %s", v, want)
		}
		if v := nodes[0].Do("GET", "{b}7"); v.String() != "v" {
			t.Errorf("present key: %s", v)
		}
	})

	t.Run("a finished move takes the keys along", func(t *testing.T) {
		if err := c.FinishMove(slot); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("MOVED %d %s", slot, nodes[1].Addr())
		if v := nodes[0].Do("GET", "{b}7"); v.String() != want {
			t.Errorf("old owner: %s, want %s", v, want)
		}
		if v := nodes[1].Do("CLUSTER", "COUNTKEYSINSLOT", "3300"); v.Integer() != 250 {
			t.Errorf("%s keys at the new owner", v)
		}
		if err := c.FinishMove(slot); err == nil || !strings.Contains(err.Error(), "not begun") {
			t.Errorf("finished twice: %v", err)
		}
		if err := c.MoveSlot(slot, nodes[0]); err != nil || c.NodeOf(slot) != nodes[0] {
			t.Errorf("back again: %v", err)
		}
	})

	t.Run("a failover makes the replica master", func(t *testing.T) {
		if err := c.Failover(nodes[4]); err != nil {
			t.Fatal(err)
		}
		if got := c.NodeOf(8000); got != nodes[4] {
			t.Errorf("slot 8000 is with %v", got)
		}
	})
}
