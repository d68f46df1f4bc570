package proxy

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"sluice/internal/clock"
	"sluice/proxy/command"
	"sluice/proxy/hold"
)

// declared are a pool's commands that Redis does not have: those of the configuration and those that its servers
// have told of. Safe for concurrent use.
type declared struct {
	all atomic.Pointer[command.Catalogue] // read by the loops; never nil, and what it points to is never changed

	mu      sync.Mutex // guards the fields below it
	given   command.Declarations
	learned command.Declarations
	lacking map[string]bool // commands of the table that some server lacks

	awaited atomic.Bool // the servers will tell, and have not yet
	since   int64       // clock.Now when that began
}

// set replaces those of the configuration.
func (d *declared) set(given command.Declarations) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.given = given
	d.publish()
}

// learn replaces those of the servers.
func (d *declared) learn(learned command.Declarations, lacking map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.learned, d.lacking = learned, lacking
	d.publish()
	d.awaited.Store(false)
}

// publish makes what the loops read. What the configuration says wins. d.mu is held.
func (d *declared) publish() {
	next := &command.Catalogue{Hidden: notServed}
	if n := len(d.given) + len(d.learned); n > 0 {
		next.Declared = make(command.Declarations, n)
		maps.Copy(next.Declared, d.learned)
		maps.Copy(next.Declared, d.given)
	}
	if len(d.lacking) > 0 {
		next.Hidden = maps.Clone(notServed)
		for name := range d.lacking {
			if cmd := command.Lookup([]byte(name)); cmd != nil && !answeredHere(cmd) {
				next.Hidden[name] = true
			}
		}
	}
	d.all.Store(next)
}

// notServed are the commands that are refused whatever the servers say, by full name; of a container only if that
// is so of all that is in it. COMMAND does not tell of them. Immutable after construction.
var notServed = makeNotServed()

func makeNotServed() map[string]bool {
	hidden := make(map[string]bool)
	for id := range command.Count {
		cmd := command.At(id)
		if plans[id].kind != planRefuse {
			continue
		}
		served := false
		for _, sub := range cmd.Subcommands {
			served = served || plans[sub.ID].kind != planRefuse
		}
		if !served {
			hidden[cmd.Name] = true
		}
	}
	return hidden
}

// answeredHere reports whether a command, or a part of a container, works without the servers having it.
func answeredHere(cmd *command.Command) bool {
	for _, sub := range cmd.Subcommands {
		if answeredHere(sub) {
			return true
		}
	}
	return plans[cmd.ID].kind == planLocal
}

// commands is what clients of the pool may use.
func (p *Pool) commands() *command.Catalogue { return p.declared.all.Load() }

// SetLearned replaces the commands that were learned from servers, and says which of the table, by name, one of
// them lacks. Those of the settings win over them.
func (p *Pool) SetLearned(learned command.Declarations, lacking map[string]bool) {
	p.declared.learn(learned, lacking)
}

// AwaitLearned says that SetLearned will be called soon: until then, and for as long as a hold may last, a command
// that is not known waits instead of being refused. It must be called before the pool serves.
func (p *Pool) AwaitLearned() {
	p.declared.since = clock.Now()
	p.declared.awaited.Store(true)
}

// awaitsCommands is what a command that is not known waits for, if there is anything.
func (c *client) awaitsCommands() (o blockReason, blocked bool) {
	d := &c.pool.declared
	if !d.awaited.Load() || c.loop.now-d.since >= int64(c.pool.Settings().Hold.MaxWait) {
		return blockReason{}, false
	}
	why := "may be of a server that has not told its commands yet"
	return blockReason{cause: hold.NoCommands, slot: c.someSlot(nil), since: d.since, why: why}, true
}

// forwardKeyless sends a declared command without keys to where its declaration says.
func (c *client) forwardKeyless(q request) stall {
	switch q.cmd.Masters {
	case command.AllMasters:
		kind := fanSame
		if q.cmd.Is(command.Write) {
			kind = fanAll
		}
		return c.dispatchFanOut(q, kind)
	case command.OnlyMaster:
		if text := c.notOnly(q); text != "" {
			c.replyError(text)
			return stallNone
		}
	case command.AnyMaster:
	}
	return c.forwardTo(q, keySlots{slot: c.someSlot(q.args[min(1, len(q.args)-1)])})
}

// notOnly says why a command that only one server can answer is refused, "" if the pool has no more.
func (c *client) notOnly(q request) string {
	if q.v == nil || len(q.v.shares) < 2 {
		return ""
	}
	return fmt.Sprintf("ERR '%s' has no keys and this pool has %d masters; [[pool.command]] with masters = \"all\" or \"any\" says where it goes",
		q.cmd.Name, len(q.v.shares))
}
