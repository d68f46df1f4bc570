package proxy

import (
	"maps"
	"sync"
	"sync/atomic"

	"sluice/proxy/command"
)

// declared are a pool's commands that Redis does not have: those of the configuration and those that its servers have told
// of. Safe for concurrent use.
type declared struct {
	all atomic.Pointer[command.Declarations] // read by the loops; the maps are never changed

	mu      sync.Mutex // guards the fields below it
	given   command.Declarations
	learned command.Declarations
}

// set replaces those of the configuration.
func (d *declared) set(given command.Declarations) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.given = given
	d.publish()
}

// learn replaces those of the servers.
func (d *declared) learn(learned command.Declarations) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.learned = learned
	d.publish()
}

// publish makes the map that the loops read. What the configuration says wins. d.mu is held.
func (d *declared) publish() {
	if len(d.given)+len(d.learned) == 0 {
		d.all.Store(nil)
		return
	}
	all := make(command.Declarations, len(d.given)+len(d.learned))
	maps.Copy(all, d.learned)
	maps.Copy(all, d.given)
	d.all.Store(&all)
}

// declared are the commands of the pool that Redis does not have.
func (p *Pool) declared() command.Declarations {
	if all := p.commands.all.Load(); all != nil {
		return *all
	}
	return nil
}

// SetLearned replaces the commands that were learned from servers. Those of the settings win over them.
func (p *Pool) SetLearned(learned command.Declarations) { p.commands.learn(learned) }
