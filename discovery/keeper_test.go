package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/testbed"
	"sluice/router"
)

// fakeSource publishes what a test sends it.
type fakeSource struct {
	snapshots chan Snapshot
	gaveUp    chan error

	refreshes atomic.Int64
	err       atomic.Pointer[error]
}

var _ Source = (*fakeSource)(nil)

func newFakeSource() *fakeSource {
	return &fakeSource{snapshots: make(chan Snapshot), gaveUp: make(chan error)}
}

func (f *fakeSource) Refresh() { f.refreshes.Add(1) }

func (f *fakeSource) Err() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *fakeSource) Run(ctx context.Context, publish func(Snapshot)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-f.gaveUp:
			return err
		case s := <-f.snapshots:
			publish(s)
		}
	}
}

// bench is a Keeper that runs in a synctest bubble. mu guards the fields below it.
type bench struct {
	*testing.T
	*Keeper
	src *fakeSource

	mu      sync.Mutex
	applied []*router.Table // Every Table.
}

func (b *bench) apply(table *router.Table) {
	if st := b.Status(); st.Epoch >= table.Epoch {
		b.Errorf("epoch %d is said to be in force before it is", st.Epoch)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.applied = append(b.applied, table)
}

func (b *bench) tables() []*router.Table {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.applied)
}

// newest describes the owners in the Table applied last.
func (b *bench) newest() string {
	tables := b.tables()
	return describeOwners(tables[len(tables)-1])
}

// runKeeper tests a Keeper of 16 slots in a bubble with a clock of its own.
func runKeeper(t *testing.T, test func(b *bench), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, src: newFakeSource()}
		cfg := Config{Model: router.CodisModel(16), Source: b.src, Name: "fake", Apply: b.apply}
		for _, f := range change {
			f(&cfg)
		}
		b.Keeper = NewKeeper(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Keeper.Run(ctx) }()
		test(b)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// settle lets the Keeper do all it has to do now and within the gap between Builds.
func (b *bench) settle() {
	synctest.Wait()
	time.Sleep(minBuildGap)
	synctest.Wait()
}

func (b *bench) publish(text string) {
	b.src.snapshots <- snapshot(text)
	b.settle()
}

// wants checks how many Tables have been applied and, of the newest, the owners in order of slots:
// "0-7 a:1; 8-15 b:1".
func (b *bench) wants(tables int, owners string) {
	b.Helper()
	b.settle()
	applied := b.tables()
	if len(applied) != tables {
		b.Errorf("%d tables, want %d", len(applied), tables)
	}
	if len(applied) == 0 {
		return
	}
	last := applied[len(applied)-1]
	if got := describeOwners(last); got != owners {
		b.Errorf("owners %s, want %s", got, owners)
	}
	if st := b.Status(); st.Epoch != last.Epoch || last.Epoch != uint64(len(applied)) {
		b.Errorf("%d tables, the last of epoch %d, status %+v", len(applied), last.Epoch, st)
	}
}

func describeOwners(t *router.Table) string {
	var parts []string
	from := 0
	name := func(slot int) string {
		if g := t.Owner(router.Slot(slot)); g != nil {
			return g.Master.Addr
		}
		return "nobody"
	}
	for slot := 1; slot <= t.Model.Slots(); slot++ {
		if slot < t.Model.Slots() && name(slot) == name(from) {
			continue
		}
		r := router.Range{From: router.Slot(from), To: router.Slot(slot - 1)}
		parts = append(parts, fmt.Sprintf("%s %s", r, name(from)))
		from = slot
	}
	return strings.Join(parts, "; ")
}

const (
	base = "1 0-7 a:1 a:2; 2 8-15 b:1"
	// withC is base and a node that owns nothing.
	withC = base + "; 3 - c:1"
)

func TestBadSnapshotIsNeverApplied(t *testing.T) {
	runKeeper(t, func(b *bench) {
		f := func(tables int, owners, text, wantErr string) {
			b.Helper()
			s := Snapshot{}
			if text != "" {
				s = snapshot(text)
			}
			b.src.snapshots <- s
			b.wants(tables, owners)
			got := ""
			if err := b.Status().LastError; err != nil {
				got = err.Error()
			}
			if got != wantErr {
				b.Errorf("error %q, want %q", got, wantErr)
			}
		}
		const refused = "snapshot of source fake refused: "
		f(0, "", "", refused+"no group owns a slot")
		f(0, "", "1 - a:1", refused+"no group owns a slot")
		f(1, "0-7 a:1; 8-15 b:1", base, "")
		f(1, "0-7 a:1; 8-15 b:1", "", refused+"no group owns a slot")
		f(1, "0-7 a:1; 8-15 b:1", "1 0-7 a:1; 2 7-15 b:1", refused+"slots 7 belong to group 1 and to group 2")
		f(1, "0-7 a:1; 8-15 b:1", "1 0-16 a:1", refused+"group 1: slots 0-16 are outside 0-15\nno group owns a slot")
		f(1, "0-7 a:1; 8-15 b:1", base, "") // Nothing new, and all is well again.
		f(2, "0-7 a:1; 8-14 b:1; 15 nobody", "1 0-7 a:1; 2 8-14 b:1", "")
	})
}

func TestUnchangedSnapshotBuildsNothing(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		changed := b.Status().LastChange
		time.Sleep(time.Second)
		b.publish(base)
		b.publish("2 8-11,12-15 b:1; 1 0-7 a:1 a:2")
		b.wants(1, "0-7 a:1; 8-15 b:1")
		if got := b.Status().LastChange; !got.Equal(changed) {
			b.Errorf("last change %s, want %s", got, changed)
		}
		b.publish("1 0-7 a:1; 2 8-15 b:1") // A replica less.
		b.wants(2, "0-7 a:1; 8-15 b:1")
		if got := b.Status().LastChange; !got.After(changed) {
			b.Errorf("last change %s is not after %s", got, changed)
		}
	})
}

func TestMovedTakesASlotAtOnce(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		time.Sleep(time.Second)
		b.Moved(3, "b:1")
		synctest.Wait() // No time passes.
		if got := b.newest(); got != "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1" {
			b.Errorf("owners %s", got)
		}
		if got := b.src.refreshes.Load(); got != 1 {
			b.Errorf("the source was asked %d times to refresh", got)
		}
		b.Moved(3, "b:1") // Late, from before the Table: it says nothing new.
		b.wants(2, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		if got := b.src.refreshes.Load(); got != 1 {
			b.Errorf("the source was asked %d times to refresh", got)
		}
		if st := b.Status(); st.Overrides != 1 || st.Moved != 2 || st.Dropped != 0 {
			b.Errorf("status %+v", st)
		}
	})
}

func TestMovedIsBatched(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(withC)
		time.Sleep(time.Second)
		start := time.Now()
		for i := range 100 { // 100 ms in which every slot moves to and fro.
			b.Moved(router.Slot(i%16), []string{"a:1", "b:1", "c:1"}[i%3])
			time.Sleep(time.Millisecond)
		}
		b.settle()
		most := int(time.Since(start)/minBuildGap) + 1
		if n := len(b.tables()) - 1; n < 10 || n > most {
			b.Errorf("%d tables, want some and at most %d", n, most)
		}
		for i := range 16 {
			b.Moved(router.Slot(i), "c:1")
		}
		before := len(b.tables())
		b.settle()
		if n := len(b.tables()) - before; n < 1 || n > 2 {
			b.Errorf("16 events at once made %d tables", n)
		}
		if got := b.newest(); got != "0-15 c:1" {
			b.Errorf("owners %s", got)
		}
	})
}

// A Dragonfly shows the old owner until it gets its next configuration.
func TestMovedWinsOverASourceThatRepeatsItself(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		b.Moved(3, "b:1")
		b.wants(2, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		b.publish(base)
		b.wants(2, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		b.publish("1 0-7 a:1; 2 8-15 b:1") // Other news, the old owner of slot 3.
		b.wants(3, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		if got := b.Status().Overrides; got != 1 {
			b.Errorf("%d overrides", got)
		}
		b.publish("1 0-2,4-7 a:1; 2 3-3,8-15 b:1") // It agrees.
		b.wants(4, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		if got := b.Status().Overrides; got != 0 {
			b.Errorf("%d overrides after the source agrees", got)
		}
		b.publish(base) // And back: no override is left to stop it.
		b.wants(5, "0-7 a:1; 8-15 b:1")
	})
}

// The node of the override dies and the source names its successor: that is news from after the MOVED.
func TestSourceWinsOnceItChangesItsMind(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		b.Moved(3, "b:1")
		b.Moved(9, "a:1")
		b.settle()
		b.publish("1 0-2,4-7 a:1; 2 8-15 b:1; 3 3-3 c:1")
		b.wants(3, "0-2 a:1; 3 c:1; 4-7 a:1; 8 b:1; 9 a:1; 10-15 b:1")
	})
}

func TestNewerMovedReplacesAnOlderOne(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(withC)
		b.Moved(3, "b:1")
		b.wants(2, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		time.Sleep(20 * time.Second)
		b.Moved(3, "c:1")
		b.wants(3, "0-2 a:1; 3 c:1; 4-7 a:1; 8-15 b:1")
		time.Sleep(20 * time.Second) // The first one would have expired.
		b.wants(3, "0-2 a:1; 3 c:1; 4-7 a:1; 8-15 b:1")
		b.Moved(3, "a:1") // Back to where the source is.
		b.wants(4, "0-7 a:1; 8-15 b:1")
		if got := b.Status().Overrides; got != 0 {
			b.Errorf("%d overrides", got)
		}
	})
}

func TestOverrideExpires(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		time.Sleep(time.Second)
		b.Moved(3, "b:1")
		synctest.Wait()
		time.Sleep(10 * time.Second)
		b.Moved(4, "b:1")
		synctest.Wait()
		time.Sleep(overrideLife - 10*time.Second - time.Millisecond)
		synctest.Wait()
		b.wantsNow("0-2 a:1; 3-4 b:1; 5-7 a:1; 8-15 b:1")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		b.wantsNow("0-3 a:1; 4 b:1; 5-7 a:1; 8-15 b:1")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		b.wantsNow("0-7 a:1; 8-15 b:1")
		time.Sleep(time.Hour)
		b.wants(5, "0-7 a:1; 8-15 b:1") // base, two overrides, two expiries, and nothing more.
	})
}

// A Dragonfly may be behind for hours.
func TestOverrideLivesWhileItsMasterServes(t *testing.T) {
	var reachable atomic.Bool
	reachable.Store(true)
	runKeeper(t, func(b *bench) {
		b.publish(base)
		b.Moved(3, "b:1")
		b.settle()
		for range 10 {
			time.Sleep(overrideLife)
			b.publish(base)
		}
		b.wants(2, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		b.publish("1 0-2,4-7 a:1; 2 8-15 b:1; 3 3-3 c:1") // It names another owner: that is news.
		b.wants(3, "0-2 a:1; 3 c:1; 4-7 a:1; 8-15 b:1")
		b.publish(base)
		b.Moved(3, "b:1")
		b.wants(5, "0-2 a:1; 3 b:1; 4-7 a:1; 8-15 b:1")
		reachable.Store(false)
		time.Sleep(overrideLife)
		b.wants(6, "0-7 a:1; 8-15 b:1")
	}, func(cfg *Config) {
		cfg.Reachable = func(addr string) bool { return addr == "b:1" && reachable.Load() }
	})
}

// wantsNow checks the owners without letting time pass.
func (b *bench) wantsNow(owners string) {
	b.Helper()
	if got := b.newest(); got != owners {
		b.Errorf("owners %s, want %s", got, owners)
	}
}

func TestUnbelievableMovedIsDropped(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.Moved(3, "b:1") // There is no topology yet.
		b.wants(0, "")
		b.publish(base)
		b.Moved(16, "b:1")
		b.Moved(3, "")
		b.Moved(4, ":7000")
		b.Moved(5, "b:99999")
		b.wants(1, "0-7 a:1; 8-15 b:1")
		if st := b.Status(); st.Dropped != 5 || st.Moved != 5 {
			b.Errorf("status %+v", st)
		}
		if got := b.src.refreshes.Load(); got != 1 { // By the first one.
			b.Errorf("the source was asked %d times to refresh", got)
		}
	})
}

// A MOVED to a node that the source does not name makes it look again, and nothing else; when it names the node the next one
// counts. An override ends with the node.
func TestMovedToAnUnknownNode(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		for i := range 10 {
			b.Moved(3, fmt.Sprintf("node%d:1", i))
			b.settle()
			if got := b.src.refreshes.Load(); got != int64(i+1) {
				b.Fatalf("the source was asked %d times to refresh, want %d", got, i+1)
			}
		}
		b.wants(1, "0-7 a:1; 8-15 b:1")
		if st := b.Status(); st.Dropped != 10 || st.Overrides != 0 {
			b.Errorf("status %+v", st)
		}
		b.publish(base + "; 3 - node7:1")
		b.Moved(3, "node7:1")
		b.settle()
		if got := b.tables()[len(b.tables())-1].Owner(3).Master.Addr; got != "node7:1" {
			b.Errorf("slot 3 is with %s", got)
		}
		b.publish(base)
		b.wantsNow("0-7 a:1; 8-15 b:1")
	})
}

func TestStatusTellsTheErrorOfTheSource(t *testing.T) {
	runKeeper(t, func(b *bench) {
		b.publish(base)
		if st := b.Status(); st.LastError != nil || st.Source != "fake" || st.LastChange.IsZero() {
			b.Errorf("status %+v", st)
		}
		blind := errors.New("all seeds are down")
		b.src.err.Store(&blind)
		if err := b.Status().LastError; !errors.Is(err, blind) {
			b.Errorf("error %v", err)
		}
		b.Refresh()
		if got := b.src.refreshes.Load(); got != 1 {
			b.Errorf("Refresh reached the source %d times", got)
		}
	})
}

func TestSourceThatGivesUpEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		k := NewKeeper(Config{Model: router.CodisModel(16), Source: src, Name: "fake", Apply: func(*router.Table) {}})
		done := make(chan error)
		go func() { done <- k.Run(t.Context()) }()
		cause := errors.New("cause")
		src.gaveUp <- cause
		if err := <-done; !errors.Is(err, cause) || !strings.Contains(err.Error(), "source fake gave up") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestMovedDoesNotAllocate(t *testing.T) {
	k := NewKeeper(Config{Model: router.CodisModel(16), Source: newFakeSource(), Apply: func(*router.Table) {}})
	addr := "b:1"
	if got := testing.AllocsPerRun(1000, func() { k.Moved(3, addr) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// Many loops and a source at once, on the real clock, for the race detector: epochs rise one by one, and the
// newest word on each slot wins.
func TestKeeperUnderLoad(t *testing.T) {
	src := newFakeSource()
	var epoch uint64
	var last atomic.Pointer[router.Table]
	k := NewKeeper(Config{Model: router.CodisModel(16), Source: src, Name: "fake", Apply: func(table *router.Table) {
		if epoch++; table.Epoch != epoch {
			t.Errorf("epoch %d, want %d", table.Epoch, epoch)
		}
		last.Store(table)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	src.snapshots <- snapshot(withC)
	testbed.Eventually(t, func() error { // A MOVED before the first table has nothing to be laid on.
		if last.Load() == nil {
			return errors.New("no table yet")
		}
		return nil
	}, 10*time.Second)
	var loops sync.WaitGroup
	for slot := range router.Slot(8) {
		loops.Go(func() {
			for i := range 2000 {
				k.Moved(slot, []string{"a:1", "b:1", "c:1"}[i%3])
				k.Status()
			}
			k.Moved(slot, "c:1")
		})
	}
	loops.Go(func() {
		for i := range 500 {
			src.snapshots <- snapshot([]string{withC, "1 0-7 a:1; 2 8-15 b:1; 3 - c:1"}[i%2]) // Slots 0-7 stay with a:1.
		}
	})
	loops.Wait()
	testbed.Eventually(t, func() error {
		if table := last.Load(); table == nil || describeOwners(table) != "0-7 c:1; 8-15 b:1" {
			return fmt.Errorf("table %+v", table)
		}
		return nil
	}, 10*time.Second)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestKeeperModel drives turns with random snapshots, MOVED and passing time, and compares each slot of the
// Table with what the rules say.
func TestKeeperModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const slots = 4
		type word struct { // The newest MOVED of a slot.
			addr string
			at   time.Time
			over bool // It has lost its force.
		}
		var (
			now    = time.Unix(1e9, 0)
			ground [slots]string
			words  [slots]word
			last   *router.Table
		)
		k := NewKeeper(Config{Model: router.CodisModel(slots), Source: newFakeSource(), Name: "fake",
			Apply: func(table *router.Table) { last = table }})
		learn := func(owners [slots]string) {
			byOwner := make(map[string][]router.Range)
			for slot, owner := range owners {
				byOwner[owner] = append(byOwner[owner], router.Range{From: router.Slot(slot), To: router.Slot(slot)})
			}
			var s Snapshot
			for _, owner := range []string{"a:1", "b:1", "c:1"} {
				s.Groups = append(s.Groups, router.GroupSpec{ID: router.GroupID(owner), Master: owner, Slots: byOwner[owner]})
			}
			k.publish(s)
			for slot := range owners {
				if owners[slot] != ground[slot] {
					words[slot].over = true
				}
			}
			ground = owners
		}
		addr := rapid.SampledFrom([]string{"a:1", "b:1", "c:1"})
		learn([slots]string{"a:1", "a:1", "b:1", "b:1"})
		k.turn(now)
		t.Repeat(map[string]func(*rapid.T){
			"snapshot": func(t *rapid.T) {
				owners := ground
				owners[rapid.IntRange(0, slots-1).Draw(t, "slot")] = addr.Draw(t, "owner")
				learn(owners)
				k.turn(now)
			},
			"refused": func(*rapid.T) {
				k.publish(Snapshot{})
				k.turn(now)
			},
			"moved": func(t *rapid.T) {
				slot := rapid.IntRange(0, slots-1).Draw(t, "slot")
				to := addr.Draw(t, "to")
				words[slot] = word{addr: to, at: now}
				k.Moved(router.Slot(slot), to)
				k.turn(now)
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
				k.turn(now)
			},
			"": func(t *rapid.T) {
				for slot := range slots {
					want := ground[slot]
					if w := words[slot]; w.addr != "" && !w.over && now.Sub(w.at) < overrideLife {
						want = w.addr
					}
					if got := last.Owner(router.Slot(slot)).Master.Addr; got != want {
						t.Fatalf("slot %d is with %s, want %s", slot, got, want)
					}
				}
			},
		})
	})
}

// What the status and the log say of a topology is true: they say it behind Apply.
func TestATopologyIsInForceBeforeThatIsSaid(t *testing.T) {
	src := newFakeSource()
	var k *Keeper
	var log bytes.Buffer
	seen := 0
	k = NewKeeper(Config{
		Model: router.CodisModel(8), Source: src, Name: "fake", Log: slog.New(slog.NewTextHandler(&log, nil)),
		Apply: func(table *router.Table) {
			if seen++; k.Status().Epoch == table.Epoch || strings.Contains(log.String(), "topology applied") {
				t.Errorf("epoch %d is said to be in force before it is: %s", table.Epoch, &log)
			}
		},
	})
	k.publish(Snapshot{Groups: []router.GroupSpec{{ID: "1", Master: "10.0.0.1:1", Slots: []router.Range{{From: 0, To: 7}}}}})
	k.turn(time.Unix(1000, 0))
	if seen != 1 || k.Status().Epoch == 0 || !strings.Contains(log.String(), "topology applied") {
		t.Errorf("applied %d times, %+v, %s", seen, k.Status(), &log)
	}
}

// The tables that a move brings make one line, with the slots in it; whatever else changes makes its own.
func TestOneLineForAMove(t *testing.T) {
	var log bytes.Buffer
	k := NewKeeper(Config{
		Model: router.CodisModel(8), Source: newFakeSource(), Name: "fake", Log: slog.New(slog.NewTextHandler(&log, nil)),
		Apply: func(*router.Table) {},
	})
	now := time.Unix(1000, 0)
	publish := func(says string, master2 string, split router.Slot, moves ...router.MoveSpec) {
		t.Helper()
		log.Reset()
		k.publish(Snapshot{Moves: moves, Groups: []router.GroupSpec{
			{ID: "1", Master: "10.0.0.1:1", Slots: []router.Range{{From: 0, To: split - 1}}},
			{ID: "2", Master: master2, Slots: []router.Range{{From: split, To: 7}}},
		}})
		k.turn(now)
		now = now.Add(time.Second)
		if got := log.String(); says == "" && got != "" || !strings.Contains(got, says) || strings.Count(got, "\n") > 1 {
			t.Errorf("%q, want %q", got, says)
		}
	}
	move := func(from, to router.Slot, phase router.Phase) router.MoveSpec {
		return router.MoveSpec{Slots: []router.Range{{From: from, To: to}}, Phase: phase, From: "10.0.0.1:1", FromID: "1"}
	}
	publish("topology applied", "10.0.0.2:1", 4)
	publish("", "10.0.0.2:1", 2, move(2, 3, router.Locked))
	publish("", "10.0.0.2:1", 2, move(2, 3, router.Moving))
	publish(`"slots are settled again" source=fake slots=2-3 from=1 to=2 owner=2 took=2s`, "10.0.0.2:1", 2)
	publish("topology applied", "10.0.0.2:1", 1) // Without a move.
	publish("topology applied", "10.0.0.3:1", 1)
	publish("", "10.0.0.3:1", 1, router.MoveSpec{Slots: []router.Range{{From: 0, To: 0}}, Phase: router.Locked})
	publish("slots=0", "10.0.0.3:1", 1)
}
