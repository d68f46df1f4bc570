package upkeep

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sluice/internal/control"
)

// Server is a master.
type Server struct {
	Addr    string
	Up      bool
	Slots   bool   // its group owns some
	Process uint64 // that answers the probe, 0 when that is not known
	// Ask runs commands on one connection, and returns the replies and the process that gave them. It may block.
	Ask func(ctx context.Context, commands ...[]string) (replies []control.Value, process uint64, err error)
}

// Parameter is a parameter of the servers as a client has set it.
type Parameter struct{ Name, Value string }

// Config is what an Upkeep works with.
type Config struct {
	// Servers lists the masters of the moment.
	Servers func() []Server
	// Parameters are those to give to masters, in this order. The version changes when they have to be compared with
	// the masters.
	Parameters func() (list []Parameter, version uint64)
	// Adopt takes over the value of a parameter that somebody else has set at all masters, unless the version is
	// another one.
	Adopt func(name, value string, version uint64)
	// Functions changes when a client begins to change the functions of all masters, and when that is done.
	Functions func() uint64
	Log       *slog.Logger
}

// Upkeep looks after the masters of a pool. The fields below cfg belong to Run, but for what mu guards.
type Upkeep struct {
	cfg    Config
	kicked chan struct{} // capacity 1

	known     map[string]*master // by address
	checked   time.Time          // the last time that all were asked
	suspected []string           // differences that were found then
	functions uint64             // Config.Functions when they were looked at
	equipped  map[string]uint64  // by address: the process that has been looked at for functions

	mu       sync.Mutex // guards the fields below it
	problems []string
}

// master is what is known of one.
type master struct {
	process uint64
	version uint64            // of the parameters that it was given
	shown   map[string]string // what it showed then
	now     map[string]string // what it showed last
	fault   string            // why it does not take them
}

const (
	lookEvery  = time.Second // a look at who is up costs nothing
	checkEvery = 10 * time.Second
)

// New returns an Upkeep.
func New(cfg Config) *Upkeep {
	return &Upkeep{
		cfg: cfg, kicked: make(chan struct{}, 1), known: make(map[string]*master), equipped: make(map[string]uint64),
	}
}

// Run looks after the masters until ctx ends.
func (u *Upkeep) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		u.look(ctx, time.Now())
		select {
		case <-ticker.C:
		case <-u.kicked:
		case <-ctx.Done():
			return
		}
	}
}

// Kick asks for a look now: there may be another master. Safe for concurrent use; it never blocks.
func (u *Upkeep) Kick() {
	select {
	case u.kicked <- struct{}{}:
	default:
	}
}

// Problems says what is not as it was set. Safe for concurrent use.
func (u *Upkeep) Problems() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.problems)
}

// report replaces the problems, and logs those that are new.
func (u *Upkeep) report(problems []string) {
	u.mu.Lock()
	before := u.problems
	u.problems = problems
	u.mu.Unlock()
	for _, p := range problems {
		if !slices.Contains(before, p) {
			u.cfg.Log.Warn("a parameter of the servers is not what was set", "problem", p)
		}
	}
}

func (u *Upkeep) look(ctx context.Context, now time.Time) {
	servers := u.cfg.Servers()
	there := make(map[string]bool, len(servers))
	for _, s := range servers {
		there[s.Addr] = true
	}
	gone := func(addr string) bool { return !there[addr] }
	maps.DeleteFunc(u.known, func(addr string, _ *master) bool { return gone(addr) })
	maps.DeleteFunc(u.equipped, func(addr string, _ uint64) bool { return gone(addr) })
	u.lookAtParameters(ctx, servers, now)
	u.lookAtFunctions(ctx, servers)
}
