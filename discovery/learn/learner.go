package learn

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"sluice/internal/control"
	"sluice/proxy/command"
)

// Server is a master that can be asked.
type Server struct {
	Addr    string
	Up      bool
	Process uint64 // a number that changes when another process is at Addr
	// Ask runs one command and returns the reply. It may block.
	Ask func(ctx context.Context, args ...string) (control.Value, error)
}

// Config is what a Learner works with.
type Config struct {
	// Servers lists the masters of the moment.
	Servers func() []Server
	// Publish is told what is known: once when all masters have been asked, and then whenever that changes. lacking
	// are the commands of the table, by name, that not every master has.
	Publish func(learned command.Declarations, lacking map[string]bool)
	Log     *slog.Logger
}

// Learner keeps what the masters of a pool have told. The fields below on belong to Run.
type Learner struct {
	cfg Config
	on  atomic.Bool

	known     map[string]*told // by address
	published bool
}

// told is what a server has said.
type told struct {
	commands
	process uint64
	at      time.Time // zero when it is to be asked again
}

const (
	firstLooks = 50 * time.Millisecond // a look at who is up costs nothing, and commands that are not known wait for the first answer
	mostFirst  = 40
	lookEvery  = time.Second
	askEvery   = time.Minute
	againAfter = 10 * time.Second // one that does not know COMMAND fills no log
)

// New returns a Learner, which is off.
func New(cfg Config) *Learner { return &Learner{cfg: cfg, known: make(map[string]*told)} }

// Enable switches it on or off. Off, it forgets. Safe for concurrent use.
func (l *Learner) Enable(on bool) { l.on.Store(on) }

// Enabled reports whether it is on. Safe for concurrent use.
func (l *Learner) Enabled() bool { return l.on.Load() }

// Run learns until ctx ends.
func (l *Learner) Run(ctx context.Context) {
	ticker := time.NewTicker(firstLooks)
	defer ticker.Stop()
	for looks := 1; ; looks++ {
		if l.look(ctx, time.Now()); l.published || looks == mostFirst {
			ticker.Reset(lookEvery)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look asks those who have not told yet.
func (l *Learner) look(ctx context.Context, now time.Time) {
	if !l.on.Load() {
		if l.published {
			clear(l.known)
			l.published = false
			l.cfg.Publish(nil, nil)
		}
		return
	}
	servers := l.cfg.Servers()
	changed, all := l.forget(servers), len(servers) > 0
	for _, s := range servers {
		t := l.known[s.Addr]
		switch {
		case !s.Up && t != nil:
			t.at = time.Time{}
		case s.Up && (t == nil || t.process != s.Process || now.Sub(t.at) >= askEvery):
			changed = l.ask(ctx, s, now) || changed
		}
		all = all && l.known[s.Addr] != nil
	}
	if changed || all && !l.published {
		l.published = l.published || all
		learned, lacking := l.merge(), l.lacking()
		l.cfg.Log.Info("servers have told their commands", "learned", slices.Sorted(maps.Keys(learned)), "lacking", len(lacking))
		l.cfg.Publish(learned, lacking)
	}
}

// forget drops what was told by those who are no masters any more. It reports whether there were such.
func (l *Learner) forget(servers []Server) bool {
	before, there := len(l.known), make(map[string]bool, len(servers))
	for _, s := range servers {
		there[s.Addr] = true
	}
	maps.DeleteFunc(l.known, func(addr string, _ *told) bool { return !there[addr] })
	return len(l.known) != before
}

// ask asks one server. It reports whether that tells something new.
func (l *Learner) ask(ctx context.Context, s Server, now time.Time) bool {
	t := l.known[s.Addr]
	if t == nil {
		t = new(told)
		l.known[s.Addr] = t
	}
	t.process = s.Process
	reply, err := s.Ask(ctx, "COMMAND")
	var found commands
	if err == nil {
		found, err = parse(reply)
	}
	if err != nil {
		if ctx.Err() == nil {
			l.cfg.Log.Warn("a server's commands are not known", "backend", s.Addr, "err", err)
		}
		t.at = now.Add(againAfter - askEvery) // What it has told before stays known.
		return false
	}
	same := maps.Equal(t.names, found.names) && maps.EqualFunc(t.found, found.found, equal)
	changed := t.names == nil || !same
	t.commands, t.at = found, now
	return changed
}

// merge makes commands of what is known. One about which two servers do not agree is left out: it could go to the wrong
// place, and nobody would notice.
func (l *Learner) merge() command.Declarations {
	all, unclear := make(map[string]command.Declaration), make(map[string]bool)
	for _, addr := range slices.Sorted(maps.Keys(l.known)) {
		for name, d := range l.known[addr].found {
			if other, ok := all[name]; ok && !equal(other, d) && !unclear[name] {
				unclear[name] = true
				l.cfg.Log.Warn("servers describe a command differently, it is not learned; declare it in [[pool.command]]", "cmd", name, "backend", addr)
			}
			all[name] = d
		}
	}
	out := make(command.Declarations, len(all))
	for name, d := range all {
		if !unclear[name] {
			out[name] = command.Declare(d)
		}
	}
	return out
}

// lacking are the commands of the table that not every server has.
func (l *Learner) lacking() map[string]bool {
	out := make(map[string]bool)
	for id := range command.Count {
		cmd := command.At(id)
		if cmd.Parent != nil {
			continue
		}
		for _, t := range l.known {
			if t.names != nil && !t.names[cmd.Name] {
				out[cmd.Name] = true
			}
		}
	}
	return out
}

func equal(a, b command.Declaration) bool { return a.Equal(&b) }
