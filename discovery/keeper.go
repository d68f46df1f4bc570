package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/router"
)

// A Keeper has two teachers. The Source describes the whole topology, but late: it polls, its view passes
// through gossip, and a Dragonfly shows the old owner of a moved slot until an operator pushes the closing
// configuration. A MOVED reply knows one slot, and it knows it from the node that has just refused the
// command. So the snapshot is the ground, and MOVED lays an override on single slots of it:
//
//	Source --publish--> judge: valid? changed? --------.
//	                     | no: keep the last good one  v
//	                     v                          ground + overrides --Build--> apply(Table)
//	                LastError in Status                ^
//	event loops --Moved(slot, addr)--> override -------'----> Source.Refresh
//
// Rules:
//   - An invalid snapshot, and one in which nobody owns a slot, is never applied. The last good one stays,
//     and Status tells why. A source that lost its sight costs freshness, not traffic.
//   - A snapshot that says what the last one said builds nothing.
//   - An override wins over the ground at once. It stays until the source says something else about that
//     slot than it said when the MOVED came (as a rule: until it agrees), a newer MOVED replaces it, or
//     overrideLife has passed and its master can't be reached, or nobody can tell (Config.Reachable). While the source only repeats itself the override wins, because the source
//     has not seen the move yet. Once it names another owner than before it has learnt something after the
//     MOVED; to stay with the override then could mean 30 s of commands for a node that has died since.
//   - Everything that came in since the last Build goes into the next one, and Builds keep minBuildGap
//     apart. The first event after a quiet time waits for nothing.
//   - Tables are applied in the order of their epochs, from one goroutine.
//
// What a MOVED says of a node that the source names is taken for true. One that points anywhere else is not: nobody gets
// requests, or a password, because some server says so. The source is asked at once; when it names the node the next
// MOVED, which comes from whoever is still redirected, counts.
const (
	// overrideLife is twice and more the time a cluster needs to agree after a move or an election, and
	// short enough that a wrong MOVED is forgotten. Families whose nodes do not learn of a move by themselves
	// (Dragonfly, Kvrocks) are behind until somebody tells them: see Config.Reachable.
	overrideLife = 30 * time.Second
	// minBuildGap bounds the work in a storm of MOVED to 200 Tables per second; a client that is redirected
	// for 5 ms longer does not notice.
	minBuildGap = 5 * time.Millisecond
)

// Config is what a Keeper needs. All fields but Log are required.
type Config struct {
	Model  router.Model
	Source Source
	// Name is the kind of the source, for Status and the log.
	Name string
	// Apply takes every new Table. It is called from Run's goroutine, one Table after the other, and must
	// not block.
	Apply func(*router.Table)
	// Reachable, unless nil, makes an override live on when overrideLife has passed, for as long as Reachable says
	// that its master serves. It is for sources that may be behind for hours. Safe for concurrent use; it must not
	// block.
	Reachable func(addr string) bool
	// Log is optional.
	Log *slog.Logger
}

// Keeper keeps the Table of one pool up to date. mu guards the fields below it; Run's goroutine owns the
// rest.
type Keeper struct {
	cfg  Config
	wake chan struct{} // Capacity 1: that there is something to do, not how much.

	builder   *router.Builder
	said      Snapshot // by the source, the last good one
	adoptions map[router.GroupID]adoption
	guests    map[router.GroupID]guests
	ground    Snapshot // said, with the adoptions and guests
	moves     moveLog
	owners    []string // By slot: the master in ground; nil before the first good snapshot.
	known     map[string]bool
	overrides map[router.Slot]override

	mu        sync.Mutex
	heirs     map[router.GroupID]string   // what Adopt was told since the last turn; nil when nothing.
	invites   map[router.GroupID][]string // what Invite was told since the last turn; nil when nothing.
	pending   map[router.Slot]string      // MOVED since the last turn, the newest per slot; nil when none.
	published *Snapshot                   // The newest snapshot since the last turn.
	waiting   []chan<- error              // Done of the snapshots since the last turn.
	status    Status
}

// override is what a MOVED taught about a slot.
type override struct {
	addr    string
	against string // The owner in the ground that it contradicts.
	expires time.Time
}

// Status describes a Keeper for people.
type Status struct {
	// Source is the kind of the source.
	Source string
	// Epoch is that of the Table applied last; 0 before the first.
	Epoch uint64
	// LastChange is when that was.
	LastChange time.Time
	// LastError says why the source sees nothing at the moment, and why the newest snapshot was not
	// applied. It is nil while all is well.
	LastError error
	// Overrides is the number of slots for which MOVED is believed against the source.
	Overrides int
	// Moved and Dropped count the events, and those of them that were not believed: an impossible slot or
	// address, nothing to lay it on, or a node that the source does not name.
	Moved, Dropped uint64
}

// NewKeeper returns a Keeper that does nothing until Run.
func NewKeeper(cfg Config) *Keeper {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		cfg:       cfg,
		wake:      make(chan struct{}, 1),
		builder:   router.NewBuilder(cfg.Model),
		overrides: make(map[router.Slot]override),
		adoptions: make(map[router.GroupID]adoption),
		guests:    make(map[router.GroupID]guests),
		status:    Status{Source: cfg.Name},
	}
}

// Moved tells that a node has redirected a command for slot to addr. The Keeper keeps addr, so it must not
// be a view into a buffer. Safe for concurrent use; it never blocks on anything but a short lock.
func (k *Keeper) Moved(slot router.Slot, addr string) {
	k.mu.Lock()
	k.status.Moved++
	if int(slot) >= k.cfg.Model.Slots() {
		k.status.Dropped++
		k.mu.Unlock()
		return
	}
	if k.pending == nil {
		k.pending = make(map[router.Slot]string)
	}
	k.pending[slot] = addr
	k.mu.Unlock()
	k.signal()
}

// Refresh asks the source for a look soon, because something the topology may explain went wrong. Safe for
// concurrent use; it never blocks.
func (k *Keeper) Refresh() { k.cfg.Source.Refresh() }

// Status returns the state of now. Safe for concurrent use.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	st := k.status
	k.mu.Unlock()
	if src, ok := k.cfg.Source.(failing); ok {
		st.LastError = errors.Join(src.Err(), st.LastError)
	}
	return st
}

// Run runs the source and applies Tables until ctx ends, and then returns nil. It fails only when the
// source gives up by itself; the last Table stays good then, but nothing renews it. Run is called once.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := k.cfg.Source.Run(ctx, k.publish)
		if ctx.Err() != nil {
			return nil
		}
		return errors.Join(fmt.Errorf("source %s gave up", k.cfg.Name), err)
	})
	g.Go(func() error {
		k.keep(ctx)
		return nil
	})
	return g.Wait()
}

// publish takes a snapshot from the source; of several in one turn only the newest counts.
func (k *Keeper) publish(s Snapshot) {
	k.mu.Lock()
	k.published = &s
	if s.Done != nil {
		k.waiting = append(k.waiting, s.Done)
	}
	k.mu.Unlock()
	k.signal()
}

func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default: // A turn is due already.
	}
}

// keep makes a turn when something came in, at most one per minBuildGap, and when an override expires.
func (k *Keeper) keep(ctx context.Context) {
	timer := time.NewTimer(overrideLife)
	defer timer.Stop()
	var earliest time.Time // for the next turn
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			if wait := time.Until(earliest); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		next := k.turn(time.Now())
		earliest = time.Now().Add(minBuildGap)
		timer.Reset(time.Until(next))
	}
}

// turn takes in all that came and builds a Table if that changed anything. It returns when the next turn is
// due if nothing else comes.
func (k *Keeper) turn(now time.Time) time.Time {
	k.mu.Lock()
	published, pending, waiting, heirs, invites := k.published, k.pending, k.waiting, k.heirs, k.invites
	k.published, k.pending, k.waiting, k.heirs, k.invites = nil, nil, nil, nil, nil
	k.mu.Unlock()

	var refused error
	news := false
	if published != nil {
		news, refused = k.judge(*published)
	}
	if k.takeInvites(invites) {
		news = true
	}
	if k.takeHeirs(heirs) {
		news = true
	}
	redirected, unbelieved := k.takeMoved(pending, now)
	expired, next := k.expire(now)
	if news || redirected || expired {
		refused = errors.Join(refused, k.build(now, news))
	}
	for _, done := range waiting {
		done <- refused
	}
	if redirected || unbelieved {
		k.cfg.Source.Refresh()
	}
	return next
}

// judge makes s the ground if it is valid and new, and reports whether it did.
func (k *Keeper) judge(s Snapshot) (bool, error) {
	if err := s.Validate(k.cfg.Model); err != nil {
		err = fmt.Errorf("snapshot of source %s refused: %w", k.cfg.Name, err)
		if k.setError(err) {
			k.cfg.Log.Warn("topology refused", "source", k.cfg.Name, "err", err)
		}
		return false, err
	}
	k.setError(nil)
	if k.owners != nil && s.Equal(k.said) {
		return false, nil
	}
	k.said, k.known = s, make(map[string]bool)
	k.setGround()
	for _, g := range k.ground.Groups {
		k.known[g.Master] = true
		for _, addr := range g.Replicas {
			k.known[addr] = true
		}
	}
	for slot, o := range k.overrides {
		if k.owners[slot] != o.against || !k.known[o.addr] {
			delete(k.overrides, slot)
		}
	}
	return true, nil
}

// takeMoved turns events into overrides. It reports whether an owner changed by them, and whether some name a
// node that the source does not name.
func (k *Keeper) takeMoved(pending map[router.Slot]string, now time.Time) (changed, unbelieved bool) {
	var dropped uint64
	for slot, addr := range pending {
		if !k.known[addr] {
			dropped++
			unbelieved = unbelieved || checkAddr(addr) == nil
			continue
		}
		before, overridden := k.overrides[slot]
		if k.owners[slot] == addr {
			delete(k.overrides, slot) // The newest MOVED is back where the source is.
			changed = changed || overridden
			continue
		}
		changed = changed || before.addr != addr
		k.overrides[slot] = override{addr: addr, against: k.owners[slot], expires: now.Add(overrideLife)}
	}
	if dropped > 0 {
		k.mu.Lock()
		k.status.Dropped += dropped
		k.mu.Unlock()
	}
	return changed, unbelieved
}

// expire drops old overrides, and returns whether there were any and when the next one is due.
func (k *Keeper) expire(now time.Time) (expired bool, next time.Time) {
	next = now.Add(overrideLife)
	for slot, o := range k.overrides {
		if !o.expires.After(now) && k.cfg.Reachable != nil && k.cfg.Reachable(o.addr) {
			o.expires = now.Add(overrideLife)
			k.overrides[slot] = o
		}
		if !o.expires.After(now) {
			delete(k.overrides, slot)
			expired = true
			continue
		}
		if o.expires.Before(next) {
			next = o.expires
		}
	}
	return expired, next
}

// build makes and applies the next Table.
func (k *Keeper) build(now time.Time, news bool) error {
	moved := make(map[router.Slot]string, len(k.overrides))
	for slot, o := range k.overrides {
		moved[slot] = o.addr
	}
	table, err := k.builder.Build(router.Spec{Groups: k.ground.Groups, Moves: k.ground.Moves, Moved: moved})
	if err != nil {
		// Validate has let this snapshot pass, so it is a mistake here; the last Table is still good.
		err = fmt.Errorf("build from source %s: %w", k.cfg.Name, err)
		k.setError(err)
		k.cfg.Log.Error("topology not built", "source", k.cfg.Name, "err", err)
		return err
	}
	k.cfg.Apply(table)
	k.mu.Lock()
	k.status.Epoch, k.status.LastChange, k.status.Overrides = table.Epoch, now, len(moved)
	k.mu.Unlock()
	ended, onlyMoves := k.moves.note(table, now)
	for _, e := range ended {
		k.cfg.Log.Info("slots are settled again", "source", k.cfg.Name, "slots", router.FormatRanges(e.slots),
			"from", e.from, "to", e.to, "owner", e.owner, "took", e.took)
	}
	level := slog.LevelInfo
	if !news || onlyMoves { // A move brings several of these per slot.
		level = slog.LevelDebug
	}
	k.cfg.Log.Log(context.Background(), level, "topology applied",
		"source", k.cfg.Name, "epoch", table.Epoch, "groups", len(table.Groups), "overrides", len(moved),
		"unsettled_slots", len(table.Moves()), "uncovered_slots", router.FormatRanges(table.Uncovered()))
	return nil
}

// setError keeps err for Status and reports whether its text is new.
func (k *Keeper) setError(err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.status.LastError
	k.status.LastError = err
	return err != nil && (last == nil || last.Error() != err.Error())
}
