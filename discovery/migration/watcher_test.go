package migration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/control"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/internal/testbed/fakedragonfly"
	"sluice/router"
)

// watched is a Watcher that runs until the test ends. mu guards the fields below it.
type watched struct {
	*Watcher
	logs *lockedLog

	mu      sync.Mutex
	table   *router.Table
	patient map[string]bool
}

type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *watched) setTable(t *testing.T, model router.Model, spec router.Spec) {
	t.Helper()
	table, err := router.NewBuilder(model).Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table = table
}

func watch(t *testing.T, cfg Config) *watched {
	t.Helper()
	w := &watched{patient: map[string]bool{}, logs: new(lockedLog)}
	cfg.Log = slog.New(slog.NewTextHandler(w.logs, nil))
	cfg.Busy, cfg.Idle = 5*time.Millisecond, 5*time.Millisecond
	cfg.Table = func() *router.Table {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.table
	}
	cfg.Patience = func(addr string, patient bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.patient[addr] = patient
	}
	w.Watcher = NewWatcher(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// sees waits until the status is as wanted.
func (w *watched) sees(t *testing.T, cond func(Status) error) {
	t.Helper()
	testbed.Eventually(t, func() error {
		st := w.Status()
		if err := cond(st); err != nil {
			return fmt.Errorf("%w: %+v", err, st)
		}
		return nil
	}, 20*time.Second)
}

// first waits until the first migration is in a state and satisfies more.
func (w *watched) first(t *testing.T, state State, more func(m Migration) bool) {
	t.Helper()
	w.sees(t, func(st Status) error {
		if len(st.Migrations) == 0 || st.Migrations[0].State != state || !more(st.Migrations[0]) {
			return fmt.Errorf("not %s as wanted", state)
		}
		return nil
	})
}

func anyway(Migration) bool { return true }

// patience waits until these nodes, and no others, are patient.
func (w *watched) patience(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	testbed.Eventually(t, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		got := slices.DeleteFunc(slices.Sorted(maps.Keys(w.patient)), func(addr string) bool { return !w.patient[addr] })
		if !slices.Equal(got, want) {
			return fmt.Errorf("patient with %v, want %v", got, want)
		}
		return nil
	}, 20*time.Second)
}

var (
	left   = []fakedragonfly.Range{{Start: 0, End: 8191}}
	right  = []fakedragonfly.Range{{Start: 8192, End: 16383}}
	moving = []fakedragonfly.Range{{Start: 0, End: 99}}
)

// dragonflies starts two and a Watcher that knows both; table says whether b has slots.
func dragonflies(t *testing.T, status fakedragonfly.StatusForm, password, admin string, opts fakedragonfly.Options) (a, b *fakedragonfly.Server, w *watched) {
	t.Helper()
	opts.Status, opts.Password = status, password
	opts.ID = "n1"
	a = fakedragonfly.Start(t, opts)
	opts.ID = "n2"
	b = fakedragonfly.Start(t, opts)
	push(t, password, rest(a, b), a, b)
	w = watch(t, Config{Family: "dragonfly", Access: Access{Password: password, AdminPort: admin, Timeout: time.Second}})
	w.setTable(t, router.ClusterModel(), router.Spec{Groups: []router.GroupSpec{
		{ID: "1", Master: a.Addr(), Slots: []router.Range{{From: 0, To: 8191}}},
		{ID: "2", Master: b.Addr(), Slots: []router.Range{{From: 8192, To: 16383}}},
	}})
	w.sees(t, func(st Status) error {
		if st.Checked.IsZero() || len(st.Silent) > 0 || len(st.Migrations) > 0 {
			return errors.New("not quiet")
		}
		return nil
	})
	return a, b, w
}

func rest(a, b *fakedragonfly.Server) string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: left, Master: a.Node()}, fakedragonfly.Shard{Slots: right, Master: b.Node()})
}

func under(a, b *fakedragonfly.Server) string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: left, Master: a.Node(), Migrations: []fakedragonfly.Move{b.MoveTo(moving...)}},
		fakedragonfly.Shard{Slots: right, Master: b.Node()})
}

// closed ends the migration of under.
func closed(a, b *fakedragonfly.Server) string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: []fakedragonfly.Range{{Start: 100, End: 8191}}, Master: a.Node()},
		fakedragonfly.Shard{Slots: append(moving[:1:1], right...), Master: b.Node()})
}

// push sends a configuration through the admin ports, in the order of the servers.
func push(t *testing.T, password, config string, servers ...*fakedragonfly.Server) {
	t.Helper()
	for _, s := range servers {
		w := NewWatcher(Config{Family: "dragonfly", Access: Access{Password: password, Timeout: 20 * time.Second}})
		c, err := w.open(t.Context(), s.AdminAddr(), false)
		if err != nil {
			t.Fatal(err)
		}
		replies, err := c.ask([]string{"DFLYCLUSTER", "CONFIG", config})
		c.close()
		if err != nil || replies[0].Err() != nil {
			t.Fatalf("%v %v", replies, err)
		}
	}
}

func TestWatchesDragonfliesOfEveryVersion(t *testing.T) {
	t.Parallel()
	f := func(status fakedragonfly.StatusForm, password, slots string, progress bool) {
		t.Helper()
		a, b, w := dragonflies(t, status, password, "+10", fakedragonfly.Options{})
		a.Do("SET", "{06S}", "v") // Slot 0.
		hold := a.Faults.Hold(fakedragonfly.Paused)
		push(t, password, under(a, b), b, a)
		w.first(t, Copying, func(m Migration) bool {
			return m.Source == a.Addr() && m.Target == b.Addr() && m.Slots == slots && m.SourceSide.known() && m.TargetSide.known() &&
				(m.Progress != nil) == progress
		})
		w.patience(t, a.Addr(), b.Addr())
		hold.Release()
		if status == fakedragonfly.Status14 { // It has no word for the end.
			push(t, password, closed(a, b), b, a)
			w.first(t, Finished, anyway)
			return
		}
		w.first(t, Finished, func(m Migration) bool { return strings.Contains(m.Verdict, "closing configuration") })
		w.patience(t)
		push(t, password, closed(a, b), b, a)
		w.first(t, Finished, func(m Migration) bool { return !m.Ended.IsZero() })
	}
	f(fakedragonfly.Status14, "", "", false)
	f(fakedragonfly.Status17, "", "", false)
	f(fakedragonfly.Status21, "", "", true)
	f(fakedragonfly.Status22, "secret", "", true)
	f(fakedragonfly.Status39, "", "", true)
	f(fakedragonfly.Status40, "", "0-99", true)
}

// Only the port of the clients is silent in a finalisation.
func TestPatienceNeedsASignOfLife(t *testing.T) {
	a, b, w := dragonflies(t, fakedragonfly.Status39, "", "+10", fakedragonfly.Options{})
	a.Do("SET", "{06S}", "v")
	hold := a.Faults.Hold(fakedragonfly.Paused)
	defer hold.Release()
	push(t, "", under(a, b), b, a)
	w.patience(t, a.Addr(), b.Addr())
	looks := a.Calls("DFLYCLUSTER").Seen
	testbed.Eventually(t, func() error {
		if n := a.Calls("DFLYCLUSTER").Seen; n < looks+3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	}, 20*time.Second)
	w.patience(t, a.Addr(), b.Addr())
	b.Faults.Freeze()
	w.SetAccess(Access{AdminPort: "+10", Timeout: 50 * time.Millisecond})
	w.patience(t, a.Addr())
	w.first(t, Copying, func(m Migration) bool { return strings.HasPrefix(m.Verdict, "half known, the target does not answer") })
	b.Faults.Thaw()
	w.patience(t, a.Addr(), b.Addr())
}

// Without a port of its own the node can't give a sign of life; it is trusted for as long as a finalisation takes.
func TestPatienceWithoutAnAdminPort(t *testing.T) {
	a, b, w := dragonflies(t, fakedragonfly.Status39, "", "", fakedragonfly.Options{})
	a.Do("SET", "{06S}", "v")
	sending, paused := a.Faults.Hold(fakedragonfly.Sending), a.Faults.Hold(fakedragonfly.Paused)
	defer paused.Release()
	push(t, "", under(a, b), b, a)
	w.patience(t, a.Addr(), b.Addr())
	w.first(t, Copying, func(m Migration) bool { return m.SourceSide.State == "SYNC" })
	w.SetAccess(Access{Timeout: 20 * time.Millisecond})
	sending.Release()
	w.first(t, Copying, func(m Migration) bool { return m.SourceSide.Quiet != "" })
	w.patience(t, a.Addr(), b.Addr())
	// When the source was last heard of is longer ago than any finalisation takes.
	answers := []answer{{addr: a.Addr(), err: errors.New("silent")}, {addr: b.Addr()}}
	other := NewWatcher(Config{Family: "dragonfly", Access: Access{}})
	other.patient[a.Addr()] = time.Now().Add(patience)
	list := []Migration{{Source: a.Addr(), Target: b.Addr(), State: Copying}}
	other.keepPatience(list, answers, time.Now().Add(patience-time.Second))
	if _, ok := other.patient[a.Addr()]; !ok {
		t.Error("no patience any more, too early")
	}
	other.keepPatience(list, answers, time.Now().Add(patience+time.Second))
	if _, ok := other.patient[a.Addr()]; ok {
		t.Error("patience for ever")
	}
}

func TestErrorsAndEndsOfDragonflies(t *testing.T) {
	a, b, w := dragonflies(t, fakedragonfly.Status39, "", "+10",
		fakedragonfly.Options{RetryPause: 10 * time.Millisecond})
	a.Do("SET", "{06S}", "v")
	b.Kill()
	push(t, "", under(a, b), a)
	w.first(t, Connecting, func(m Migration) bool {
		return m.LastError == "Connection refused: Couldn't connect to source." && strings.Contains(m.Verdict, "being tried again, not failed") && m.Retries > 0
	})
	w.patience(t, a.Addr()) // The other one is dead.
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	push(t, "", under(a, b), b)
	w.first(t, Finished, func(m Migration) bool { return strings.Contains(m.Verdict, "is of an earlier attempt and over") })
	if !strings.Contains(w.logs.String(), `state=connecting err="Connection refused`) {
		t.Errorf("the log does not say what it waits for:\n%s", w.logs)
	}
	push(t, "", closed(a, b), b, a)
	w.first(t, Finished, func(m Migration) bool { return !m.Ended.IsZero() })
	push(t, "", rest(a, b), b, a)

	b.OutOfMemory(true)
	push(t, "", under(a, b), b, a)
	w.first(t, Failed, func(m Migration) bool {
		return strings.Contains(m.Verdict, `source: "Cannot allocate memory: INCOMING_MIGRATION_OOM", target: "INCOMING_MIGRATION_OOM"`)
	})
	w.patience(t)
	if !strings.Contains(w.logs.String(), "level=WARN") {
		t.Errorf("no warning:\n%s", w.logs)
	}
}

// What the nodes no longer speak of shows in who owns the slots: short migrations, cancelled ones, and those whose end
// an old configuration has undone.
func TestEndsShowInTheOwners(t *testing.T) {
	f := func(want State, change func(a, b *fakedragonfly.Server, w *watched)) {
		t.Helper()
		a, b, w := dragonflies(t, fakedragonfly.Status39, "", "+10", fakedragonfly.Options{})
		hold := a.Faults.Hold(fakedragonfly.Sending)
		defer hold.Release()
		push(t, "", under(a, b), b, a)
		w.first(t, Copying, anyway)
		change(a, b, w)
		w.first(t, want, func(m Migration) bool { return !m.Ended.IsZero() })
	}
	f(Cancelled, func(a, b *fakedragonfly.Server, _ *watched) { push(t, "", rest(a, b), b, a) })
	f(Finished, func(a, b *fakedragonfly.Server, _ *watched) { push(t, "", closed(a, b), b, a) }) // And nobody saw it finish.

	a, b, w := dragonflies(t, fakedragonfly.Status39, "", "+10", fakedragonfly.Options{})
	push(t, "", under(a, b), b, a)
	w.first(t, Finished, anyway)
	push(t, "", rest(a, b), b)
	alarmed := func(m Migration) bool {
		return strings.Contains(m.Verdict, "reverted: what clients wrote at the target since")
	}
	w.first(t, Reverted, func(m Migration) bool { return alarmed(m) && m.Ended.IsZero() }) // The target alone has it.
	push(t, "", rest(a, b), a)
	w.first(t, Reverted, func(m Migration) bool { return alarmed(m) && !m.Ended.IsZero() })
	if !strings.Contains(w.logs.String(), "level=ERROR") {
		t.Errorf("no alarm:\n%s", w.logs)
	}
}

func TestNodesThatDisagree(t *testing.T) {
	a, b, w := dragonflies(t, fakedragonfly.Status39, "", "+10", fakedragonfly.Options{})
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	w.sees(t, func(st Status) error {
		if !strings.Contains(st.Unfit[b.Addr()], "Cluster is not yet configured") {
			return errors.New("not known")
		}
		return nil
	})
	push(t, "", closed(a, b), b)
	want := fmt.Sprintf("%s and %s have different configurations: slot 0 belongs to n1 by the first, and to n2 by the second", a.Addr(), b.Addr())
	var d dispute
	answers := []answer{{addr: a.Addr(), owners: owners{"n1": {{From: 0, To: 9}}}}, {addr: b.Addr(), owners: owners{"n2": {{From: 0, To: 9}}}}}
	now := time.Now()
	for _, look := range []struct {
		after time.Duration
		want  string
	}{{0, ""}, {settleTime - 1, ""}, {settleTime, want}, {time.Hour, want}} {
		if got := d.compare(answers, now.Add(look.after)); got != look.want {
			t.Errorf("after %s: %q", look.after, got)
		}
	}
	if got := d.compare(answers[:1], now.Add(time.Hour)); got != "" {
		t.Errorf("%q", got)
	}
	if got := d.compare(answers, now.Add(time.Hour)); got != "" {
		t.Errorf("at once again: %q", got)
	}
}

// A plain Redis knows neither question.
func TestNodesThatKnowNoMigrationsAreRarelyAsked(t *testing.T) {
	server := testbed.Redis(t)
	w := watch(t, Config{Family: "redis", Access: Access{Timeout: time.Second}})
	w.setTable(t, router.CodisModel(16), router.Spec{Groups: []router.GroupSpec{{ID: "1", Master: server.Addr(), Slots: []router.Range{{To: 15}}}}})
	looks := func(n int) {
		t.Helper()
		for range n {
			before := w.Status().Checked
			w.sees(t, func(st Status) error {
				if !st.Checked.After(before) || len(st.Silent) > 0 || len(st.Migrations) > 0 {
					return errors.New("no look, or one that found something")
				}
				return nil
			})
		}
	}
	connections := func() string {
		t.Helper()
		for line := range strings.Lines(server.Do("INFO", "stats").String()) {
			if n, ok := strings.CutPrefix(line, "total_connections_received:"); ok {
				return n
			}
		}
		t.Fatal("no count of connections")
		return ""
	}
	looks(2)
	before := connections()
	looks(5)
	if now := connections(); now != before {
		t.Errorf("%s connections, %s before", now, before)
	}
}

func TestWatchesPika(t *testing.T) {
	a, b := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{Slots: 16}), fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{Slots: 16})
	w := watch(t, Config{Family: "pika", Access: Access{Timeout: time.Second}})
	groups := []router.GroupSpec{{ID: "1", Master: a.Addr()}, {ID: "2", Master: b.Addr(), Slots: []router.Range{{To: 15}}}}
	w.setTable(t, router.CodisModel(16), router.Spec{Groups: groups})
	slot := router.Slot(a.SlotOf("{x}"))
	for _, cmd := range [][]string{{"SET", "{x}k", "v"}, {"ZADD", "{x}short", "1.5", "m"}, {"ZADD", "{x}long", "1", "n", "0.1234567", "m"}, {"XADD", "{x}stream", "1-1", "f", "v"}} {
		if v := a.Do(cmd...); v.Error() != nil {
			t.Fatal(v.Error())
		}
	}
	w.sees(t, func(st Status) error {
		if st.Checked.IsZero() || len(st.Silent) > 0 {
			return errors.New("not asked")
		}
		return nil
	})
	if st := w.Status(); st.Lossy["zset"]+st.Lossy["stream"] > 0 {
		t.Errorf("%v before anything moves", st.Lossy)
	}
	w.setTable(t, router.CodisModel(16), router.Spec{Groups: groups, Moves: []router.MoveSpec{
		{Slots: []router.Range{{From: slot, To: slot}}, Phase: router.Moving, From: a.Addr(), FromID: "1"}}})
	lossy := func(zsets, streams uint64) {
		t.Helper()
		w.sees(t, func(st Status) error {
			if st.Lossy["zset"] != zsets || st.Lossy["stream"] != streams {
				return errors.New("another count")
			}
			return nil
		})
	}
	lossy(1, 1)
	if !strings.Contains(w.logs.String(), "Pika changes or can't move") {
		t.Errorf("no warning:\n%s", w.logs)
	}
	checked := w.Status().Checked
	w.sees(t, func(st Status) error {
		if st.Checked.Sub(checked) < 20*time.Millisecond {
			return errors.New("wait for some looks")
		}
		return nil
	})
	lossy(1, 1) // A slot is looked at once.

	hold := a.Faults.Hold(fakecodis.AsyncSend)
	defer hold.Release()
	batch := []string{"SLOTSMGRTTAGSLOT-ASYNC", "127.0.0.1", fmt.Sprint(b.Port()), "5000", "200", "1000000", fmt.Sprint(slot), "10"}
	go func() {
		c, err := w.open(context.Background(), a.Addr(), false)
		if err == nil {
			c.ask(batch)
			c.close()
		}
	}()
	w.first(t, Copying, func(m Migration) bool {
		return m.Source == a.Addr() && m.Target == b.Addr() && m.Slots == fmt.Sprint(slot)
	})
	if n := a.Calls("SLOTSMGRT-ASYNC-STATUS").Seen + b.Calls("SLOTSMGRT-ASYNC-STATUS").Seen; n != 0 {
		t.Errorf("SLOTSMGRT-ASYNC-STATUS was asked %d times: a batch that meets it is refused", n)
	}
}

func TestSilentNodeCostsOnlyItsOwnAnswer(t *testing.T) {
	a, b, w := dragonflies(t, fakedragonfly.Status39, "", "+10", fakedragonfly.Options{})
	b.Faults.Freeze()
	defer b.Faults.Thaw()
	w.SetAccess(Access{AdminPort: "+10", Timeout: 30 * time.Millisecond})
	w.sees(t, func(st Status) error {
		if len(st.Silent) != 1 || !strings.Contains(st.Silent[b.Addr()], "no answer in time") {
			return errors.New("who is silent?")
		}
		return nil
	})
	config := under(a, b)
	push(t, "", config, a)
	w.first(t, Connecting, func(m Migration) bool { return m.Source == a.Addr() && m.Target == b.Addr() })
}

func TestAdminAddr(t *testing.T) {
	f := func(port, addr, want string) {
		t.Helper()
		if got := (&Access{AdminPort: port}).AdminAddr(addr); got != want {
			t.Errorf("%q of %s: %s, want %s", port, addr, got, want)
		}
	}
	f("", "h:6379", "h:6379")
	f("9999", "h:6379", "h:9999")
	f("+10", "h:6379", "h:6389")
	f("+10", "[::1]:6379", "[::1]:6389")
	f("9999", "odd", "odd")
}

func TestNodesLines(t *testing.T) {
	got := parseNodes("n1 10.0.0.1:7000@17000,name myself,master - 0 0 0 connected 0-5\nn2 :7001@17001 master - 0 0 0 connected\nn3 [::1]:7002@7002 slave n1 0 0 0 connected\nn4 h:0@0 master,noaddr - 0 0 0 disconnected\n\n", "10.0.0.9")
	want := map[string]string{"n1": "10.0.0.1:7000", "n2": "10.0.0.9:7001", "n3": "[::1]:7002"}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestScoresThatLoseDigits(t *testing.T) {
	f := func(want bool, scores ...string) {
		t.Helper()
		var list []control.Value
		for _, s := range scores {
			list = append(list, control.Value{Text: "member"}, control.Value{Text: s})
		}
		if got := losesDigits(list); got != want {
			t.Errorf("%v: %v", scores, got)
		}
	}
	f(false)
	f(false, "1", "1.5", "0.10000000000000001", "inf", "-inf", "what")
	f(true, "1", "1.0000000000000001e-09")
	f(true, "123456789.12345679")
	f(true, "0.1234567")
}
