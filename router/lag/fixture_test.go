package lag

import (
	"strings"
	"testing"
	"time"
)

const (
	ms    = int64(time.Millisecond)
	histA = "aaaaaaaaaaaaaaaa" // Replication ids.
	histB = "bbbbbbbbbbbbbbbb"
)

// groupFixture is a group of the master m:1 and the replicas r:2 and s:3 that has a clock of its own. Who says
// something says it 10 ms after the last one who did, and what is said is judged at once.
type groupFixture struct {
	*testing.T
	*Group
	now         int64
	transitions []Transition
}

func newGroupFixture(t *testing.T, changes ...func(*Rules)) *groupFixture {
	rules := Rules{OffsetsProve: true, MaxLag: 1000 * ms, MaxAge: 300 * ms}
	for _, change := range changes {
		change(&rules)
	}
	c := &groupFixture{T: t, Group: NewGroup(rules)}
	c.SetMembers("m:1", []string{"r:2", "s:3"})
	return c
}

// pika has offsets that prove nothing, and links that prove nothing.
func pika(r *Rules) { r.OffsetsProve, r.RelinkUnproven = false, true }

// beats adds heartbeats.
func beats(r *Rules) { r.Heartbeats = true }

// say makes a node answer: m:1 as a master at offset 100, others as its replicas at the same, but for what change says.
// It returns what Observe says.
func (c *groupFixture) say(addr string, changes ...func(*Sample)) (dropped string) {
	c.Helper()
	c.now += 10 * ms
	s := Sample{Asked: c.now - 2*ms, Answered: c.now, Life: 1, Keys: -1}
	s.Replication = Replication{Role: Replica, ID: histA, SecondOffset: -1, Offset: 100, MasterAddr: "m:1", LinkUp: true}
	if addr == "m:1" {
		s.Replication = Replication{Role: Master, ID: histA, SecondOffset: -1, Offset: 100, Replicas: []Listed{
			{Addr: "r:2", Online: true, State: "online", Offset: 100}, {Addr: "s:3", Online: true, State: "online", Offset: 100},
		}}
	}
	for _, change := range changes {
		change(&s)
	}
	dropped = c.Observe(addr, s)
	c.judge()
	return dropped
}

// silent makes a node fail to answer.
func (c *groupFixture) silent(addr string) {
	c.miss(addr)
	c.Fail(addr, c.now, "connection refused")
	c.judge()
}

// miss is one question without an answer.
func (c *groupFixture) miss(addr string) {
	c.now += 10 * ms
	c.Fail(addr, c.now, "connection refused")
	c.judge()
}

// wait lets time pass.
func (c *groupFixture) wait(d int64) {
	c.now += d
	c.judge()
}

func (c *groupFixture) judge() { c.transitions = append(c.transitions, c.Judge(c.now)...) }

// admit makes r:2 in sync: master and replica have answered, and its data was compared.
func (c *groupFixture) admit(changes ...func(*Sample)) {
	c.Helper()
	c.say("m:1", changes...)
	c.say("r:2", changes...)
	c.compare("")
	c.wants(InSync, "follows its master")
}

// compare ends a comparison of r:2, which must have been asked for.
func (c *groupFixture) compare(mismatch string) {
	c.Helper()
	v, _ := c.Verdict("r:2")
	if !v.Suspect || v.Readable {
		c.Errorf("no comparison is wanted: %+v", v)
	}
	c.Comparing("r:2")
	c.Compared("r:2", 1, mismatch)
	c.judge()
}

// wants checks the verdict on r:2. Only who is in sync is readable.
func (c *groupFixture) wants(state State, reason string) {
	c.Helper()
	c.wantsVerdict("r:2", state, reason, state == InSync)
}

func (c *groupFixture) wantsVerdict(addr string, state State, reason string, readable bool) {
	c.Helper()
	v, ok := c.Verdict(addr)
	if !ok || v.State != state || v.Reason != reason || v.Readable != readable {
		c.Errorf("%s is %q: %q, readable %t; want %q: %q, readable %t", addr, v.State, v.Reason, v.Readable, state, reason, readable)
	}
	if p := c.Proof(addr); (p != nil) != readable {
		c.Errorf("readable %t, proof %+v", readable, p)
	}
	if v.Suspect && v.Readable {
		c.Errorf("a suspect is readable: %+v", v)
	}
}

// wantsMark checks the watermark of r:2.
func (c *groupFixture) wantsMark(at int64) {
	c.Helper()
	if v, _ := c.Verdict("r:2"); v.CaughtUpTo != at {
		c.Errorf("caught up to %d ms, want %d ms (%s: %s)", v.CaughtUpTo/ms, at/ms, v.State, v.Reason)
	}
}

// path is the states that r:2 went through.
func (c *groupFixture) path() string {
	var states []string
	for _, t := range c.transitions {
		if t.Addr == "r:2" {
			states = append(states, t.To.String())
		}
	}
	return strings.Join(states, ", ")
}

// What a sample says otherwise than groupFixture.say.

func at(offset int64) func(*Sample)     { return func(s *Sample) { s.Offset = offset } }
func id(id string) func(*Sample)        { return func(s *Sample) { s.ID = id } }
func life(n uint64) func(*Sample)       { return func(s *Sample) { s.Life = n } }
func follows(addr string) func(*Sample) { return func(s *Sample) { s.MasterAddr = addr } }
func heartbeat(at int64) func(*Sample)  { return func(s *Sample) { s.Heartbeat = at } }
func unfit(why string) func(*Sample)    { return func(s *Sample) { s.Unfit = why } }
func lists(l ...Listed) func(*Sample)   { return func(s *Sample) { s.Replicas = l } }
func after(id string, end int64) func(*Sample) {
	return func(s *Sample) { s.ID2, s.SecondOffset = id, end }
}
func linkDown(s *Sample)  { s.LinkUp = false }
func syncing(s *Sample)   { s.Syncing = true }
func loading(s *Sample)   { s.Loading = true }
func roleless(s *Sample)  { s.Role = RoleUnknown }
func isMaster(s *Sample)  { s.Role, s.MasterAddr, s.LinkUp = Master, "", false }
func isReplica(s *Sample) { s.Role, s.MasterAddr, s.LinkUp = Replica, "x:9", true }
