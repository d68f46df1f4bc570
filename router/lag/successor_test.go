package lag

import "testing"

// promoted is what a replica says that has become the master of its group.
func promoted(s *Sample) {
	isMaster(s)
	s.ID, s.ID2, s.SecondOffset = histB, histA, 101
}

// followsHeir is what a replica says that follows r:2 after that.
func followsHeir(s *Sample) { s.ID, s.MasterAddr = histB, "r:2" }

func TestSuccessor(t *testing.T) {
	f := func(want, why string, happens func(c *groupFixture), rules ...func(*Rules)) {
		t.Helper()
		c := newGroupFixture(t, rules...)
		c.admit()
		c.say("s:3")
		happens(c)
		if got, reason := c.Successor(c.now); got != want || reason != why {
			t.Errorf("%q because %q, want %q because %q", got, reason, want, why)
		}
	}
	nobody := func(happens func(c *groupFixture), rules ...func(*Rules)) {
		t.Helper()
		f("", "", happens, rules...)
	}
	const descends = ", and its history continues that of the old master"
	const dead = "the old master does not answer: connection refused; "
	// The old master has given way.
	f("r:2", "the old master says that it is a replica; 2 of 3 nodes say so"+descends, func(c *groupFixture) {
		c.say("r:2", promoted)
		c.say("m:1", isReplica, followsHeir)
		c.say("s:3", linkDown)
	})
	f("r:2", "the old master says that it is a replica; 3 of 3 nodes say so"+descends, func(c *groupFixture) {
		c.say("r:2", promoted)
		c.say("m:1", isReplica, followsHeir)
		c.say("s:3", followsHeir)
	})
	// It is dead, and the history descends.
	f("r:2", dead+"1 of 3 nodes say so"+descends, func(c *groupFixture) {
		c.say("r:2", promoted)
		c.silent("m:1")
		c.silent("s:3")
	})
	f("r:2", dead+"1 of 3 nodes say so"+descends, func(c *groupFixture) {
		c.say("r:2", promoted)
		c.silent("m:1")
		c.say("s:3", linkDown) // It looks for the old one.
	})
	f("r:2", "the old master has not answered for 680ms; 1 of 3 nodes say so"+descends, func(c *groupFixture) {
		c.wait(650 * ms)
		c.say("r:2", promoted)
	})
	nobody(func(c *groupFixture) { // That may be an accident.
		c.wait(350 * ms)
		c.say("r:2", promoted)
	})
	nobody(func(c *groupFixture) {
		c.say("r:2", promoted)
		c.miss("m:1")
	})
	// A replica that somebody has detached is no heir because the master is silent some time later.
	nobody(func(c *groupFixture) {
		c.say("r:2", promoted)
		for range 50 {
			c.say("m:1")
			c.say("r:2", promoted)
		}
		c.silent("m:1")
	})
	// It is dead, and more than half follow the new one.
	f("r:2", dead+"2 of 3 nodes say so", func(c *groupFixture) {
		c.say("r:2", isMaster, id(histB))
		c.say("s:3", followsHeir)
		c.silent("m:1")
	})
	f("r:2", dead+"2 of 3 nodes say so", func(c *groupFixture) { // No ids.
		c.say("r:2", isMaster, id(""))
		c.say("s:3", follows("r:2"), id(""))
		c.silent("m:1")
	})

	nobody(func(*groupFixture) {})
	nobody(func(c *groupFixture) { c.silent("m:1") })
	// The old master still says that it is one.
	nobody(func(c *groupFixture) { c.say("r:2", promoted); c.say("s:3", followsHeir); c.say("m:1") })
	// Two heirs.
	nobody(func(c *groupFixture) { c.say("r:2", promoted); c.say("s:3", promoted); c.silent("m:1") })
	// Another replica hears from a master that lives.
	nobody(func(c *groupFixture) { c.say("r:2", promoted); c.silent("m:1"); c.say("s:3") })
	nobody(func(c *groupFixture) { c.say("r:2", promoted); c.silent("m:1"); c.say("s:3", follows("x:9"), id("c")) })
	// Neither descent nor majority: it was restarted without its data and without REPLICAOF.
	nobody(func(c *groupFixture) {
		c.say("r:2", isMaster, id(histB), life(2), at(0))
		c.silent("m:1")
		c.silent("s:3")
	})
	nobody(func(c *groupFixture) {
		c.say("r:2", isMaster, id(histB), after("cccc", 50))
		c.silent("m:1")
		c.say("s:3", linkDown)
	})
	// The heir loads its data.
	nobody(func(c *groupFixture) { c.say("r:2", promoted, loading); c.silent("m:1"); c.silent("s:3") })
	// The heir has died too, or nobody has heard of it for too long.
	nobody(func(c *groupFixture) { c.say("r:2", promoted); c.silent("m:1"); c.silent("r:2"); c.silent("s:3") })
	nobody(func(c *groupFixture) { c.say("r:2", promoted); c.silent("m:1"); c.silent("s:3"); c.wait(301 * ms) })
}

// TestSuccessorWithOneID: all Pikas of a group have one replication id, whoever follows whom.
func TestSuccessorWithOneID(t *testing.T) {
	f := func(want string, happens func(c *groupFixture)) {
		t.Helper()
		c := newGroupFixture(t, pika)
		c.say("m:1")
		happens(c)
		if got, why := c.Successor(c.now); got != want {
			t.Errorf("%q because %q, want %q", got, why, want)
		}
	}
	f("r:2", func(c *groupFixture) { c.say("r:2"); c.say("r:2", isMaster); c.silent("m:1"); c.silent("s:3") })
	f("r:2", func(c *groupFixture) {
		c.say("r:2")
		c.say("r:2", isMaster)
		c.silent("m:1")
		c.say("s:3", follows("r:2"))
	})
	// It hears from the old master, though its id is that of the heir.
	f("", func(c *groupFixture) { c.say("r:2"); c.say("r:2", isMaster); c.silent("m:1"); c.say("s:3") })
	// That one was never seen to follow this master: it may be the master from before the last failover.
	f("", func(c *groupFixture) { c.say("r:2", isMaster); c.silent("m:1"); c.silent("s:3") })
	f("", func(c *groupFixture) {
		c.say("r:2", follows("s:3"))
		c.say("r:2", isMaster)
		c.silent("m:1")
		c.silent("s:3")
	})
	f("", func(c *groupFixture) {
		c.say("r:2")
		c.SetMembers("s:3", []string{"m:1", "r:2"})
		c.say("s:3", isMaster)
		c.say("r:2", isMaster)
		c.silent("s:3")
		c.silent("m:1")
	})
}

// TestSuccessorIsNotGuessed: a proxy that was started after the failover knows nothing of the old master's history.
func TestSuccessorIsNotGuessed(t *testing.T) {
	c := newGroupFixture(t)
	if got, _ := c.Group.Successor(c.now); got != "" {
		t.Errorf("%q", got)
	}
	c.say("r:2", promoted)
	c.silent("s:3")
	if got, _ := c.Successor(c.now); got != "" {
		t.Errorf("%q before the old master was asked", got)
	}
	c.say("s:3", followsHeir)
	if got, _ := c.Successor(c.now); got != "" {
		t.Errorf("%q before the old master was asked, by a majority", got)
	}
	c.silent("s:3")
	c.silent("m:1")
	if got, _ := c.Successor(c.now); got != "" {
		t.Errorf("%q without descent and majority", got)
	}
	c.say("s:3", followsHeir)
	if got, why := c.Successor(c.now); got != "r:2" || why != "the old master does not answer: connection refused; 2 of 3 nodes say so" {
		t.Errorf("%q because %q", got, why)
	}
	if got, _ := NewGroup(Rules{}).Successor(1); got != "" {
		t.Errorf("%q in an empty group", got)
	}
}

// TestHalfIsNoMajority: two of four.
func TestHalfIsNoMajority(t *testing.T) {
	c := newGroupFixture(t)
	c.SetMembers("m:1", []string{"r:2", "s:3", "u:4"})
	c.say("m:1")
	c.say("r:2", isMaster, id(histB))
	c.say("s:3", followsHeir)
	c.silent("m:1")
	if got, why := c.Successor(c.now); got != "" {
		t.Errorf("%q because %q", got, why)
	}
	c.say("u:4", followsHeir)
	if got, _ := c.Successor(c.now); got != "r:2" {
		t.Errorf("%q with three of four", got)
	}
}

func TestNamesOfANode(t *testing.T) {
	f := func(ours, ip, named string, at, sure bool, others ...string) {
		t.Helper()
		g := NewGroup(Rules{})
		g.SetMembers(ours, others)
		g.master.sample.IP = ip
		if gotAt, gotSure := g.isAt(g.master, named); gotAt != at || gotAt && gotSure != sure {
			t.Errorf("%s with address %q, named %s: %t, sure %t", ours, ip, named, gotAt, gotSure)
		}
	}
	f("10.0.0.1:1", "", "10.0.0.1:1", true, true)
	f("10.0.0.1:1", "", "10.0.0.1:2", false, false)
	f("10.0.0.1:1", "", "10.0.0.2:1", false, false)
	f("pika-1:1", "10.0.0.1", "10.0.0.1:1", true, true)
	f("pika-1:1", "10.0.0.1", "10.0.0.2:1", false, false)
	f("pika-1:1", "", "10.0.0.2:1", true, false)
	f("pika-1:1", "", "10.0.0.2:1", false, false, "pika-2:1")
	f("pika-1:1", "", "10.0.0.2:1", true, false, "pika-2:2")
	f("127.0.0.1:1", "127.0.0.1", "10.0.0.2:1", true, false, "127.0.0.1:2") // What a host calls itself.
	f("10.0.0.1:1", "10.0.0.1", "redis-1:1", true, false)
	f("10.0.0.1:1", "10.0.0.1", "redis-1:1", false, false, "10.0.0.2:1")
	f("[::1]:1", "::1", "[::1]:1", true, true)
	f("a:1", "", "nonsense", false, false)
}
