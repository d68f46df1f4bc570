package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/discovery/replication"
	"sluice/internal/testbed"
)

// runCtl runs a command of sluice ctl in this process.
func runCtl(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, notes bytes.Buffer
	cmd := ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true // As the root command of main does.
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), notes.String(), err
}

// answering is an admin server that gives one answer, and returns its address.
func answering(t *testing.T, code int, kind, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const someGroups = `{"pools": [{"name": "main", "groups": [
  {"id": "1", "slots": "0-511", "nodes": [
    {"addr": "127.0.0.1:7001", "role": "master", "says": "master", "state": "serving", "reason": "", "available": true,
     "lag_seconds": 0, "lag_bytes": 0, "evidence_age_seconds": 0.25, "reads": 1200, "read_share": 0.25},
    {"addr": "127.0.0.1:7002", "role": "replica", "says": "replica", "state": "lagging", "reason": "12 s behind, 5 s are allowed",
     "available": true, "lag_seconds": 12.04, "lag_bytes": 1572864, "evidence_age_seconds": 0.3, "reads": 3600, "read_share": 0.75},
    {"addr": "127.0.0.1:7003", "role": "replica", "says": "unknown", "state": "unknown", "reason": "it\thas\u001b[2J not answered",
     "available": false, "error": "connection refused", "lag_seconds": null, "lag_bytes": null, "evidence_age_seconds": null,
     "reads": 0, "read_share": 0}]}]}]}`

func TestCtlGroupsPrintsATable(t *testing.T) {
	t.Parallel()
	addr := answering(t, 200, "application/json", someGroups)
	out, notes, err := runCtl(t, "groups", "--admin", addr)
	want := `GROUP  NODE            ROLE     STATE    LAG    BYTES  AGE    READS     REASON
1      127.0.0.1:7001  master   serving  0ms    0      250ms  1.2K 25%  -
1      127.0.0.1:7002  replica  lagging  12.0s  1.5M   300ms  3.6K 75%  12 s behind, 5 s are allowed
1      127.0.0.1:7003  replica  unknown  -      -      -      0 0%      it has [2J not answered; no requests are sent to it: connection refused
`
	if err != nil || notes != "" || out != want {
		t.Errorf("%v %s\n%s\nwant\n%s", err, notes, out, want)
	}
}

func TestCtlGroupsNamesPoolsWhenThereAreSeveral(t *testing.T) {
	t.Parallel()
	addr := answering(t, 200, "application/json", `{"pools": [{"name": "a", "groups": [{"id": "1", "nodes": [{"addr": "h:1"}]}]}, {"name": "b", "groups": []}]}`)
	out, _, err := runCtl(t, "groups", "--admin", addr)
	if err != nil || !strings.HasPrefix(out, "pool a\nGROUP") || !strings.Contains(out, "\n\npool b\nGROUP") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCtlAsksForWhatTheFlagsSay(t *testing.T) {
	var asked atomic.Pointer[url.URL]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"pools": [], "events": []}`)
	}))
	t.Cleanup(s.Close)
	f := func(want string, args ...string) {
		t.Helper()
		if _, _, err := runCtl(t, append(args, "-o", "json")...); err != nil || asked.Load().String() != want {
			t.Errorf("%v: %v, asked for %s", args, err, asked.Load())
		}
	}
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	f("/api/v1/groups?group=1+%26&pool=main", "groups", "--pool", "main", "--group", "1 &", "--admin", s.URL+"/")
	f("/api/v1/events?limit=7&since=3", "events", "--since", "3", "--limit", "7", "--admin", "0.0.0.0:"+port)
	t.Setenv("SLUICE_PROXY_ADMIN", ":"+port)
	f("/api/v1/groups", "groups")
}

func TestCtlPrintsJSONAsItCame(t *testing.T) {
	t.Parallel()
	for noun, body := range map[string]string{"groups": someGroups, "events": `{"events": [ {"id": 7} ]}`} {
		out, _, err := runCtl(t, noun, "-o", "json", "--admin", answering(t, 200, "application/json", body))
		if err != nil || out != body {
			t.Errorf("%s: %v\n%s", noun, err, out)
		}
	}
}

func TestCtlErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	f := func(want string, args ...string) {
		t.Helper()
		out, notes, err := runCtl(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || out != "" || notes != "" {
			t.Errorf("%v: %v, %q on stdout, %q on stderr", args, err, out, notes)
		}
	}
	for _, noun := range []string{"groups", "events"} {
		g := func(want string, code int, kind, body string) {
			t.Helper()
			f(want, noun, "--admin", answering(t, code, kind, body))
		}
		g(": 500 Internal Server Error (it broke); is that the admin server of a Sluice? Name another", 500, "text/plain", "it broke\nbadly")
		g("302 Found (it says no more); is that", 302, "text/plain", "")
		g("404: it does not know this; is that the admin server of a Sluice, and not an older one?", 404, "text/plain", "404 page not found")
		g(": limit: \"0\" is not", 400, "text/plain; charset=utf-8", "limit: \"0\" is not a whole number\n")
		g("the answer is text/html and not JSON; is that", 200, "text/html; charset=utf-8", "<h1>Consul</h1>")
		g("the answer can't be read: unexpected end of JSON input; is that", 200, "application/json", `{"pools": [`)
		g("in it; is that", 200, "application/json", `{"leader": true}`)
		f("connection refused; is Sluice running, and is its [proxy] admin address 127.0.0.1:", noun, "--admin", freeAddr(t))
		f(`--admin "localhost" is not HOST:PORT, such as 127.0.0.1:6381`, noun, "--admin", "localhost")
		f(`--admin "127.0.0.1:0" is not HOST:PORT`, noun, "--admin", "127.0.0.1:0")
		f(`--output "yaml" is not known; it is one of table, json`, noun, "-o", "yaml")
		f("the connection was closed without an answer; is Sluice running", noun, "--admin", testbed.Redis(t).Addr())
	}
	empty := answering(t, 200, "application/json", `{"pools": [{"name": "main", "groups": []}]}`)
	f("nothing is known of the groups yet", "groups", "--admin", empty)
	f(`nothing is known of a group "9"`, "groups", "--admin", empty, "--group", "9")
	f(`there is no pool "x"`, "groups", "--admin", answering(t, 200, "application/json", `{"pools": []}`), "--pool", "x")
}

func freeAddr(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
}

func TestCtlGivesUpOnASilentServer(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(gone) })
	_, _, err := runCtl(t, "groups", "--admin", s.Listener.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "no answer within 5s; is Sluice running") {
		t.Error(err)
	}
}

func TestCtlWithoutSluiceIsOneLineAndExitCodeOne(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	out, notes, exit := sluice(t, "ctl", "groups", "--admin", addr)
	want := "sluice: GET http://" + addr + "/api/v1/groups: dial tcp " + addr + ": connect: connection refused; " +
		"is Sluice running, and is its [proxy] admin address " + addr + "? Name another with --admin\n"
	if exit != 1 || out != "" || notes != want {
		t.Errorf("exit %d\n%s%s", exit, out, notes)
	}
	if _, notes, exit = sluice(t, "ctl", "grups"); exit != 1 || notes != "sluice: ctl has no command \"grups\"; see sluice ctl --help\n" {
		t.Errorf("exit %d\n%s", exit, notes)
	}
}

// journal answers /api/v1/events from one that can be exchanged.
type journal struct {
	*httptest.Server
	events atomic.Pointer[replication.Journal]
	broken atomic.Bool
	asked  atomic.Int64
}

func newJournal(t *testing.T, capacity int) *journal {
	t.Helper()
	j := new(journal)
	j.events.Store(replication.NewJournal(capacity))
	j.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer j.asked.Add(1)
		if j.broken.Load() {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		since, _ := strconv.ParseUint(r.FormValue("since"), 10, 64)
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"events": append([]replication.Event{}, j.events.Load().Since(since, limit)...)})
	}))
	t.Cleanup(j.Close)
	return j
}

func (j *journal) add(reasons ...string) {
	for _, reason := range reasons {
		j.events.Load().Add(replication.Event{
			Pool: "main", Group: "1", Node: "127.0.0.1:7002", Kind: "state", From: "in sync", To: "lagging", Reason: reason,
		})
	}
}

func TestCtlEventsPrintsATable(t *testing.T) {
	t.Parallel()
	j := newJournal(t, 0)
	at := time.Date(2026, 11, 21, 9, 8, 7, 0, time.Local)
	j.events.Load().Add(replication.Event{Time: at, Pool: "main", Group: "1", Node: "127.0.0.1:7001", Kind: "master", From: "127.0.0.1:7000", To: "127.0.0.1:7001", Reason: "a failover"})
	j.events.Load().Add(replication.Event{Time: at, Pool: "main", Group: "1", Node: "127.0.0.1:7002", Kind: "state", From: "catching up", To: "in sync", Reason: "0.4 s behind"})
	j.events.Load().Add(replication.Event{Time: at, Pool: "main", Group: "1", Node: "127.0.0.1:7002", Kind: "evidence"})
	out, _, err := runCtl(t, "events", "--admin", j.URL)
	want := `ID    TIME                GROUP     NODE                  CHANGE                 REASON
1     2026-11-21 09:08:07 main/1    127.0.0.1:7001        master 127.0.0.1:7000 -> 127.0.0.1:7001 a failover
2     2026-11-21 09:08:07 main/1    127.0.0.1:7002        catching up -> in sync 0.4 s behind
3     2026-11-21 09:08:07 main/1    127.0.0.1:7002        evidence               -
`
	if err != nil || out != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// following is sluice ctl events --follow in this process.
type following struct {
	out, notes output
	cancel     context.CancelFunc
	done       chan error
}

func follow(t *testing.T, args ...string) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{cancel: cancel, done: make(chan error, 1)}
	cmd := ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(append([]string{"events", "--follow"}, args...))
	cmd.SetOut(&f.out)
	cmd.SetErr(&f.notes)
	go func() { f.done <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(cancel)
	return f
}

// waitFor waits until what was printed names the events with these reasons, in this order and no others.
func (f *following) waitFor(t *testing.T, reasons ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		var got []string
		for line := range strings.Lines(f.out.String()) {
			if fields := strings.Fields(line); fields[0] != "ID" {
				got = append(got, fields[len(fields)-1])
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(reasons) {
			return fmt.Errorf("%v, want %v", got, reasons)
		}
		return nil
	}, 20*time.Second)
}

func (f *following) waitForNote(t *testing.T, want string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if !strings.Contains(f.notes.String(), want) {
			return fmt.Errorf("no %q in %q", want, f.notes.String())
		}
		return nil
	}, 20*time.Second)
}

func TestCtlFollowsEventsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	j := newJournal(t, 3)
	j.add("a", "b", "c")
	f := follow(t, "--admin", j.URL, "--limit", "2")
	f.waitFor(t, "b", "c")
	j.add("d")
	f.waitFor(t, "b", "c", "d")

	j.broken.Store(true)
	f.waitForNote(t, "503 Service Unavailable (out of order)")
	j.add("e", "f", "g", "h") // The ring keeps three of them.
	j.broken.Store(false)
	f.waitFor(t, "b", "c", "d", "f", "g", "h")
	f.waitForNote(t, "it answers again\nsluice: 1 events in between are not kept\n")

	fresh := replication.NewJournal(3)
	fresh.Add(replication.Event{Reason: "i"})
	j.events.Store(fresh)
	f.waitFor(t, "b", "c", "d", "f", "g", "h", "i")
	f.waitForNote(t, "it was started again")

	f.cancel()
	if err := <-f.done; err != nil {
		t.Errorf("the end of the context is an error: %v", err)
	}
	if n := strings.Count(f.notes.String(), "\n"); n != 4 {
		t.Errorf("%d notes:\n%s", n, f.notes.String())
	}
}

func TestCtlFollowsFromTheFirstEventOn(t *testing.T) {
	t.Parallel()
	j := newJournal(t, 0)
	f := follow(t, "--admin", j.URL)
	testbed.Eventually(t, func() error {
		if j.asked.Load() < 2 {
			return errors.New("not asked twice")
		}
		return nil
	}, 20*time.Second)
	j.add("a")
	f.waitFor(t, "a")
	j.add("b")
	f.waitFor(t, "a", "b")
	f.cancel()
	if err := <-f.done; err != nil || f.notes.String() != "" {
		t.Errorf("%v, %s", err, f.notes.String())
	}
}

func TestCtlFollowsWithOneEventPerLine(t *testing.T) {
	t.Parallel()
	j := newJournal(t, 0)
	j.add("a > b", "c")
	f := follow(t, "--admin", j.URL, "-o", "json", "--since", "1")
	testbed.Eventually(t, func() error {
		var e replication.Event
		if err := json.Unmarshal([]byte(f.out.String()), &e); err != nil {
			return err
		}
		if e.ID != 2 || e.Reason != "c" {
			return fmt.Errorf("printed %s", f.out.String())
		}
		return nil
	}, 20*time.Second)
	f.cancel()
	if err := <-f.done; err != nil {
		t.Error(err)
	}
}
