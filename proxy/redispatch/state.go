// Package redispatch decides where a request goes that did not get through: it was redirected, refused by a server that
// is not ready, or lost. It has no connection and no clock: it is told what has happened, and says what to do next
// (Step). Who is asked, and how long a hold lasts, is its caller's.
//
//	owner --MOVED, ASK to a node of the topology--> that node, at once, up to QuickHops times; then after a pause
//	owner --MOVED to itself, or to somebody else's--> the owner again after a pause; the topology is asked
//	owner --refused, lost---------------------------> the owner again after a pause
package redispatch

import (
	"fmt"
	"time"
)

// State is where a request goes next, and what it has been through. The zero value goes to the owner of its slot. It
// belongs to one loop.
type State struct {
	// Addr is where a redirect has sent the request, "" for the owner of its slot; Ask says that ASKING goes in front.
	Addr string
	Ask  bool
	// After is the time, on the loop's clock, before which it is not sent.
	After int64
	// Hops is how many redirects it has followed, Tries how many pauses there were.
	Hops, Tries int
}

// Do is what a Step asks for.
type Do uint8

// What to do.
const (
	Send   Do = iota // send the request to where State says
	Hold             // hold it because of Why, then send it
	GiveUp           // too many redirects
)

// Step is what comes next.
type Step struct {
	Do  Do
	Why string // goes behind "slot 886"
	// Free says that it waits also where nothing may be held.
	Free bool
	// Doubt says that whoever sent the redirect may be wrong: the source of topology is to be asked.
	Doubt bool
}

// Redirect is a redirect that a server has answered with.
type Redirect struct {
	Ask      bool
	From, To string // addresses
	Named    bool   // the topology names To
	Words    string // the answer, for people
}

const (
	// QuickHops is how many redirects are followed at once; after that the nodes disagree and get a moment.
	QuickHops = 3
	// MaxHops bounds the redirects of one request when nothing may be held.
	MaxHops = 16
)

// Redirected takes in a redirect. holds says whether requests may be held.
func (s *State) Redirected(r Redirect, holds bool) Step {
	s.Hops++
	s.Addr, s.Ask = r.To, r.Ask
	few := s.Hops <= MaxHops
	switch {
	case r.To == r.From && !r.Ask:
		// A node that points to itself knows that it is not the owner, and not yet who is.
		s.ToOwner()
		return Step{Do: Hold, Why: r.Words, Free: few, Doubt: true}
	case !r.Named:
		// Nobody gets requests, or a password, because a server says so. The source of topology is asked, and the
		// owner again.
		s.ToOwner()
		why := fmt.Sprintf("is redirected to %s, which the topology does not name", r.To)
		return Step{Do: Hold, Why: why, Free: few, Doubt: true}
	case s.Hops <= QuickHops:
		return Step{Do: Send}
	case !holds && !few:
		return Step{Do: GiveUp}
	}
	return Step{Do: Hold, Why: fmt.Sprintf("is redirected from node to node, last to %s", r.To), Free: few}
}

// ToOwner sends the request to the owner of its slot again, whatever a redirect said.
func (s *State) ToOwner() { s.Addr, s.Ask = "", false }

// MinPause and maxPause bound the time between two tries, which doubles. With many requests about that wait it grows by
// crowdPause for each of them, so that they do not storm a server that has just come back.
const (
	MinPause   = int64(time.Millisecond)
	maxPause   = int64(32 * time.Millisecond)
	crowdPause = int64(50 * time.Microsecond)
)

// Pause sets After for the next try. crowd is how many requests of the loop wait like this one; their pauses end
// together, so that the loop is not woken for each one.
func (s *State) Pause(now int64, crowd int) {
	s.Tries++
	grown := int64(crowd) * crowdPause
	pause := max(min(MinPause<<min(s.Tries-1, 16), maxPause), grown)
	step := max(MinPause, grown/4)
	s.After = (now + pause + step - 1) / step * step
}
