package discovery

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/router"
)

const trio = "1 0-7 a:1 a:2 a:3; 2 8-15 b:1"

// nodes describes a group of the newest Table: its master, and then its replicas.
func (b *bench) nodes(id router.GroupID) string {
	tables := b.tables()
	for _, g := range tables[len(tables)-1].Groups {
		if g.ID != id {
			continue
		}
		words := []string{g.Master.Addr}
		for _, r := range g.Replicas {
			words = append(words, r.Addr)
		}
		return strings.Join(words, " ")
	}
	return "none"
}

func (b *bench) adopts(id router.GroupID, addr string, tables int, nodes string) {
	b.Helper()
	b.Adopt(id, addr)
	b.settle()
	b.has(tables, nodes)
}

// has checks how many Tables have been applied, and the nodes of group 1.
func (b *bench) has(tables int, nodes string) {
	b.Helper()
	if n, got := len(b.tables()), b.nodes("1"); n != tables || got != nodes {
		b.Errorf("%d tables, group 1 is %s; want %d, %s", n, got, tables, nodes)
	}
}

func TestAdoptedMasterIsApplied(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.Adopt("1", "a:2") // There is no topology yet.
		b.settle()
		if n := len(b.tables()); n != 0 {
			t.Errorf("%d tables", n)
		}
		b.publish(trio)
		b.has(1, "a:1 a:2 a:3")
		b.adopts("1", "a:2", 2, "a:2 a:3 a:1") // The old one may come back as a replica.
		b.wants(2, "0-7 a:2; 8-15 b:1")
		b.adopts("1", "a:2", 2, "a:2 a:3 a:1")
		b.adopts("1", "a:3", 3, "a:3 a:2 a:1")
	})
}

func TestAdoptedMasterSurvivesARepeatedSnapshot(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(trio)
		b.adopts("1", "a:2", 2, "a:2 a:3 a:1")
		for range 3 {
			b.publish(trio)
			time.Sleep(overrideLife)
		}
		b.has(2, "a:2 a:3 a:1")
		// The same about this group, in another order; another group changes.
		b.publish("2 8-15 b:1 b:2; 1 4-7,0-3 a:1 a:3 a:2")
		b.has(3, "a:2 a:3 a:1")
		b.publish("1 0-11 a:1 a:2 a:3; 2 12-15 b:1") // Slots say nothing about nodes.
		b.has(4, "a:2 a:3 a:1")
		b.wants(4, "0-11 a:2; 12-15 b:1")
		b.publish("1 - a:1; 2 7-16 b:1") // It is refused.
		b.has(4, "a:2 a:3 a:1")
	})
}

func TestAdoptionEndsWhenTheSourceSaysSomethingElse(t *testing.T) {
	f := func(says, nodes string) {
		t.Helper()
		runKeeper(t, func(b *bench) {
			b.publish(trio)
			b.adopts("1", "a:2", 2, "a:2 a:3 a:1")
			b.publish(says)
			b.has(3, nodes)
			b.publish(trio) // What was adopted before is not remembered.
			b.has(4, "a:1 a:2 a:3")
		})
	}
	f("1 0-7 a:2 a:1 a:3; 2 8-15 b:1", "a:2 a:1 a:3") // It has seen the same.
	f("1 0-7 a:3 a:1 a:2; 2 8-15 b:1", "a:3 a:1 a:2")
	f("1 0-7 a:1 a:2; 2 8-15 b:1", "a:1 a:2")
	f("1 0-7 a:1 a:2 a:3 a:4; 2 8-15 b:1", "a:1 a:2 a:3 a:4")
	f("1 0-7 a:1 a:3; 2 8-15 b:1", "a:1 a:3")
	f("2 0-15 b:1", "none")
	f("9 0-7 a:1 a:2 a:3; 2 8-15 b:1", "none")
}

func TestUnknownMasterIsNotAdopted(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(trio)
		for _, addr := range []string{"c:1", "b:1", "", "a:1"} {
			b.adopts("1", addr, 1, "a:1 a:2 a:3")
		}
		b.adopts("3", "a:2", 1, "a:1 a:2 a:3")
		b.adopts("2", "a:2", 1, "a:1 a:2 a:3") // A replica of another group.
		b.adopts("1", "a:2", 2, "a:2 a:3 a:1")
		b.adopts("1", "c:1", 2, "a:2 a:3 a:1") // And what was adopted stays.
	})
}

func TestOldMasterIsAdoptedAgain(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(trio)
		b.adopts("1", "a:2", 2, "a:2 a:3 a:1")
		b.adopts("1", "a:1", 3, "a:1 a:2 a:3")
		b.adopts("1", "a:1", 3, "a:1 a:2 a:3")
		b.publish(trio)
		b.has(3, "a:1 a:2 a:3")
		// The newest word of a turn counts. What comes right behind a turn waits for the next one.
		turn := func() { b.src.snapshots <- snapshot(trio); synctest.Wait() }
		turn()
		b.Adopt("1", "a:2")
		b.adopts("1", "a:1", 3, "a:1 a:2 a:3")
		turn()
		b.Adopt("1", "a:2")
		b.adopts("1", "a:3", 4, "a:3 a:2 a:1")
	})
}

// TestAdoptionAndMoved: both say what the source does not know, of different things.
func TestAdoptionAndMoved(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(trio)
		b.Moved(3, "b:1")
		b.Moved(9, "a:1")
		b.wants(2, "0-2 a:1; 3 b:1; 4-7 a:1; 8 b:1; 9 a:1; 10-15 b:1")
		b.Adopt("1", "a:2")
		b.wants(3, "0-2 a:2; 3 b:1; 4-7 a:2; 8 b:1; 9 a:1; 10-15 b:1") // A MOVED names a node, not a group.
		// The source says the same of slot 3 as before.
		b.publish(trio + " b:2")
		b.wants(4, "0-2 a:2; 3 b:1; 4-7 a:2; 8 b:1; 9 a:1; 10-15 b:1")
		b.Moved(9, "a:2")
		b.wants(5, "0-2 a:2; 3 b:1; 4-7 a:2; 8 b:1; 9 a:2; 10-15 b:1")
		// MOVED to who was adopted is where things are anyway.
		b.Moved(3, "a:2")
		b.wants(6, "0-7 a:2; 8 b:1; 9 a:2; 10-15 b:1")
		if n := b.Status().Overrides; n != 1 {
			t.Errorf("%d overrides", n)
		}
		// It changes its mind about the group: that is newer than the MOVED of its slots.
		b.Moved(4, "b:1")
		b.wants(7, "0-3 a:2; 4 b:1; 5-7 a:2; 8 b:1; 9 a:2; 10-15 b:1")
		b.publish("1 0-7 a:3 a:1 a:2; 2 8-15 b:1 b:2")
		b.wants(8, "0-7 a:3; 8 b:1; 9 a:2; 10-15 b:1")
	})
}

// TestMovedToTheHeirBeforeItIsAdopted: then nothing is overridden any more.
func TestMovedToTheHeirBeforeItIsAdopted(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(trio)
		b.Moved(3, "a:2")
		b.wants(2, "0-2 a:1; 3 a:2; 4-7 a:1; 8-15 b:1")
		b.adopts("1", "a:2", 3, "a:2 a:3 a:1")
		b.wants(3, "0-7 a:2; 8-15 b:1")
		if n := b.Status().Overrides; n != 0 {
			t.Errorf("%d overrides", n)
		}
		b.adopts("1", "a:3", 4, "a:3 a:2 a:1")
		b.wants(4, "0-7 a:3; 8-15 b:1") // No override is left that holds slot 3 back.
	})
}

func TestInvitedNodeIsAReplicaAndMayBeAdopted(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(trio)
		b.Invite("1", "x:1")
		b.settle()
		b.has(2, "a:1 a:2 a:3 x:1")
		b.Invite("1", "x:1")
		b.Invite("1", "b:1") // It has a place in another group.
		b.Invite("1", "nonsense")
		b.Invite("3", "x:2") // There is no such group.
		b.settle()
		b.has(2, "a:1 a:2 a:3 x:1")
		b.adopts("1", "x:1", 3, "x:1 a:2 a:3 a:1")
		b.publish(trio)
		b.has(3, "x:1 a:2 a:3 a:1")
		b.publish("1 0-7 a:1 a:2; 2 8-15 b:1") // The source has learnt something.
		b.has(4, "a:1 a:2")
	})
}
