package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// served is a sluice serve process with one pool.
type served struct {
	*running
	file  string
	addr  string
	admin string
}

// configFor is a configuration with two groups that divide 1024 slots at cut.
func configFor(a, b string, cut int) string {
	return fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[pool.backend]
request_timeout = "5s"
[[pool.group]]
id = "1"
master = %q
slots = "0-%d"
[[pool.group]]
id = "2"
master = %q
slots = "%d-1023"
`, a, cut, b, cut+1)
}

// clusterPool is a configuration with a pool that follows a cluster. The rest goes behind the seeds: more of
// [pool.discovery], and other tables of the pool.
func clusterPool(rest string, seeds ...string) string {
	return fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "cluster"
[pool.discovery]
kind = "cluster"
seeds = ["%s"]
%s`, strings.Join(seeds, `", "`), rest)
}

func serve(t *testing.T, config string) *served {
	t.Helper()
	s := &served{file: filepath.Join(t.TempDir(), "sluice.toml")}
	write(t, s.file, config)
	s.running = start(t, "serve", "--config", s.file)
	s.waitFor(t, "sluice is up")
	s.addr = s.find(t, `msg=listening pool=main addr=(\S+)`)
	s.admin = "http://" + s.find(t, `admin=(\S+)`)
	return s
}

func (s *served) find(t *testing.T, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(s.out.String())
	if m == nil {
		t.Fatalf("no %s in the output", pattern)
	}
	return m[1]
}

func TestServeAnswersAndDrains(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	s := serve(t, configFor(a.Addr(), b.Addr(), 511))
	conn := connect(t, s.addr)
	if got := do(t, conn, "SET foo bar"); got != "+OK" {
		t.Fatal(got)
	}
	if got := do(t, conn, "GET foo"); got != "bar" {
		t.Fatal(got)
	}

	// A request that is in flight when SIGTERM comes is answered; the server is frozen so that it is. "foo"
	// hashes to slot 289, group 1.
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET foo\r\n"); err != nil {
		t.Fatal(err)
	}
	inFlight := func() error {
		if _, body := get(t, s.admin+"/api/v1/stats"); !strings.Contains(body, `"requests_in_flight": 1`) {
			return fmt.Errorf("not in flight: %s", body)
		}
		return nil
	}
	testbed.Eventually(t, inFlight, 10*time.Second)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, "draining")
	testbed.Eventually(t, func() error {
		if code, body := get(t, s.admin+"/-/ready"); code != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	}, 10*time.Second)
	if err := a.Cont(); err != nil {
		t.Fatal(err)
	}
	if got := readReply(t, bufio.NewReader(conn)); got != "bar" {
		t.Errorf("the request in flight was answered %q", got)
	}
	if err := <-s.done; err != nil {
		t.Errorf("exit: %v", err)
	}
}

func TestReloadMovesSlotsUnderClients(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	s := serve(t, configFor(a.Addr(), b.Addr(), 511))
	conn := connect(t, s.addr)
	if got := do(t, conn, "SET foo one"); got != "+OK" { // Slot 289, group 1.
		t.Fatal(got)
	}

	write(t, s.file, configFor(a.Addr(), b.Addr(), 100))
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, "configuration reloaded")
	s.waitFor(t, "epoch=2")
	if got := do(t, conn, "GET foo"); got != "$-1" {
		t.Errorf("foo is still asked from group 1: %q", got)
	}

	write(t, s.file, configFor(a.Addr(), b.Addr(), 511))
	code, body := ask(t, http.MethodPost, s.admin+"/-/reload")
	if code != http.StatusOK || !strings.Contains(body, "slots") {
		t.Fatalf("%d %s", code, body)
	}
	s.waitFor(t, "epoch=3")
	if got := do(t, conn, "GET foo"); got != "one" {
		t.Errorf("foo: %q", got)
	}

	write(t, s.file, strings.Replace(configFor(a.Addr(), b.Addr(), 5), "slots = \"6-1023\"", "slots = \"9-1023\"", 1))
	code, body = ask(t, http.MethodPost, s.admin+"/-/reload")
	if code != http.StatusUnprocessableEntity || !strings.Contains(body, "6-8") {
		t.Errorf("an uncovered range was taken: %d %s", code, body)
	}
	if got := do(t, conn, "GET foo"); got != "one" {
		t.Errorf("foo after a refused reload: %q", got)
	}

	write(t, s.file, strings.Replace(configFor(a.Addr(), b.Addr(), 511), `admin = "127.0.0.1:0"`, `loops = 2`, 1))
	code, body = ask(t, http.MethodPost, s.admin+"/-/reload")
	var reply struct {
		Restart []string `json:"needs_restart"`
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil || code != http.StatusOK || len(reply.Restart) != 2 {
		t.Errorf("loops and admin need a restart: %d %s", code, body)
	}
}

// Another number of slots needs a restart, and what the groups have of them waits for it: until then each key is where it was.
func TestReloadWithOtherSlotsChangesNothing(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	config := configFor(a.Addr(), b.Addr(), 511)
	s := serve(t, config)
	conn := connect(t, s.addr)
	read := func(when string) {
		t.Helper()
		for i := range 100 {
			key := fmt.Sprint("key:", i)
			if got := do(t, conn, "GET "+key); got != key {
				t.Fatalf("%s, %s is %q", when, key, got)
			}
		}
	}
	for i := range 100 {
		do(t, conn, fmt.Sprintf("SET key:%d key:%d", i, i))
	}
	read("before")
	for _, slots := range []struct{ n, cut, last int }{{512, 255, 511}, {2, 0, 1}, {2048, 511, 2047}} {
		write(t, s.file, strings.NewReplacer(
			`slot_model = "codis"`, fmt.Sprintf("slot_model = \"codis\"\nslots = %d", slots.n),
			`"0-511"`, fmt.Sprintf(`"0-%d"`, slots.cut), `"512-1023"`, fmt.Sprintf(`"%d-%d"`, slots.cut+1, slots.last),
		).Replace(config))
		code, body := ask(t, http.MethodPost, s.admin+"/-/reload")
		var answer struct {
			Applied []string
			Restart []string `json:"needs_restart"`
			Errors  []string
		}
		err := json.Unmarshal([]byte(body), &answer)
		change := fmt.Sprintf("pool.main.slots: 1024 -> %d", slots.n)
		if err != nil || code != http.StatusUnprocessableEntity || len(answer.Applied) > 0 || len(answer.Restart) != 1 || answer.Restart[0] != change {
			t.Errorf("%d slots: %d %s", slots.n, code, body)
		}
		for _, want := range []string{"nothing was applied", "goes with pool.main.slots", change + ": needs a restart"} {
			if text := strings.Join(answer.Errors, "\n"); !strings.Contains(text, want) {
				t.Errorf("no %q in %s", want, text)
			}
		}
		read(fmt.Sprintf("after a file with %d slots", slots.n))
	}
	if strings.Contains(s.out.String(), "configuration reloaded") {
		t.Error("the log says that it was reloaded")
	}
	// What does not need it is applied as soon as the file is in order again.
	write(t, s.file, strings.Replace(config, `"5s"`, `"6s"`, 1))
	if code, body := ask(t, http.MethodPost, s.admin+"/-/reload"); code != http.StatusOK || !strings.Contains(body, "pool.main.backend.request_timeout: 5s -\\u003e 6s") {
		t.Errorf("%d %s", code, body)
	}
	read("at the end")
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	s := serve(t, configFor(a.Addr(), b.Addr(), 511))
	conn := connect(t, s.addr)
	do(t, conn, "SET foo bar")
	do(t, conn, "NOSUCH")

	testbed.Eventually(t, func() error {
		if code, body := get(t, s.admin+"/-/ready"); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	}, 10*time.Second)
	f := func(path string, wants ...string) {
		t.Helper()
		code, body := get(t, s.admin+path)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in\n%s", path, want, body)
			}
		}
	}
	f("/-/healthy", "ok")
	f("/", "Sluice", "/metrics")
	f("/api/v1/topology", a.Addr(), `"slots": "0-511"`, `"version": "7.0.15"`)
	f("/api/v1/stats", `"requests": 2`, `"error_replies": 1`, `"set"`)
	f("/debug/pprof/", "goroutine")
	f("/metrics",
		"# TYPE sluice_request_duration_seconds histogram", `sluice_request_duration_seconds_bucket{le="+Inf"} 1`,
		`sluice_commands_total{cmd="set",result="ok"} 1`, "sluice_unknown_commands_total 1",
		`sluice_backend_up{pool="main",backend="`+a.Addr()+`"} 1`, "go_goroutines", "process_resident_memory_bytes")
	checkExposition(t, s.admin+"/metrics")

	for _, server := range []*testbed.Server{a, b} {
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	testbed.Eventually(t, func() error {
		if code, _ := get(t, s.admin+"/-/ready"); code != http.StatusServiceUnavailable {
			return fmt.Errorf("ready without a master: %d", code)
		}
		return nil
	}, 20*time.Second)
}

// checkExposition checks that the samples of a family stand together, once, behind their TYPE line.
func checkExposition(t *testing.T, url string) {
	t.Helper()
	_, body := get(t, url)
	family, ended := "", map[string]bool{}
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			ended[family] = true
			family = strings.Fields(rest)[0]
			if ended[family] {
				t.Errorf("family %s comes twice", family)
			}
		}
		if strings.HasPrefix(line, "sluice_") && !strings.HasPrefix(line, family) {
			t.Errorf("a sample outside its family: %s", line)
		}
	}
}

func TestServeFollowsARealCluster(t *testing.T) {
	t.Parallel()
	c := testbed.Cluster(t, 3, 0)
	s := serve(t, clusterPool("", c.Addrs()[0]))
	conn := connect(t, s.addr)
	if got := do(t, conn, "SET foo bar"); got != "+OK" { // Slot 12182.
		t.Fatal(got)
	}
	to := c.NodeOf(0)
	if to == c.NodeOf(12182) {
		t.Fatal("slots 0 and 12182 are on one node")
	}
	if err := c.MoveSlot(12182, to); err != nil {
		t.Fatal(err)
	}
	if got := do(t, conn, "GET foo"); got != "bar" {
		t.Errorf("after the move: %q", got)
	}
	testbed.Eventually(t, func() error {
		_, body := get(t, s.admin+"/api/v1/topology")
		var topology struct {
			Pools []struct {
				Groups []struct {
					Slots  string
					Master struct{ Addr string }
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &topology); err != nil {
			return err
		}
		for _, g := range topology.Pools[0].Groups {
			if g.Master.Addr == to.Addr() && strings.Contains(g.Slots, "12182") {
				return nil
			}
		}
		return fmt.Errorf("slot 12182 is not listed at %s: %s", to.Addr(), body)
	}, 15*time.Second)
}

func TestUnixSocketIsReplacedOnlyWhenItsOwnerIsGone(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	path := filepath.Join(t.TempDir(), "s.sock")
	config := strings.Replace(configFor(a.Addr(), testbed.Redis(t).Addr(), 511), "tcp://127.0.0.1:0", "unix://"+path, 1)
	s := serve(t, config)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	second := filepath.Join(t.TempDir(), "second.toml")
	write(t, second, config)
	if _, stderr, exit := sluice(t, "serve", "-c", second); exit != 1 || !strings.Contains(stderr, "in use by another process") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	_ = s.end(t, syscall.SIGKILL) // Leaves the socket behind.
	serve(t, config)
}
