package codis

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed/dashboard"
)

// What a dashboard, codis-admin and the page of the dashboard read, by their names for it.
type (
	readRusage struct {
		Now string  `json:"now"`
		CPU float64 `json:"cpu"`
		Mem int64   `json:"mem"`
	}
	readOp struct {
		OpStr        string `json:"opstr"`
		Calls        int64  `json:"calls"`
		Usecs        int64  `json:"usecs"`
		UsecsPercall int64  `json:"usecs_percall"`
		Fails        int64  `json:"fails"`
		RedisErrType int64  `json:"redis_errtype"`
	}
	readStats struct {
		Online    bool `json:"online"`
		Closed    bool `json:"closed"`
		Sentinels struct {
			Servers  []string          `json:"servers"`
			Masters  map[string]string `json:"masters"`
			Switched bool              `json:"switched"`
		} `json:"sentinels"`
		Ops struct {
			Total int64 `json:"total"`
			Fails int64 `json:"fails"`
			Redis struct {
				Errors int64 `json:"errors"`
			} `json:"redis"`
			QPS int64    `json:"qps"`
			Cmd []readOp `json:"cmd"`
		} `json:"ops"`
		Sessions struct {
			Total int64 `json:"total"`
			Alive int64 `json:"alive"`
		} `json:"sessions"`
		Rusage  readRusage `json:"rusage"`
		Backend struct {
			PrimaryOnly bool `json:"primary_only"`
		} `json:"backend"`
	}
	readOverview struct {
		Version string            `json:"version"`
		Compile string            `json:"compile"`
		Config  map[string]string `json:"config"`
		Model   dashboard.Model   `json:"model"`
		Stats   readStats         `json:"stats"`
		Slots   []dashboard.Slot  `json:"slots"`
	}
)

func TestModel(t *testing.T) {
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.Slots = 512 })
	var m, again dashboard.Model
	s.ask(http.MethodGet, "/api/proxy/model", "").decode(&m)
	s.ask(http.MethodGet, "/proxy/model", "").decode(&again)
	if m != again {
		t.Errorf("%+v and %+v", m, again)
	}
	host, _ := os.Hostname()
	want := dashboard.Model{
		Token: m.Token, StartTime: m.StartTime, AdminAddr: s.addr, ProtoType: "tcp", ProxyAddr: "127.0.0.1:19000",
		ProductName: "demo", PID: os.Getpid(), PWD: m.PWD, Sys: m.Sys, Hostname: host, MaxSlotNum: 512,
	}
	if m != want || len(m.Token) != 32 || m.PWD == "" || m.Sys == "" {
		t.Errorf("model %+v, want %+v", m, want)
	}
	if _, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", m.StartTime); err != nil {
		t.Error(err)
	}
}

// The dashboard calls where the model says, so that must not be "every address".
func TestModelOfAListenerOnEveryAddress(t *testing.T) {
	f := func(admin, proxy, host, wantAdmin, wantProxy string) {
		t.Helper()
		m := Model{AdminAddr: admin, ProxyAddr: proxy}.seenAt(host)
		if m.AdminAddr != wantAdmin || m.ProxyAddr != wantProxy {
			t.Errorf("%s and %s seen at %q: %s and %s", admin, proxy, host, m.AdminAddr, m.ProxyAddr)
		}
	}
	f("[::]:11080", "0.0.0.0:19000", "10.0.0.5:11080", "10.0.0.5:11080", "10.0.0.5:19000")
	f("0.0.0.0:11080", ":19000", "proxy-1", "proxy-1:11080", "proxy-1:19000")
	f("[::]:11080", "", "[fd00::5]:80", "[fd00::5]:11080", "")
	f("10.0.0.6:11080", "10.0.0.6:19000", "10.0.0.5:11080", "10.0.0.6:11080", "10.0.0.6:19000")
	f("[::]:11080", "[::]:19000", "", "[::]:11080", "[::]:19000")

	cfg := Config{Product: "demo", ProxyAddr: "0.0.0.0:19000"}
	host, _ := os.Hostname()
	if got := newModel(&cfg, "[::]:11080").Token; got != token("demo", "0.0.0.0:19000", "[::]:11080", host) {
		t.Error("proxies on two hosts have one token")
	}
}

func TestXAuth(t *testing.T) {
	// printf %s 'Codis-XAuth-[demo]-[secret]-[00]' | sha256sum | head -c 32
	if got := XAuth("demo", "secret", "00"); got != "91320e84cadc1563e0d845bde569b0bc" {
		t.Error(got)
	}
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.Auth = "secret" })
	guarded := []string{
		"GET xping/X", "GET stats/X", "GET stats/X/1", "GET slots/X", "PUT start/X", "PUT stats/reset/X", "PUT forcegc/X",
		"PUT shutdown/X", "PUT loglevel/X/WARN", "PUT fillslots/X", "PUT sentinels/X", "PUT sentinels/X/rewatch",
	}
	for _, route := range guarded {
		method, path, _ := strings.Cut(route, " ")
		others := []string{
			"0", strings.Repeat("0", 32), XAuth("demo", "", s.model.Token), XAuth("other", "secret", s.model.Token),
		}
		for _, wrong := range others {
			s.ask(method, "/api/proxy/"+strings.Replace(path, "X", wrong, 1), "[]").
				is(800, `"Cause": "invalid xauth, please check product name & auth"`)
		}
	}
	if s.mu.Lock(); s.ended != 0 || s.online {
		t.Error("a stranger has changed something")
	}
	s.mu.Unlock()
	s.api(http.MethodGet, "xping", "", "").is(http.StatusOK, `"OK"`)
}

func TestOverviewAndSlots(t *testing.T) {
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) {
		cfg.Counters = func() Counters {
			return Counters{Requests: 10, Errors: 2, Clients: 5, Alive: 3, Commands: []CommandCounters{
				{Name: "get", Calls: 4, Failed: 1, Time: 2 * time.Millisecond}, {Name: "del"},
			}}
		}
	})
	a := s.ask(http.MethodGet, "/", "")
	a.is(http.StatusFound)
	if got := a.head.Get("Location"); got != "/proxy" {
		t.Errorf("/ leads to %s", got)
	}
	moving := dashboard.Slot{
		ID: 7, Locked: true, BackendAddr: "127.0.0.1:2", BackendAddrGroupID: 2, MigrateFrom: "127.0.0.1:1", MigrateFromGroupID: 1,
		ForwardMethod: 1, ReplicaGroups: [][]string{{"127.0.0.1:2"}, {"127.0.0.1:3", "127.0.0.1:4"}},
	}
	s.fillIn(owned(0, 1, "127.0.0.1:1"), moving)
	var o readOverview
	a = s.ask(http.MethodGet, "/proxy", "")
	a.decode(&o)
	if got := a.head.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("content type %s", got)
	}
	if o.Version != "test" || o.Compile == "" || o.Model.Token != s.model.Token ||
		o.Config["product_name"] != "demo" || o.Config["max_slot_num"] != "1024" {
		t.Errorf("overview: %+v", o)
	}
	wantCmd := []readOp{{OpStr: "GET", Calls: 4, Fails: 1, Usecs: 2000, UsecsPercall: 500}, {OpStr: "DEL"}}
	checkStats := func(st *readStats, cmd []readOp) {
		t.Helper()
		if st.Online || st.Closed || st.Sentinels.Servers != nil || st.Sentinels.Switched ||
			st.Ops.Total != 10 || st.Ops.Fails != 2 || st.Ops.Redis.Errors != 2 || st.Sessions.Total != 5 || st.Sessions.Alive != 3 ||
			st.Rusage.Now == "" || st.Rusage.Mem < 1<<20 || !slices.Equal(st.Ops.Cmd, cmd) {
			t.Errorf("stats: %+v", st)
		}
	}
	checkStats(&o.Stats, wantCmd)
	for _, path := range []string{"/proxy/stats", "/api/proxy/stats/" + s.xauth + "/1", "/api/proxy/stats/" + s.xauth + "/3"} {
		var st readStats
		s.ask(http.MethodGet, path, "").decode(&st)
		checkStats(&st, wantCmd)
	}
	for _, path := range []string{"", "/0", "/2"} {
		var st readStats
		s.api(http.MethodGet, "stats", path, "").decode(&st)
		checkStats(&st, nil)
	}
	s.api(http.MethodGet, "stats", "/x", "").is(800, `flags \"x\" are not a number`)

	var slots, guardedSlots []dashboard.Slot
	s.ask(http.MethodGet, "/proxy/slots", "").decode(&slots)
	s.api(http.MethodGet, "slots", "", "").decode(&guardedSlots)
	for _, list := range [][]dashboard.Slot{o.Slots, slots, guardedSlots} {
		if len(list) != 1024 || list[1].ID != 1 || list[1].BackendAddr != "" || list[0].BackendAddr != "127.0.0.1:1" {
			t.Fatalf("slots: %+v", list)
		}
		if got, want := slotsJSON(t, list[7]), slotsJSON(t, moving); got != want {
			t.Errorf("slot 7: %s, want %s", got, want)
		}
	}
}

func TestQPS(t *testing.T) {
	at := time.Unix(1000, 0)
	s := sample{}.next(at, 100, time.Second)
	if s.qps != 0 || s.cores != 0 {
		t.Errorf("a first look has rates: %+v", s)
	}
	if again := s.next(at.Add(900*time.Millisecond), 500, time.Minute); again != s {
		t.Errorf("a look after 0.9 s counts: %+v", again)
	}
	if s = s.next(at.Add(2*time.Second), 300, 2*time.Second); s.qps != 100 || s.cores != 0.5 {
		t.Errorf("200 requests and 1 s of CPU in 2 s: %+v", s)
	}
	if s = s.next(at.Add(3*time.Second), 3, 2*time.Second); s.qps != 0 {
		t.Errorf("a counter that goes back: %+v", s)
	}
}

func TestStartAndShutdown(t *testing.T) {
	s := startSource(t, "127.0.0.1:0")
	online := func() (st readStats) {
		t.Helper()
		s.ask(http.MethodGet, "/proxy/stats", "").decode(&st)
		return st
	}
	if st := online(); st.Online || st.Closed {
		t.Errorf("before start: %+v", st)
	}
	s.api(http.MethodPut, "start", "", "").is(http.StatusOK, `"OK"`)
	s.api(http.MethodPut, "start", "", "").is(http.StatusOK, `"OK"`)
	if st := online(); !st.Online || st.Closed {
		t.Errorf("after start: %+v", st)
	}
	for _, call := range [][2]string{{"stats/reset", ""}, {"forcegc", ""}, {"sentinels", "/rewatch"}} {
		s.api(http.MethodPut, call[0], call[1], "").is(http.StatusOK, `"OK"`)
	}
	s.api(http.MethodPut, "loglevel", "/DEBUG", "").is(800, "proxy.log_level")
	s.api(http.MethodPut, "shutdown", "", "").is(http.StatusOK, `"OK"`)
	if st := online(); st.Online || !st.Closed {
		t.Errorf("after shutdown: %+v", st)
	}
	if s.mu.Lock(); s.ended != 1 {
		t.Errorf("shut down %d times", s.ended)
	}
	s.mu.Unlock()
	calls := [][2]string{{"GET", "xping"}, {"GET", "stats"}, {"PUT", "start"}, {"PUT", "fillslots"}, {"PUT", "shutdown"}}
	for _, call := range calls {
		s.api(call[0], call[1], "", "[]").is(800, "the proxy is shutting down")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := startSource(t, "127.0.0.1:0")
	f := func(code int, method, path string) {
		t.Helper()
		s.ask(method, path, "").is(code)
	}
	f(http.StatusNotFound, "GET", "/api/proxy/nosuch/"+s.xauth)
	f(http.StatusNotFound, "GET", "/api/topom")
	f(http.StatusMethodNotAllowed, "GET", "/api/proxy/fillslots/"+s.xauth)
	f(http.StatusMethodNotAllowed, "PUT", "/proxy")
}

func TestUnreadableBodies(t *testing.T) {
	t.Parallel()
	s := startSource(t, "127.0.0.1:0")
	f := func(name, body, cause string) {
		t.Helper()
		a := s.api(http.MethodPut, name, "", body)
		var e struct {
			Cause string
			Stack []string
		}
		a.code = http.StatusOK * (a.code / 800) // decode wants 200
		a.decode(&e)
		if !strings.Contains(e.Cause, cause) {
			t.Errorf("%s of %.40q: %s, want %s", name, body, e.Cause, cause)
		}
	}
	f("fillslots", "", "slots are not readable: EOF")
	f("fillslots", "[{", "slots are not readable: unexpected EOF")
	f("fillslots", `{"id":1}`, "slots are not readable: want a list")
	f("fillslots", `[{"id":"x"}]`, "slots are not readable: json: cannot unmarshal string")
	f("fillslots", "["+strings.Repeat(" ", maxBody)+"]", "slots are not readable: http: request body too large")
	f("fillslots", "["+strings.Repeat("{},", 4*1024)+"{}]", "slots are not readable: more than 4096 slots, of 1024")
	f("sentinels", "[]", "sentinels are not readable")
	f("sentinels", "", "sentinels are not readable: EOF")
	if s.applied() != 0 || len(s.sentinels) != 0 {
		t.Error("something has changed")
	}
}

// A list that is far too long is not read to its end.
func TestTooManySlotsAreNotRead(t *testing.T) {
	body := strings.NewReader("[" + strings.Repeat("{},", maxBody/3))
	_, err := decodeSlots(body, 1024)
	want := "more than 4096 slots, of 1024"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if read := body.Size() - int64(body.Len()); read > 64<<10 {
		t.Errorf("%d bytes were read", read)
	}
}
