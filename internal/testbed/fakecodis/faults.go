package fakecodis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// errDead ends the work of a server that was killed.
var errDead = errors.New("the server was killed")

// Faults are the switches of one fake. Safe for concurrent use, at any time.
type Faults struct {
	server *Server

	active atomic.Int32 // How many of the fields below are in effect; every command reads it.

	mu           sync.Mutex
	rules        []*rule
	thawed       chan struct{} // nil: not frozen. Closed by Thaw.
	answers      map[string]*answer
	falseZero    map[string]bool
	minusOneTill time.Time
	loading      bool
	readonly     bool
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
	h := &Hold{faults: f, rule: r, arrived: make(chan struct{}), released: make(chan struct{})}
	r.hold = h
	f.add(r)
	return h
}

// Stall makes everything that passes a step take d longer. The returned function ends it.
func (f *Faults) Stall(step Step, d time.Duration, commands ...string) (stop func()) {
	r := &rule{step: step, commands: upper(commands), delay: d}
	f.add(r)
	return func() { f.remove(r) }
}

// Die kills the server when the next one passes the step: listener and connections close, background work ends
// without a reply. Restart brings it back.
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

// RefuseConnections closes the listener, so that connecting is refused, or opens it again on the same port. Those
// who are connected stay so.
func (f *Faults) RefuseConnections(refuse bool) error {
	if refuse {
		return f.server.closeListener()
	}
	return f.server.listen()
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

// RefuseMigration makes all commands that move keys answer what a server answers that can't, or ends that: on Pika
// that another migration is running and that the target can't be reached, on codis-server the latter.
func (f *Faults) RefuseMigration(refuse bool) {
	times := 0
	if refuse {
		times = -1
	}
	batch, one := PikaBusy, PikaConnectError
	if f.server.kind == CodisServer {
		batch, one = CodisConnectionClosed, CodisWriteError
	}
	for _, name := range []string{"SLOTSMGRTONE", "SLOTSMGRTTAGONE", "SLOTSMGRTSLOT", "SLOTSMGRTTAGSLOT"} {
		f.Answer(name, one, times)
		if f.server.names.entry(f.server, name+"-ASYNC").known {
			f.Answer(name+"-ASYNC", batch, times)
		}
	}
}

// FalseZero makes Pika's wrapper answer 0, "not here", for these keys whatever is true, as 3.5 does for keys with
// capitals. Without keys it ends that.
func (f *Faults) FalseZero(keys ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active.Add(int32(min(len(keys), 1) - min(len(f.falseZero), 1)))
	clear(f.falseZero)
	for _, k := range keys {
		f.falseZero[k] = true
	}
}

// MinusOne makes Pika's wrapper answer -1 for all keys for d from now on, as it does after a refused batch while
// the dashboard waits for its next try (6 s).
func (f *Faults) MinusOne(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.minusOneTill.IsZero() {
		f.active.Add(1)
	}
	f.minusOneTill = time.Now().Add(d)
}

// Loading makes codis-server answer -LOADING to everything. Pika has no such state and serves what it has.
func (f *Faults) Loading(on bool) { f.set(&f.loading, on) }

// Readonly makes the server a replica: it refuses writes with its family's error, and its INFO says slave.
func (f *Faults) Readonly(on bool) { f.set(&f.readonly, on) }

func (f *Faults) set(field *bool, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *field == on {
		return
	}
	*field = on
	if on {
		f.active.Add(1)
	} else {
		f.active.Add(-1)
	}
}

func (f *Faults) isSet(field *bool) bool {
	if f.active.Load() == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return *field
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

// wrapper returns what the wrapper of Pika is made to answer for a key.
func (f *Faults) wrapper(key string) (int, bool) {
	if f.active.Load() == 0 {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.minusOneTill) {
		return -1, true
	}
	return 0, f.falseZero[key]
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

// pass is called at every step. It returns errDead when the server that ctx belongs to is gone, and then the
// caller must stop at once. command is "" in the background.
func (f *Faults) pass(ctx context.Context, step Step, command string) error {
	if f.active.Load() != 0 {
		for _, r := range f.at(step, command) {
			if err := f.suffer(ctx, r); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return errDead
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
		f.server.die()
		return errDead
	}
	if r.hold != nil {
		r.hold.arriving.Do(func() { close(r.hold.arrived) })
		return wait(ctx, r.hold.released)
	}
	timer := time.NewTimer(r.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errDead
	}
}

// wait returns when done is closed, or errDead when the server is killed before that.
func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errDead
	}
}

func upper(names []string) []string {
	up := make([]string, len(names))
	for i, n := range names {
		up[i] = strings.ToUpper(n)
	}
	return up
}
