package codis

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/discovery"
	"sluice/internal/leaktest"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
	"sluice/router"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// wait bounds all waiting; nothing that works takes that long.
const wait = 2 * time.Minute

// testSource is a Source with its Keeper, as a pool has it. mu guards the fields below it.
type testSource struct {
	*Source
	t      *testing.T
	addr   string // of the admin API
	keeper *discovery.Keeper
	stop   func()

	mu     sync.Mutex
	tables []*router.Table
	waits  []string // servers that fills have waited for
	ended  int      // times that the dashboard has shut it down
}

// startSource runs a Source at address, which may have port 0, until the test ends.
func startSource(t *testing.T, address string, change ...func(*Config)) *testSource {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &testSource{t: t, addr: ln.Addr().String()}
	cfg := Config{
		Product: "demo", ProxyAddr: "127.0.0.1:19000", Slots: 1024, Version: "test",
		Counters: func() Counters { return Counters{} },
		AwaitAnswered: func(_ context.Context, addrs []string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.waits = append(s.waits, strings.Join(addrs, " "))
			return nil
		},
		Shutdown: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ended++
		},
	}
	apply := func(table *router.Table) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tables = append(s.tables, table)
	}
	for _, f := range change {
		f(&cfg)
	}
	s.run(cfg, ln, apply)
	return s
}

// run starts Source and Keeper.
func (s *testSource) run(cfg Config, ln net.Listener, apply func(*router.Table)) {
	s.Source = New(cfg, ln)
	s.keeper = discovery.NewKeeper(discovery.Config{
		Model: router.CodisModel(cfg.Slots), Source: s.Source, Name: "codis", Apply: apply,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.keeper.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(s.stop)
}

// table is the newest one, nil before the first.
func (s *testSource) table() *router.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tables) == 0 {
		return nil
	}
	return s.tables[len(s.tables)-1]
}

func (s *testSource) applied() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tables)
}

// wants checks the newest table.
func (s *testSource) wants(want string) {
	s.t.Helper()
	if got := describe(s.table()); got != want {
		s.t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
}

// describe is a table in words: what is the matter with its slots, one line for neighbours that are in the same state.
func describe(table *router.Table) string {
	if table == nil {
		return "none"
	}
	var lines []string
	from, last := 0, ""
	for slot := range table.Model.Slots() + 1 {
		text := "end"
		if slot < table.Model.Slots() {
			text = describeSlot(table, router.Slot(slot))
		}
		if text == last {
			continue
		}
		if slot > 0 {
			lines = append(lines, fmt.Sprintf("%d-%d %s", from, slot-1, last))
		}
		from, last = slot, text
	}
	return strings.Join(lines, "\n")
}

func describeSlot(table *router.Table, slot router.Slot) string {
	text := "offline"
	if g := table.Owner(slot); g != nil {
		text = fmt.Sprintf("%s:%s", g.ID, g.Master.Addr)
		for _, r := range g.Replicas {
			text += " +" + r.Addr
		}
	}
	if m := table.Move(slot); m != nil {
		text += ", " + m.String()
		if m.From != nil {
			text += fmt.Sprintf(" at %s, %s", m.From.Addr, m.Method)
		}
	}
	return text
}

// answered is what an HTTP request has led to.
type answered struct {
	t    *testing.T
	what string
	code int
	body string
	head http.Header
}

// ask sends a request by hand; body is sent as it is.
func (s *testSource) ask(method, path, body string) answered {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(req)
}

func (s *testSource) do(req *http.Request) answered {
	s.t.Helper()
	client := http.Client{
		Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	rsp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = rsp.Body.Close() }()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answered{s.t, req.Method + " " + req.URL.Path, rsp.StatusCode, string(text), rsp.Header}
}

// api sends a request to a guarded path with the right password.
func (s *testSource) api(method, name, rest, body string) answered {
	s.t.Helper()
	return s.ask(method, "/api/proxy/"+name+"/"+s.xauth+rest, body)
}

// is checks status and body.
func (a answered) is(code int, parts ...string) {
	a.t.Helper()
	if a.code != code {
		a.t.Errorf("%s: status %d, want %d: %s", a.what, a.code, code, a.body)
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			a.t.Errorf("%s: no %q in %s", a.what, part, a.body)
		}
	}
}

// decode reads the body into v, which must have a field for everything in it.
func (a answered) decode(v any) {
	a.t.Helper()
	a.is(http.StatusOK)
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		a.t.Errorf("%s: %v in %s", a.what, err, a.body)
	}
}

// slotsJSON is a body for fillslots, as the dashboard writes it.
func slotsJSON(t *testing.T, slots ...dashboard.Slot) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "    ")
	if err := e.Encode(slots); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fillIn fills slots in, which must work.
func (s *testSource) fillIn(slots ...dashboard.Slot) {
	s.t.Helper()
	s.api(http.MethodPut, "fillslots", "", slotsJSON(s.t, slots...)).is(http.StatusOK, `"OK"`)
}

// owned is a slot of a group whose master is at addr.
func owned(slot, group int, addr string) dashboard.Slot {
	return dashboard.Slot{ID: slot, BackendAddr: addr, BackendAddrGroupID: group, ForwardMethod: int(dashboard.SemiAsync)}
}

// startDashboard runs a dashboard without pauses for the product of startSource.
func startDashboard(t *testing.T, change func(*dashboard.Options), groups ...dashboard.Group) *dashboard.Dashboard {
	t.Helper()
	opts := dashboard.Options{
		Product:    "demo",
		ErrorPause: 5 * time.Millisecond, IdlePause: 5 * time.Millisecond, StatsEvery: 20 * time.Millisecond,
	}
	if change != nil {
		change(&opts)
	}
	d := dashboard.Start(opts, groups...)
	t.Cleanup(d.Close)
	return d
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until got returns want.
func eventually[T comparable](t *testing.T, want T, got func() T) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if v := got(); v != want {
			return fmt.Errorf("%v, want %v", v, want)
		}
		return nil
	}, wait)
}

// bounded is the context of the test, which ends after wait.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

// receive takes a value that must come.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(wait):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
