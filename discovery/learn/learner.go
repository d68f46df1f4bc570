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
	Addr string
	Up   bool
	// Ask runs one command and returns the reply. It may block.
	Ask func(ctx context.Context, args ...string) (control.Value, error)
}

// Config is what a Learner works with.
type Config struct {
	// Servers lists the masters of the moment.
	Servers func() []Server
	// Publish is told what is known whenever that changes.
	Publish func(command.Declarations)
	Log     *slog.Logger
}

// Learner keeps what the masters of a pool have told. The fields below on belong to Run.
type Learner struct {
	cfg Config
	on  atomic.Bool

	known map[string]*told // by address
}

// told is what a server has said.
type told struct {
	commands map[string]command.Declaration
	at       time.Time // zero when it is to be asked again
}

const (
	lookEvery  = time.Second // a look at who is up costs nothing
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
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		l.look(ctx, time.Now())
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
		if len(l.known) > 0 {
			clear(l.known)
			l.cfg.Publish(nil)
		}
		return
	}
	servers := l.cfg.Servers()
	changed := l.forget(servers)
	for _, s := range servers {
		t := l.known[s.Addr]
		switch {
		case !s.Up && t != nil:
			t.at = time.Time{}
		case s.Up && (t == nil || now.Sub(t.at) >= askEvery):
			changed = l.ask(ctx, s, now) || changed
		}
	}
	if changed {
		l.cfg.Publish(l.merge())
	}
}

// forget drops what was told by those who are no masters any more. It reports whether there were such.
func (l *Learner) forget(servers []Server) bool {
	before := len(l.known)
	maps.DeleteFunc(l.known, func(addr string, _ *told) bool {
		return !slices.ContainsFunc(servers, func(s Server) bool { return s.Addr == addr })
	})
	return len(l.known) != before
}

// ask asks one server. It reports whether that tells something new.
func (l *Learner) ask(ctx context.Context, s Server, now time.Time) bool {
	t := l.known[s.Addr]
	if t == nil {
		t = new(told)
		l.known[s.Addr] = t
	}
	reply, err := s.Ask(ctx, "COMMAND")
	var found map[string]command.Declaration
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
	changed := t.commands == nil || !maps.Equal(t.commands, found)
	t.commands, t.at = found, now
	return changed
}

// merge makes commands of what is known. One about which two servers do not agree is left out: it could go to the wrong
// place, and nobody would notice.
func (l *Learner) merge() command.Declarations {
	all, unclear := make(map[string]command.Declaration), make(map[string]bool)
	for _, addr := range slices.Sorted(maps.Keys(l.known)) {
		for name, d := range l.known[addr].commands {
			if other, ok := all[name]; ok && other != d && !unclear[name] {
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
	l.cfg.Log.Info("commands learned from servers", "commands", slices.Sorted(maps.Keys(out)))
	return out
}
