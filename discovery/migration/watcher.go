package migration

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/paced"
	"sluice/router"
)

// The rhythm of the looks is Busy while something migrates and Idle otherwise; Look asks for one sooner, but never
// more often than Busy. A look asks all nodes at once and takes as long as the slowest, at most Access.Timeout, so a
// node that hangs costs its own answer and nobody else's.
const (
	// unknownAgain is when a node that knows none of the questions is asked again: it may have been replaced.
	unknownAgain = time.Minute
	// maxNodes bounds how many are asked in a look: masters first, and then those that they name.
	maxNodes = 256
)

// Config is what a Watcher needs. Family, Table and Access.Timeout are required.
type Config struct {
	// Family is the dialect of the pool by its name in the configuration.
	Family string
	// Table is the topology in force, nil before the first. Safe for concurrent use.
	Table func() *router.Table
	// Patience, unless nil, is told in every look which nodes take part in a migration that is under way and give a
	// sign of life, and once when that is over. It is called from Run's goroutine and must not block.
	Patience func(addr string, patient bool)
	// Involved, unless nil, is told in every look which nodes have a migration that is not over: under way, or finished
	// and not closed yet. It is called from Run's goroutine and must not block.
	Involved func(addrs []string)
	// Stalled, unless nil, reports whether a node leaves requests of clients unanswered. Safe for concurrent use.
	Stalled func(addr string) bool
	// Leaving, unless nil, is told in every look what leaves which node; answered reports whether a node has
	// answered in it, and began is when it began. It is called from Run's goroutine and must not block.
	Leaving func(list []Leaving, answered func(addr string) bool, began time.Time)
	// Access is how the nodes are asked, until SetAccess.
	Access Access
	// Busy and Idle are the times between looks, until SetRhythm.
	Busy, Idle time.Duration
	// Dial opens a connection. Default: that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Log is optional.
	Log *slog.Logger
}

// Status is what a Watcher knows.
type Status struct {
	// Checked is when the last look ended; zero before the first.
	Checked time.Time
	// Migrations are those that the nodes report, and then the last ones that are over.
	Migrations []Migration
	// Silent are the nodes that did not answer the last look, with why.
	Silent map[string]string
	// Unfit are nodes that have no slots to serve in the last look, with why: a Dragonfly without configuration.
	Unfit map[string]string
	// Dispute says which nodes have had different configurations for a while; "" for none.
	Dispute string
	// Lossy counts keys that were seen in a sample of slots that began to move, and that the move changes or can't
	// take, by type: "zset", "stream".
	Lossy map[string]uint64
}

// Watcher asks the nodes of one pool. mu guards the fields below it; Run's goroutine owns the rest.
type Watcher struct {
	cfg    Config
	family family
	wake   chan struct{} // Capacity 1: that somebody asked for a look.
	access atomic.Pointer[Access]
	rhythm atomic.Pointer[rhythm]

	ledger  *ledger
	unknown map[string]time.Time // Nodes that know no question, and when they are asked again.
	patient map[string]time.Time // Nodes that Patience was told of, and until when without an answer.
	lossy   inspection
	dispute dispute

	mu     sync.Mutex
	status Status
}

// NewWatcher returns a Watcher that does nothing until Run.
func NewWatcher(cfg Config) *Watcher {
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Patience == nil {
		cfg.Patience = func(string, bool) {}
	}
	w := &Watcher{
		cfg: cfg, family: families[cfg.Family], wake: make(chan struct{}, 1), ledger: newLedger(cfg.Family),
		unknown: make(map[string]time.Time), patient: make(map[string]time.Time),
		lossy: inspection{seen: make(map[moveKey]bool), found: make(map[string]uint64)},
	}
	w.access.Store(&cfg.Access)
	w.SetRhythm(cfg.Busy, cfg.Idle)
	return w
}

// SetRhythm changes the times between looks, from the next one on; 0 is 1 s and 5 s. Safe for concurrent use.
func (w *Watcher) SetRhythm(busy, idle time.Duration) {
	w.rhythm.Store(&rhythm{cmp.Or(busy, time.Second), cmp.Or(idle, 5*time.Second)})
}

type rhythm struct{ busy, idle time.Duration }

// SetAccess changes how nodes are asked, from the next look on. Safe for concurrent use.
func (w *Watcher) SetAccess(a Access) { w.access.Store(&a) }

// Access is how nodes are asked now. Safe for concurrent use.
func (w *Watcher) Access() Access { return *w.access.Load() }

// Rhythm is the times between looks now. Safe for concurrent use.
func (w *Watcher) Rhythm() (busy, idle time.Duration) {
	r := w.rhythm.Load()
	return r.busy, r.idle
}

// Look asks for a look soon. Safe for concurrent use; it never blocks.
func (w *Watcher) Look() {
	select {
	case w.wake <- struct{}{}:
	default: // It has been asked for already.
	}
}

// Status is what is known now. Safe for concurrent use.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status // Its parts are replaced, never changed.
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var earliest time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			if wait := time.Until(earliest); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		busy := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		beat := w.rhythm.Load()
		wait := beat.idle
		if busy {
			wait = beat.busy
		}
		earliest = time.Now().Add(beat.busy)
		timer.Reset(wait)
	}
}

// look asks all nodes once. It reports whether something migrates.
func (w *Watcher) look(ctx context.Context) (busy bool) {
	table, began := w.cfg.Table(), time.Now()
	if table == nil {
		return false
	}
	answers := w.askAll(ctx, masters(table))
	nameMoves(table, answers)
	w.locate(ctx, answers)
	answers = append(answers, w.askAll(ctx, w.unasked(answers))...)
	if ctx.Err() != nil {
		return false
	}
	now := time.Now()
	w.ledger.stalled = w.cfg.Stalled
	w.ledger.look(answers, now)
	list := w.ledger.list()
	w.keepPatience(list, answers, now)
	w.tellInvolved(list)
	w.tellLeaving(answers, began)
	moving := w.inspect(ctx, table)
	w.publish(list, answers)
	return moving || slices.ContainsFunc(list, func(m Migration) bool { return m.State.active() })
}

// nameMoves says of reports that name neither slots nor target what the topology says.
func nameMoves(t *router.Table, answers []answer) {
	for _, a := range answers {
		for i := range a.reports {
			r := &a.reports[i]
			if !r.out || r.peer != "" || r.slots != "" {
				continue
			}
			for _, m := range t.Moves() {
				if to := t.Owner(m.Slot); to != nil && m.From != nil && m.From.Addr == a.addr {
					r.peer, r.slots = to.Master.Addr, strconv.Itoa(int(m.Slot))
					break
				}
			}
		}
	}
}

// masters are the nodes that a topology sends writes to, and those that slots come from.
func masters(t *router.Table) []string {
	var addrs []string
	for _, g := range t.Groups {
		addrs = append(addrs, g.Master.Addr)
	}
	for _, m := range t.Moves() {
		if m.From != nil {
			addrs = append(addrs, m.From.Addr)
		}
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxNodes)]
}

// askAll asks nodes at the same time and waits for all.
func (w *Watcher) askAll(ctx context.Context, addrs []string) []answer {
	now := time.Now()
	addrs = slices.DeleteFunc(addrs, func(addr string) bool { return now.Before(w.unknown[addr]) })
	answers := make([]answer, len(addrs))
	knows := make([]bool, len(addrs))
	paced.Each(len(addrs), func(i int) { answers[i], knows[i] = w.report(ctx, addrs[i]) })
	for i, addr := range addrs {
		delete(w.unknown, addr)
		if !knows[i] {
			w.unknown[addr] = now.Add(unknownAgain)
		}
	}
	return answers
}

// locate gives the other sides of migrations their addresses: a target may not have a slot yet, and so no place in
// the topology.
func (w *Watcher) locate(ctx context.Context, answers []answer) {
	byAdmin := make(map[string]string)
	access := w.access.Load()
	for _, a := range answers {
		w.ledger.learn(a.id, a.addr)
		byAdmin[access.AdminAddr(a.addr)] = a.addr
	}
	for _, a := range answers {
		for i, r := range a.reports {
			if client, ok := byAdmin[r.peer]; ok {
				a.reports[i].peer = client // Dragonfly up to 1.17 names the port that the migration goes to.
			}
			if r.peer == "" || isAddr(w.ledger.name(r.peer)) {
				continue
			}
			for id, addr := range w.neighbours(ctx, a.addr) {
				w.ledger.learn(id, addr)
			}
		}
	}
}

// unasked are nodes that take part in a migration and were not asked yet.
func (w *Watcher) unasked(answers []answer) []string {
	asked := make(map[string]bool)
	for _, a := range answers {
		asked[a.addr] = true
	}
	var list []string
	for _, a := range answers {
		for _, r := range a.reports {
			addr := w.ledger.name(r.peer)
			if r.state.active() && isAddr(addr) && !asked[addr] && len(asked) < maxNodes {
				asked[addr] = true
				list = append(list, addr)
			}
		}
	}
	return list
}

func isAddr(s string) bool {
	_, _, err := net.SplitHostPort(s)
	return err == nil
}

// tellInvolved names the nodes whose slots are on the move.
func (w *Watcher) tellInvolved(list []Migration) {
	if w.cfg.Involved == nil {
		return
	}
	var addrs []string
	for _, m := range list {
		if m.Ended.IsZero() {
			addrs = append(addrs, m.Source, m.Target)
		}
	}
	slices.Sort(addrs)
	w.cfg.Involved(slices.Compact(addrs))
}

// publish makes what is known the Status, and logs what ended or went wrong.
func (w *Watcher) publish(list []Migration, answers []answer) {
	silent, unfit := make(map[string]string), make(map[string]string)
	for _, a := range answers {
		switch {
		case a.err != nil:
			silent[a.addr] = a.err.Error()
		case a.unfit != nil:
			unfit[a.addr] = a.unfit.Error()
		}
	}
	now := time.Now()
	dispute := w.dispute.compare(answers, now)
	w.mu.Lock()
	before := w.status
	w.status = Status{Checked: now, Migrations: list, Silent: silent, Unfit: unfit, Dispute: dispute, Lossy: maps.Clone(w.lossy.found)}
	w.mu.Unlock()
	for _, m := range list {
		i := slices.IndexFunc(before.Migrations, func(b Migration) bool { return b.sameAs(m) })
		if i < 0 || before.Migrations[i].State != m.State || before.Migrations[i].LastError != m.LastError {
			w.log(m)
		}
	}
	if dispute != "" && dispute != before.Dispute {
		w.cfg.Log.Warn("nodes disagree", "err", dispute)
	}
}

// sameAs reports whether both are the same migration at different times.
func (m *Migration) sameAs(o Migration) bool {
	return m.Source == o.Source && m.Target == o.Target && m.Since.Equal(o.Since) && (m.Slots == o.Slots || m.Slots == "")
}

func (w *Watcher) log(m Migration) {
	level := slog.LevelInfo
	switch {
	case m.State == Reverted:
		level = slog.LevelError
	case m.State == Failed || m.State.active() && m.LastError != "":
		level = slog.LevelWarn
	}
	w.cfg.Log.Log(context.Background(), level, "migration", "source", m.Source, "target", m.Target, "slots", m.Slots,
		"state", string(m.State), "err", m.LastError, "verdict", m.Verdict)
}
