package fake

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Step is a place in the work of a fake where a fault can be put. The fakes add their own from Own on.
type Step int

// The steps that every fake has.
const (
	// Command is before a command runs.
	Command Step = iota
	// Reply is after a command has run, before its reply is written.
	Reply
	// Own is the first step of a fake's own.
	Own
)

// Hold stops what passes a step until it is released.
type Hold struct {
	faults   *Faults
	rule     *rule
	arriving sync.Once
	arrived  chan struct{}
	ending   sync.Once
	released chan struct{}
}

// Arrived is closed when the first one waits at the step.
func (h *Hold) Arrived() <-chan struct{} { return h.arrived }

// Release lets all go on. It may be called more than once.
func (h *Hold) Release() {
	h.faults.remove(h.rule)
	h.ending.Do(func() { close(h.released) })
}

// Faults are the switches of one fake. Safe for concurrent use, at any time.
type Faults struct {
	host *Host

	active atomic.Int32 // How many of the fields below are in effect; every command reads it.

	mu      sync.Mutex
	rules   []*rule
	thawed  chan struct{} // nil: not frozen. Closed by Thaw.
	answers map[string]*answer
}

// rule is what happens to those that pass a step.
type rule struct {
	step     Step
	commands []string // In capitals; empty: all.
	delay    time.Duration
	hold     *Hold
	die      bool
	next     bool // Only for the next one; it is then taken off.
}

type answer struct {
	reply string
	left  int // Below zero: until it is removed.
}

// Hold stops what passes a step, for these commands or all, until Release. The commands only matter at Command
// and Reply.
func (f *Faults) Hold(step Step, commands ...string) *Hold {
	return f.hold(&rule{step: step, commands: upper(commands)})
}

// HoldNext is Hold for the next one only; those behind it pass.
func (f *Faults) HoldNext(step Step, commands ...string) *Hold {
	return f.hold(&rule{step: step, commands: upper(commands), next: true})
}

func (f *Faults) hold(r *rule) *Hold {
	r.hold = &Hold{faults: f, rule: r, arrived: make(chan struct{}), released: make(chan struct{})}
	f.add(r)
	return r.hold
}

// Stall makes everything that passes a step take d longer. The returned function ends it.
func (f *Faults) Stall(step Step, d time.Duration, commands ...string) (stop func()) {
	r := &rule{step: step, commands: upper(commands), delay: d}
	f.add(r)
	return func() { f.remove(r) }
}

// Die kills the server when the next one passes the step: listeners and connections close, background work ends
// without a reply.
func (f *Faults) Die(step Step, commands ...string) {
	f.add(&rule{step: step, commands: upper(commands), die: true, next: true})
}

// Freeze stops the whole server as SIGSTOP does: connections are accepted by the kernel, nothing answers, and
// background work stands still.
func (f *Faults) Freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.thawed == nil {
		f.thawed = make(chan struct{})
		f.active.Add(1)
	}
}

// Thaw ends Freeze.
func (f *Faults) Thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.thawed != nil {
		close(f.thawed)
		f.thawed = nil
		f.active.Add(-1)
	}
}

// RefuseConnections closes the doors, so that connecting is refused, or opens them again on the same ports. Those
// who are connected stay so.
func (f *Faults) RefuseConnections(refuse bool) error {
	for door := range f.host.ports {
		act := f.host.open
		if refuse {
			act = f.host.close
		}
		if err := act(door); err != nil {
			return err
		}
	}
	return nil
}

// Answer makes a command answer reply, complete as on the wire, without running. It does so the next times
// times, or until Answer(command, "", 0) when times is negative.
func (f *Faults) Answer(command, reply string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	command = strings.ToUpper(command)
	if _, ok := f.answers[command]; ok {
		delete(f.answers, command)
		f.active.Add(-1)
	}
	if times == 0 {
		return
	}
	f.answers[command] = &answer{reply: reply, left: times}
	f.active.Add(1)
}

// canned returns what Answer has put for a command.
func (f *Faults) canned(name string) (string, bool) {
	if f.active.Load() == 0 {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.answers[name]
	if !ok {
		return "", false
	}
	if a.left--; a.left == 0 {
		delete(f.answers, name)
		f.active.Add(-1)
	}
	return a.reply, true
}

func (f *Faults) add(r *rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	f.active.Add(1)
}

func (f *Faults) remove(r *rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.rules, r); i >= 0 {
		f.rules = slices.Delete(f.rules, i, i+1)
		f.active.Add(-1)
	}
}

// Pass is called at every step. It returns ErrDead when the life that ctx belongs to is over, and then the caller
// must stop at once. command is "" in the background.
func (f *Faults) Pass(ctx context.Context, step Step, command string) error {
	if f.active.Load() != 0 {
		for _, r := range f.at(step, command) {
			if err := f.suffer(ctx, r); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ErrDead
	}
	return nil
}

// at returns the rules for a step, and first, while the server is frozen, one that waits for Thaw.
func (f *Faults) at(step Step, command string) []*rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rules []*rule
	if f.thawed != nil {
		rules = append(rules, &rule{hold: &Hold{arrived: make(chan struct{}), released: f.thawed}})
	}
	f.rules = slices.DeleteFunc(f.rules, func(r *rule) bool {
		if r.step != step || len(r.commands) > 0 && !slices.Contains(r.commands, command) {
			return false
		}
		rules = append(rules, r)
		if r.next {
			f.active.Add(-1)
		}
		return r.next
	})
	return rules
}

func (f *Faults) suffer(ctx context.Context, r *rule) error {
	if r.die {
		f.host.Die()
		return ErrDead
	}
	if r.hold != nil {
		r.hold.arriving.Do(func() { close(r.hold.arrived) })
		return Wait(ctx, r.hold.released)
	}
	return Rest(ctx, r.delay)
}

// Wait returns when done is closed, or ErrDead when ctx ends before that.
func Wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ErrDead
	}
}

// Rest returns after d, or ErrDead when ctx ends before that.
func Rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ErrDead
	}
}

func upper(names []string) []string {
	up := make([]string, len(names))
	for i, n := range names {
		up[i] = strings.ToUpper(n)
	}
	return up
}
