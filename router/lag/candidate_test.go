package lag

import (
	"slices"
	"testing"
)

func TestMasterCandidates(t *testing.T) {
	f := func(name string, want []string, happens func(c *groupFixture)) {
		t.Helper()
		c := newGroupFixture(t)
		c.admit()
		c.say("s:3")
		happens(c)
		if got := c.MasterCandidates(c.now); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	toX := []string{"x:9"}
	f("all is well", nil, func(*groupFixture) {})
	f("the master has given way", toX, func(c *groupFixture) { c.say("m:1", isReplica) })
	f("it gets a full copy", toX, func(c *groupFixture) { c.say("m:1", isReplica, linkDown, syncing) })
	f("it looks for somebody", nil, func(c *groupFixture) { c.say("m:1", isReplica, linkDown) })
	f("it has given way to a replica", nil, func(c *groupFixture) { c.say("m:1", isReplica, follows("r:2")) })
	f("a replica follows somebody, the master lives", nil, func(c *groupFixture) { c.say("s:3", follows("x:9")) })
	f("the master is silent for once", nil, func(c *groupFixture) {
		c.say("s:3", follows("x:9"))
		c.miss("m:1")
	})
	f("the master is gone", toX, func(c *groupFixture) {
		c.say("s:3", follows("x:9"))
		c.silent("m:1")
	})
	f("the master is gone, and they look for it", nil, func(c *groupFixture) { c.silent("m:1") })
	f("the master had listed others", toX, func(c *groupFixture) {
		c.say("m:1", lists(Listed{Addr: "r:2", Online: true}, Listed{Addr: "x:9", Online: true}, Listed{Addr: "y:8"}))
		c.silent("m:1")
	})
}

func TestUnlisted(t *testing.T) {
	c := newGroupFixture(t)
	c.admit()
	want := func(want ...string) {
		t.Helper()
		if got := c.Unlisted(c.now); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	c.say("m:1", lists(Listed{Addr: "r:2", Online: true}))
	want()
	c.say("m:1", lists(Listed{Addr: "r:2", Online: true}, Listed{Addr: "x:9", Online: true}, Listed{Addr: "y:8"}, Listed{Addr: "x:9", Online: true}))
	want("x:9")
	c.say("m:1", isReplica, lists(Listed{Addr: "x:9", Online: true}))
	want()
	c.silent("m:1")
	want()
}
