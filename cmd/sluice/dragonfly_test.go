package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
	"sluice/internal/testbed/fakedragonfly"
)

// dragonflies are masters behind a proxy; a has the lower half of the slots, b the rest.
type dragonflies struct {
	*served
	a, b *fakedragonfly.Server
}

var (
	lowerHalf  = []fakedragonfly.Range{{Start: 0, End: 8191}}
	upperHalf  = []fakedragonfly.Range{{Start: 8192, End: 16383}}
	lowerRest  = []fakedragonfly.Range{{Start: 1000, End: 8191}}
	movingPart = []fakedragonfly.Range{{Start: 0, End: 999}}
	upperMore  = []fakedragonfly.Range{{Start: 0, End: 999}, {Start: 8192, End: 16383}}
)

// serveDragonflies starts two of them and a proxy. settings come behind the pool's own.
func serveDragonflies(t *testing.T, opts fakedragonfly.Options, settings string) *dragonflies {
	t.Helper()
	return serveDragonfliesAt(t, opts, "+10", settings)
}

// serveDragonfliesAt is the same with another admin_port.
func serveDragonfliesAt(t *testing.T, opts fakedragonfly.Options, adminPort, settings string) *dragonflies {
	t.Helper()
	optsA, optsB := opts, opts
	optsA.ID, optsB.ID = "n1", "n2"
	d := &dragonflies{a: fakedragonfly.Start(t, optsA), b: fakedragonfly.Start(t, optsB)}
	d.push(t, d.rest())
	d.served = serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "cluster"
dialect = "dragonfly"
[pool.discovery]
kind = "cluster"
seeds = [%q, %q]
refresh = "100ms"
admin_port = %q
%s`, d.a.Addr(), d.b.Addr(), adminPort, settings))
	return d
}

func (d *dragonflies) rest() string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: lowerHalf, Master: d.a.Node()}, fakedragonfly.Shard{Slots: upperHalf, Master: d.b.Node()})
}

// there begins the migration of slots 0 to 999 from a to b, closed ends it; back is the way back, and rest ends that.
func (d *dragonflies) there() string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: lowerHalf, Master: d.a.Node(), Migrations: []fakedragonfly.Move{d.b.MoveTo(movingPart...)}},
		fakedragonfly.Shard{Slots: upperHalf, Master: d.b.Node()})
}

func (d *dragonflies) closed() string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: lowerRest, Master: d.a.Node()}, fakedragonfly.Shard{Slots: upperMore, Master: d.b.Node()})
}

func (d *dragonflies) back() string {
	return fakedragonfly.JSON(fakedragonfly.Shard{Slots: lowerRest, Master: d.a.Node()},
		fakedragonfly.Shard{Slots: upperMore, Master: d.b.Node(), Migrations: []fakedragonfly.Move{d.a.MoveTo(movingPart...)}})
}

// push gives all nodes a configuration through their admin ports, the target first.
func (d *dragonflies) push(t *testing.T, config string) {
	t.Helper()
	for _, s := range []*fakedragonfly.Server{d.b, d.a} {
		configure(t, s, config)
	}
}

func configure(t *testing.T, s *fakedragonfly.Server, config string) {
	t.Helper()
	conn := connect(t, s.AdminAddr())
	defer conn.Close()
	if got := doRaw(t, conn, fake.Bulks("DFLYCLUSTER", "CONFIG", config)); got != "+OK\r\n" {
		t.Fatalf("DFLYCLUSTER CONFIG: %q", got)
	}
}

// doRaw sends bytes and reads one short reply.
func doRaw(t *testing.T, conn net.Conn, request string) string {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// keyIn is a key with a slot in a range.
func keyIn(from, to int) string {
	for i := 0; ; i++ {
		if key := "key" + strconv.Itoa(i); fake.SlotOf(key) >= from && fake.SlotOf(key) <= to {
			return key
		}
	}
}

// poolStatus is the part of the admin API that these tests read.
type poolStatus struct {
	Source struct {
		Overrides int `json:"slots_by_moved"`
	}
	Groups []struct {
		Slots  string
		Master struct {
			Addr      string
			Available bool
		}
	}
}

func (s *served) pool(t *testing.T) poolStatus {
	t.Helper()
	_, body := get(t, s.admin+"/api/v1/topology")
	var topology struct{ Pools []poolStatus }
	if err := json.Unmarshal([]byte(body), &topology); err != nil || len(topology.Pools) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	return topology.Pools[0]
}

// shows waits until a page of the admin server has all the parts.
func (s *served) shows(t *testing.T, path string, parts ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		_, body := get(t, s.admin+path)
		for _, part := range parts {
			if !strings.Contains(body, part) {
				return fmt.Errorf("no %q in\n%s", part, body)
			}
		}
		return nil
	}, 30*time.Second)
}

func (s *served) overrides(t *testing.T, want func(n int) bool) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if n := s.pool(t).Source.Overrides; !want(n) {
			return fmt.Errorf("%d overrides", n)
		}
		return nil
	}, 30*time.Second)
}

func finished(t *testing.T, s *fakedragonfly.Server, n int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if got := s.Finished(); got < n {
			return fmt.Errorf("%d migrations have finished", got)
		}
		return nil
	}, 60*time.Second)
}

// Slots go to another Dragonfly and back under load, with a pause of everything at each hand-over.
func TestDragonflyMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{Pause: 100 * time.Millisecond}, "[pool.backend]\nrequest_timeout = \"30s\"\n[pool.hold]\nmax_wait = \"2m\"\n")
	cfg := check.Defaults(check.Full)
	cfg.Sessions.Pops, cfg.Sessions.Streams = 0, 0 // The fake interrupts nobody who is blocked, and moves no streams.
	cfg.Addr, cfg.Slot, cfg.WatchShare, cfg.Tagged = d.addr, check.ClusterSlot, 0.25, true
	cfg.Watch = func(key []byte) bool { return check.ClusterSlot(key) < 1000 }
	cfg.Undone = true // What was in flight when a migration began is answered so, seen up to the hand-over, and lost with it.
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	for range 2 {
		run.Mark("there")
		before := d.a.Finished()
		d.push(t, d.there())
		finished(t, d.a, before+1)
		warm(t, run)
		// The nodes show the old owner, MOVED wins.
		d.overrides(t, func(n int) bool { return n > 100 })
		d.shows(t, "/api/v1/migrations", `"state": "finished"`, `until they get the closing configuration`)
		moved := d.moved(t)
		warm(t, run)
		if more := d.moved(t) - moved; more > 500 {
			t.Errorf("%d redirects after the hand-over: the routes do not stay with the new owner", more)
		}
		d.push(t, d.closed())
		d.overrides(t, func(n int) bool { return n == 0 })
		warm(t, run)
		run.Mark("back")
		before = d.b.Finished()
		d.push(t, d.back())
		finished(t, d.b, before+1)
		warm(t, run)
		d.push(t, d.rest())
		d.overrides(t, func(n int) bool { return n == 0 })
		warm(t, run)
		if !testbed.Soak() {
			break
		}
	}
	report := run.Stop()
	t.Logf("%s", report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

func (s *served) moved(t *testing.T) int {
	t.Helper()
	_, body := get(t, s.admin+"/api/v1/stats")
	var stats struct {
		Moved int `json:"moved_followed"`
	}
	if err := json.Unmarshal([]byte(body), &stats); err != nil {
		t.Fatal(err)
	}
	return stats.Moved
}

// A node that is silent while it hands slots over is not dead: what was sent times out, what was not is held, and the
// breaker stays closed.
func TestDragonflyThatIsPausedIsNotDead(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.backend]\nrequest_timeout = \"50ms\"\nbreaker_failures = 2\nprobe_interval = \"1h\"\n[pool.hold]\nmax_wait = \"300ms\"\n")
	conn := connect(t, d.addr)
	key := keyIn(2000, 8191)
	if got := do(t, conn, "SET "+key+" v"); got != "+OK" {
		t.Fatal(got)
	}
	hold := d.a.Faults.Hold(fakedragonfly.Paused)
	defer hold.Release()
	d.push(t, d.there())
	d.shows(t, "/api/v1/migrations", `"state": "copying"`, `"source": "`+d.a.Addr()+`"`, `"target": "`+d.b.Addr()+`"`)
	d.shows(t, "/metrics", `sluice_migrations{pool="main",state="copying"} 1`)
	<-hold.Arrived()
	if got := do(t, conn, "SET "+key+" v"); !strings.Contains(got, "-ERR outcome unknown") {
		t.Errorf("a paused backend: %q", got)
	}
	seen := d.a.Calls("SET").Seen
	want := fmt.Sprintf("-TRYAGAIN slot %d is not served: backend %s is silent while slots migrate (held 0.3s)", fake.SlotOf(key), d.a.Addr())
	for range 3 {
		if got := do(t, conn, "SET "+key+" v"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if n := d.a.Calls("SET").Seen; n != seen {
		t.Errorf("%d more were sent", n-seen)
	}
	for _, g := range d.pool(t).Groups {
		if !g.Master.Available {
			t.Errorf("%s is taken for dead", g.Master.Addr)
		}
	}
	hold.Release()
	finished(t, d.a, 1)
	testbed.Eventually(t, func() error {
		if got := do(t, conn, "GET "+key); got != "v" {
			return errors.New(got)
		}
		return nil
	}, 10*time.Second)
}

// A restarted Dragonfly has no configuration: its requests wait until somebody gives it one.
func TestRestartedDragonflyIsWaitedFor(t *testing.T) {
	d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.backend]\nreconnect_max = \"50ms\"\nbreaker_open = \"50ms\"\n[pool.hold]\nmax_wait = \"2m\"\n")
	conn := connect(t, d.addr)
	key := keyIn(8192, 16383)
	if got := do(t, conn, "SET "+key+" v"); got != "+OK" {
		t.Fatal(got)
	}
	if err := d.b.Restart(); err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 1)
	other := connect(t, d.addr)
	go func() { answers <- do(t, other, "GET "+key) }()
	testbed.Eventually(t, func() error {
		if d.b.Calls("GET").Seen < 3 {
			return errors.New("it is not tried again")
		}
		return nil
	}, 20*time.Second)
	d.shows(t, "/metrics", `sluice_holds{pool="main",cause="no_master"} 1`)
	select {
	case got := <-answers:
		t.Fatalf("answered %q while the node has no configuration", got)
	default:
	}
	if got := do(t, conn, "SET "+keyIn(0, 8191)+" other"); got != "+OK" {
		t.Errorf("another node: %q", got)
	}
	configure(t, d.b, d.rest())
	select {
	case got := <-answers:
		if got != "v" {
			t.Errorf("%q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("not served once it has its configuration")
	}
}

// A master that was taken over points to itself until its next configuration.
func TestDragonflyThatPointsToItself(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.hold]\nmax_wait = \"300ms\"\n")
	d.a.TakenOver()
	key := keyIn(0, 8191)
	conn := connect(t, d.addr)
	if got := do(t, conn, "GET "+key); !strings.HasPrefix(got, "-TRYAGAIN slot") || !strings.Contains(got, "answered \"MOVED") {
		t.Errorf("%q", got)
	}
	if n := d.a.Calls("GET").Seen; n < 2 || n > 100 {
		t.Errorf("it was asked %d times", n)
	}
	d.push(t, d.closed())
	testbed.Eventually(t, func() error {
		if got := do(t, conn, "GET "+key); got != "$-1" {
			return errors.New(got)
		}
		return nil
	}, 10*time.Second)
}

// The target of a migration hangs: the source's keys hang with it, and nobody else's.
func TestHungTargetHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.backend]\nrequest_timeout = \"100ms\"\n")
	third := fakedragonfly.Start(t, fakedragonfly.Options{ID: "n3"})
	all := func(moves ...fakedragonfly.Move) string {
		return fakedragonfly.JSON(fakedragonfly.Shard{Slots: lowerHalf, Master: d.a.Node(), Migrations: moves},
			fakedragonfly.Shard{Slots: upperHalf, Master: d.b.Node()}, fakedragonfly.Shard{Slots: []fakedragonfly.Range{}, Master: third.Node()})
	}
	d.a.Do("SET", keyIn(0, 999), "v")
	hold := d.a.Faults.Hold(fakedragonfly.Sending)
	config := all(third.MoveTo(movingPart...))
	configure(t, third, config)
	d.push(t, config)
	<-hold.Arrived()
	// The target has no slot, and is found all the same.
	d.shows(t, "/api/v1/migrations", `"target": "`+third.Addr()+`"`, "\"target_side\": {\n            \"state\": \"SYNC\"")
	third.Faults.Freeze()
	hold.Release()
	testbed.Eventually(t, func() error {
		if third.Calls("FLUSHSLOTS").Running == 0 {
			return errors.New("nothing is being sent")
		}
		return nil
	}, 20*time.Second)
	conn := connect(t, d.addr)
	if got := do(t, conn, "GET "+keyIn(2000, 8191)); !strings.Contains(got, "-ERR timeout") {
		t.Errorf("the source: %q", got)
	}
	for range 20 {
		if got := do(t, conn, "SET "+keyIn(8192, 16383)+" v"); got != "+OK" {
			t.Errorf("another node: %q", got)
		}
	}
	d.shows(t, "/api/v1/migrations", "half known, the target does not answer")
	if code, _ := get(t, d.admin+"/-/healthy"); code != 200 {
		t.Errorf("the proxy is unwell: %d", code)
	}
	configure(t, d.a, all())
	testbed.Eventually(t, func() error {
		if got := do(t, conn, "GET "+keyIn(0, 999)); got != "v" {
			return errors.New(got)
		}
		return nil
	}, 10*time.Second)
	third.Faults.Thaw()
}

// What was never sent to a node that is paused may be asked again: it is held, and its client told so.
func TestRequestsThatDoNotReachAPausedDragonfly(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.backend]\ndial_timeout = \"100ms\"\nrequest_timeout = \"300ms\"\n[pool.hold]\nmax_wait = \"200ms\"\n")
	hold := d.a.Faults.Hold(fakedragonfly.Paused)
	defer hold.Release()
	d.push(t, d.there())
	<-hold.Arrived()
	d.shows(t, "/api/v1/migrations", `"state": "copying"`)
	key := keyIn(2000, 8191) // Nobody has a connection to the node yet.
	for range 3 {
		got := do(t, connect(t, d.addr), "SET "+key+" v")
		if want := fmt.Sprintf("backend %s is silent while slots migrate (held 0.", d.a.Addr()); !strings.HasPrefix(got, "-TRYAGAIN slot ") || !strings.Contains(got, want) {
			t.Errorf("%q", got)
		}
	}
	if n := d.a.Calls("SET").Seen; n != 0 {
		t.Errorf("%d were sent", n)
	}
	hold.Release()
	testbed.Eventually(t, func() error {
		if got := do(t, connect(t, d.addr), "SET "+key+" v"); got != "+OK" {
			return errors.New(got)
		}
		return nil
	}, 20*time.Second)
}
