package replication

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/clock"
	"sluice/internal/testbed"
	"sluice/router"
)

// patience bounds all waiting here. It decides nothing: what is waited for comes, or it does not.
const patience = time.Minute

// watched is a Watcher of one group, whose nodes are probed as in a proxy.
type watched struct {
	*testing.T
	*Watcher
	nodes   map[string]*backend.Node
	journal *Journal
	adopted chan string

	mu     sync.Mutex
	bans   map[string]ban
	probed map[string]int // how many probes were answered
	failed map[string]int // and how many were not
}

// ban is what a node must not be said to be.
type ban struct {
	since    int64 // by what was asked from then on
	readable bool  // it must not be readable either
	mark     uint64
}

// plan says how a group is watched.
type plan struct {
	family   *dialect.Family
	rules    Rules
	probe    time.Duration // between two probes of a node
	password string
}

// fast is a plan with a probe every 30 ms. That nobody has found the time for one proves nothing here: evidence
// counts for minutes, and so long may a replica lag.
func fast() plan {
	return plan{
		family: dialect.Redis, probe: 30 * time.Millisecond,
		rules: Rules{Enabled: true, Interval: time.Minute, MaxLag: 2 * patience},
	}
}

// orphanLag is how old what a replica of a silent master has may be where that is looked at.
const orphanLag = time.Second

// watch watches the group of a master and its replicas until the test ends.
func watch(t *testing.T, p plan, master string, replicas ...string) *watched {
	t.Helper()
	w := &watched{
		T: t, nodes: map[string]*backend.Node{}, journal: NewJournal(100_000), adopted: make(chan string, 100),
		bans: map[string]ban{}, probed: map[string]int{}, failed: map[string]int{},
	}
	model := router.CodisModel(64)
	if p.family == dialect.Dragonfly {
		model = router.ClusterModel()
	}
	w.Watcher = New(Config{
		Pool: "pool", Family: p.family, Node: func(addr string) *backend.Node { return w.nodes[addr] }, ID: "12345678abc",
		Rules: p.rules, Journal: w.journal, Adopt: func(_ router.GroupID, addr string) { w.adopted <- addr },
	})
	for i, addr := range append([]string{master}, replicas...) {
		n := backend.NewNode(i, addr, p.options())
		n.OnProbe(func(o backend.Observation) { w.probe(addr, o) })
		w.nodes[addr] = n
	}
	w.SetTable(tableOf(t, model, master, replicas...))
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { w.Watcher.Run(ctx) })
	for _, n := range w.nodes {
		work.Go(n.Run)
	}
	t.Cleanup(func() {
		cancel()
		for _, n := range w.nodes {
			n.Retire()
		}
		work.Wait()
		if t.Failed() {
			for _, e := range w.journal.Since(0, 1000) {
				t.Logf("%s %s %s: %s -> %s: %s", e.Time.Format("05.000"), e.Kind, e.Node, e.From, e.To, e.Reason)
			}
		}
	})
	return w
}

func (p plan) options() *backend.Options {
	return &backend.Options{
		Password: p.password, DialTimeout: 10 * time.Second, RequestTimeout: time.Second, KeepAlive: time.Second,
		UserTimeout: time.Second, ReconnectMin: 10 * time.Millisecond, ReconnectMax: 20 * time.Millisecond,
		ProbeInterval: p.probe, BreakerFailures: 3, BreakerOpen: p.probe, MaxQueued: 1 << 20,
	}
}

// silenced makes probes of a node fail soon while silence lasts, and has old data not read then. On a busy machine
// neither may count while the node answers.
func (w *watched) silenced(p plan, addr string, silence func()) {
	w.Helper()
	opts := p.options()
	opts.DialTimeout = 300 * time.Millisecond
	w.nodes[addr].SetOptions(opts)
	silence()
	w.nodes[addr].SetOptions(p.options())
	w.maxLag(p, p.rules.MaxLag)
}

func (w *watched) maxLag(p plan, lag time.Duration) {
	p.rules.MaxLag = lag
	w.SetRules(p.rules)
}

func tableOf(t *testing.T, model router.Model, master string, replicas ...string) *router.Table {
	t.Helper()
	table, err := router.NewBuilder(model).Build(router.Spec{Groups: []router.GroupSpec{{
		ID: "1", Master: master, Replicas: replicas, Slots: []router.Range{{From: 0, To: router.Slot(model.Slots() - 1)}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// probe is what a node tells, and what must not follow from it.
func (w *watched) probe(addr string, o backend.Observation) {
	w.Observe(addr, o)
	st, _ := w.find(addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.Err == nil {
		w.probed[addr]++
	} else {
		w.failed[addr]++
	}
	if st.State == "in sync" && w.Family().OffsetsProve && st.Offset <= 0 {
		w.Errorf("%s is in sync at offset %d", addr, st.Offset)
	}
	if b, ok := w.bans[addr]; ok && o.Err == nil && o.Asked >= b.since && (st.State == "in sync" || b.readable && st.Readable) {
		w.Errorf("%s is %q, readable %t: %s; its evidence is from %s after the ban", addr, st.State, st.Readable, st.Reason,
			time.Duration(o.Asked-b.since))
	}
}

func (w *watched) Family() *dialect.Family { return w.cfg.Family }

// node is the status of a node.
func (w *watched) node(addr string) NodeStatus {
	st, ok := w.find(addr)
	if !ok {
		w.Errorf("no status of %s", addr)
	}
	return st
}

// find is node of a node that may have left the group.
func (w *watched) find(addr string) (NodeStatus, bool) {
	for _, n := range w.Status().Groups[0].Nodes {
		if n.Addr == addr {
			return n, true
		}
	}
	return NodeStatus{}, false
}

// await waits until a node is in a state, and its reason has a part.
func (w *watched) await(addr, state string, reason ...string) NodeStatus {
	w.Helper()
	var st NodeStatus
	testbed.Eventually(w, func() error {
		st = w.node(addr)
		if st.State != state {
			return fmt.Errorf("%s is %q (%s), want %q", addr, st.State, st.Reason, state)
		}
		for _, part := range reason {
			if !strings.Contains(st.Reason, part) {
				return fmt.Errorf("%s is %q: %q, want %q in it", addr, state, st.Reason, part)
			}
		}
		return nil
	}, patience)
	if n := w.nodes[addr]; state == "in sync" && n.Proof() == nil && w.node(addr).State == state {
		w.Errorf("%s is in sync, and its node has no proof", addr)
	}
	return st
}

// awaitUnreadable waits until a node may not be read.
func (w *watched) awaitUnreadable(addr string) {
	w.Helper()
	testbed.Eventually(w, func() error {
		if st := w.node(addr); st.Readable || w.nodes[addr].Proof() != nil {
			return fmt.Errorf("%s is readable: %s: %s", addr, st.State, st.Reason)
		}
		return nil
	}, patience)
}

// ban says that from now on nothing a node answers may make it in sync, or readable either, until allow. From here
// on it must not come to be in sync by anything else. A ban may be made stricter by another one.
func (w *watched) ban(addr string, readable bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark := w.mark()
	if before, ok := w.bans[addr]; ok {
		mark = before.mark
	}
	w.bans[addr] = ban{since: clock.Now(), readable: readable, mark: mark}
}

func (w *watched) allow(addr string) {
	w.Helper()
	w.mu.Lock()
	b := w.bans[addr]
	delete(w.bans, addr)
	w.mu.Unlock()
	for _, e := range w.events(addr, b.mark) {
		if e.To == "in sync" {
			w.Errorf("%s came to be in sync: %s -> %s: %s", addr, e.From, e.To, e.Reason)
		}
	}
}

// mark is the newest event.
func (w *watched) mark() uint64 {
	if events := w.journal.Since(0, 1); len(events) > 0 {
		return events[0].ID
	}
	return 0
}

// events are the states that a node has come to since a mark.
func (w *watched) events(addr string, mark uint64) []Event {
	var found []Event
	for _, e := range w.journal.Since(mark, 1<<30) {
		if e.Node == addr && e.Kind == "state" {
			found = append(found, e)
		}
	}
	return found
}

// awaitEvent waits until the journal has an event of a kind whose reason has a part.
func (w *watched) awaitEvent(mark uint64, kind, addr, reason string) {
	w.Helper()
	testbed.Eventually(w, func() error {
		for _, e := range w.journal.Since(mark, 1<<30) {
			if e.Kind == kind && e.Node == addr && strings.Contains(e.Reason, reason) {
				return nil
			}
		}
		return fmt.Errorf("no event %s of %s with %q", kind, addr, reason)
	}, patience)
}

// awaitProbes waits until all nodes that answer have answered some more probes.
func (w *watched) awaitProbes(more int, addrs ...string) {
	w.Helper()
	w.awaitMore(w.probed, func() {}, more, addrs...)
}

// awaitProbesOf is awaitProbes from what ask does on.
func (w *watched) awaitProbesOf(ask func(), more int, addrs ...string) {
	w.Helper()
	w.awaitMore(w.probed, ask, more, addrs...)
}

// awaitFailures waits until some more probes of nodes have failed. Behind the second one of a node that has fallen
// silent no probe is left that was answered before.
func (w *watched) awaitFailures(more int, addrs ...string) {
	w.Helper()
	w.awaitMore(w.failed, func() {}, more, addrs...)
}

// awaitMore waits until counts have grown by so many, from the call of ask on.
func (w *watched) awaitMore(counts map[string]int, ask func(), more int, addrs ...string) {
	w.Helper()
	w.mu.Lock()
	before := maps.Clone(counts)
	w.mu.Unlock()
	ask()
	testbed.Eventually(w, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, addr := range addrs {
			if n := counts[addr] - before[addr]; n < more {
				return fmt.Errorf("%d probes of %s, want %d", n, addr, more)
			}
		}
		return nil
	}, patience)
}

// awaitOrphan waits until a replica of a silent master is read no more, since what it has is older than orphanLag,
// which counts from now on.
func (w *watched) awaitOrphan(p plan, addr string) {
	w.Helper()
	w.maxLag(p, orphanLag)
	testbed.Eventually(w, func() error {
		st := w.node(addr)
		if st.State != "lagging" || st.Readable || !strings.Contains(st.Reason, "the master does not answer; the data is ") {
			return fmt.Errorf("%s, readable %t: %s", st.State, st.Readable, st.Reason)
		}
		if st.Lag >= 0 && st.Lag <= orphanLag {
			w.Fatalf("not readable at a lag of %s", st.Lag)
		}
		return nil
	}, patience)
	w.awaitUnreadable(addr)
}

// writer writes ascending numbers to a key, and remembers when each was acknowledged.
type writer struct {
	mu    sync.Mutex
	acked []int64 // the time of number i
	stop  func()
}

// startWriter writes every few milliseconds, with set, until stop or the end of the test.
func startWriter(t *testing.T, set func(value string) error) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	wr := &writer{}
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := set(strconv.Itoa(i)); err != nil {
				if ctx.Err() == nil {
					t.Errorf("SET: %v", err)
				}
				return
			}
			wr.mu.Lock()
			wr.acked = append(wr.acked, clock.Now())
			wr.mu.Unlock()
		}
	})
	wr.stop = func() { cancel(); work.Wait() }
	t.Cleanup(wr.stop)
	return wr
}

// before is the number of the last write that was acknowledged before an instant, -1 if none was.
func (wr *writer) before(instant int64) int {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	i := len(wr.acked) - 1
	for ; i >= 0 && wr.acked[i] >= instant; i-- {
	}
	return i
}

// checkMark compares a replica's watermark with what it has, read after the proof was taken. It reports whether there
// was a proof.
func (w *watched) checkMark(addr string, wr *writer, get func() string) bool {
	w.Helper()
	p := w.nodes[addr].Proof()
	if p == nil || p.CaughtUpTo == 0 {
		return false
	}
	want := wr.before(p.CaughtUpTo)
	has, err := strconv.Atoi(get())
	if err != nil {
		has = -1
	}
	if has < want {
		w.Errorf("%s has write %d, and its watermark says %d, which was acknowledged %s before it", addr, has, want,
			time.Duration(p.CaughtUpTo-wr.acked[want]))
	}
	return true
}

// checkMarks is checkMark ten times, with new evidence each time, of a replica that is in sync.
func (w *watched) checkMarks(addr string, wr *writer, get func() string) {
	w.Helper()
	for range 10 {
		w.awaitProbes(1, addr)
		if !w.checkMark(addr, wr, get) {
			w.Errorf("no watermark: %+v", w.node(addr))
		}
	}
}
