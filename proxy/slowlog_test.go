package proxy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// logEverything puts every request into the slow log.
func logEverything(cfg *Config, _ *PoolConfig) { cfg.SlowlogSlowerThan = 0 }

// Arguments are cut as Redis cuts them. The numbers of an entry differ, its shape does not.
func TestSlowlogCutsArgumentsAsRedisDoes(t *testing.T) {
	direct := testbed.Redis(t, "--slowlog-log-slower-than", "0")
	top := codisTopology(t, logEverything)
	many, long := []string{"MSET"}, []string{"RPUSH", "l"}
	for i := range 200 {
		many = append(many, fmt.Sprint("key", i), strings.Repeat("v", 100+i))
		long = append(long, strings.Repeat("x", i))
	}
	for _, args := range [][]string{
		{"SET", "k", "v"}, {"set", "k", strings.Repeat("v", 128)}, {"SET", "k", strings.Repeat("v", 129)}, {"SET", "k", "\r\n\x00\xff"},
		long[:32], long[:33], long, many[:31], many[:33], {"MSET", "a", strings.Repeat("1", 100), "b", strings.Repeat("2", 200)},
		{"GET", "l"}, {"EVAL", "return 1", "1", "k"}, {"DEL", "a", "b", "c"},
	} {
		c, d := top.dial(t), dial(t, "tcp", direct.Addr())
		c.want("+OK\r\n", "CLIENT", "SETNAME", "someone")
		d.want("+OK\r\n", "CLIENT", "SETNAME", "someone")
		if got, want := c.do(args...), d.do(args...); got != want {
			t.Fatalf("%.100q: %q, want %q", args, got, want)
		}
		if got, want := lastSlow(t, c), lastSlow(t, d); got != want {
			t.Errorf("%.100q\n got %s\nwant %s", args, got, want)
		}
	}
}

// lastSlow is the newest entry but for its numbers and the port of its client.
func lastSlow(t *testing.T, c *testClient) string {
	t.Helper()
	lines := strings.Split(c.do("SLOWLOG", "GET", "1"), "\r\n")
	if len(lines) < 8 || lines[0] != "*1" || lines[1] != "*6" {
		t.Fatalf("SLOWLOG GET: %q", lines)
	}
	for i, line := range lines {
		if line == c.LocalAddr().String() {
			lines[i-1], lines[i] = "", "the client"
		}
	}
	return fmt.Sprintf("%q", lines[5:])
}

// Beyond 4 KiB only the number of arguments of a command that is divided is kept.
func TestSlowlogKeepsTheHeadOfWhatIsDivided(t *testing.T) {
	top := codisTopology(t, logEverything)
	c := top.dial(t)
	args := []string{"MSET"}
	for i := range 20 {
		args = append(args, fmt.Sprint("key", i), strings.Repeat("v", 1000))
	}
	c.want("+OK\r\n", args...)
	list := top.Slowlog(10)
	if len(list) != 1 {
		t.Fatalf("%d entries for one command", len(list))
	}
	got := list[0]
	if n := len(got.Args); n < 8 || n > 12 || got.Args[0] != "MSET" || got.Args[2] != strings.Repeat("v", 128)+"... (872 more bytes)" ||
		got.Args[n-1] != fmt.Sprintf("... (%d more arguments)", len(args)-n+1) {
		t.Errorf("%q", got.Args)
	}
}

// What is slow is kept up to its number, newest first, with ids that go on behind a RESET.
func TestSlowlogKeepsTheNewest(t *testing.T) {
	top := codisTopology(t, logEverything, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 3; cfg.SlowlogMaxLen = 5 })
	for i := range 12 {
		c := top.dial(t)
		c.want("+OK\r\n", "SET", "k", fmt.Sprint(i))
	}
	list := top.Slowlog(100)
	if len(list) != 5 {
		t.Fatalf("%d are kept", len(list))
	}
	for i, r := range list {
		if r.ID != int64(11-i) || r.Args[2] != fmt.Sprint(11-i) || r.Pool != "test" || r.Total <= 0 || r.Total != r.Backend || r.Held != 0 {
			t.Errorf("entry %d: %+v", i, r)
		}
	}
	c := top.dial(t)
	c.want(":5\r\n", "SLOWLOG", "LEN")
	c.want("+OK\r\n", "CONFIG", "SET", "slowlog-max-len", "2")
	c.want("$2\r\n11\r\n", "GET", "k")
	c.want(":2\r\n", "SLOWLOG", "LEN")
	c.want("+OK\r\n", "SLOWLOG", "RESET")
	c.want(":0\r\n", "SLOWLOG", "LEN")
	c.do("GET", "k")
	if list := top.Slowlog(100); len(list) != 1 || list[0].ID != 13 {
		t.Errorf("%+v", list)
	}
	c.want("+OK\r\n", "CONFIG", "SET", "slowlog-max-len", "0")
	c.do("GET", "k")
	c.want(":1\r\n", "SLOWLOG", "LEN")
	c.want("+OK\r\n", "CONFIG", "SET", "slowlog-max-len", "10", "slowlog-log-slower-than", "-1")
	c.do("GET", "k")
	c.want(":1\r\n", "SLOWLOG", "LEN")
}

// go-redis reads the entries, and redis-cli shows them.
func TestClientsReadTheSlowlog(t *testing.T) {
	top := codisTopology(t, logEverything)
	db := redis.NewClient(&redis.Options{Addr: top.addr, ClientName: "reader"})
	defer db.Close()
	if err := db.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	logs, err := db.SlowLogGet(t.Context(), -1).Result()
	if err != nil || len(logs) != 1 || strings.Join(logs[0].Args, " ") != "set k v" || logs[0].ClientName != "reader" ||
		logs[0].Duration <= 0 || time.Since(logs[0].Time) > time.Minute || time.Until(logs[0].Time) > time.Minute {
		t.Errorf("%+v, %v", logs, err)
	}
	_, port, _ := strings.Cut(top.addr, ":")
	if got := run(t, "", "redis-cli", "-p", port, "slowlog", "get"); !strings.Contains(got, "\nk\nv\n") {
		t.Error(got)
	}
}

// The time in front of the dispatch counts, and is told apart from that of the server.
func TestSlowlogCountsTheHold(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, holding(never), logEverything)
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	slot := codisModel.Slot([]byte("k"))
	locked := []router.Range{{From: slot, To: slot}}
	p.setTable(t, evenly(codisModel, server.Addr()), router.MoveSpec{Slots: locked, Phase: router.Locked})
	c.request("GET", "k")
	p.awaitHeld(t, 1)
	began := time.Now()
	testbed.Eventually(t, func() error {
		if waited := time.Since(began); waited < 30*time.Millisecond {
			return fmt.Errorf("held for %s", waited)
		}
		return nil
	}, replyWait)
	p.setTable(t, evenly(codisModel, server.Addr()))
	if got := c.reply(); got != "$1\r\nv\r\n" {
		t.Fatalf("%q", got)
	}
	c.want("+OK\r\n", "SET", "k", "w")
	list := p.Slowlog(10)
	if len(list) != 3 || list[0].Held != 0 || list[2].Held != 0 {
		t.Fatalf("%+v", list)
	}
	r := list[1]
	if r.Held < 30*time.Millisecond || r.Total != r.Held+r.Backend || r.Node != server.Addr() || strings.Join(r.Args, " ") != "GET k" {
		t.Errorf("%+v", r)
	}
}

// The time that a request waits because its server was not ready, and that of the second try, are told apart.
func TestSlowlogOfARequestThatBounced(t *testing.T) {
	bounced := false
	server := startFake(t, func(c *scriptedConn, args []string) {
		if !bounced {
			bounced = true
			c.reply("-" + loading + "\r\n")
			return
		}
		echoValue(c, args)
	})
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), holding(never), faultOptions(nil), logEverything)
	p.dial(t).want("$1\r\nk\r\n", "GET", "k")
	list := p.Slowlog(10)
	if len(list) != 1 {
		t.Fatalf("%d entries", len(list))
	}
	if r := list[0]; r.Held <= 0 || r.Backend <= 0 || r.Total < r.Held+r.Backend || r.Node != server.addr() || strings.Join(r.Args, " ") != "GET k" {
		t.Errorf("%+v", r)
	}
}

// Of a divided command the slowest part is told.
func TestSlowlogNamesTheSlowestPart(t *testing.T) {
	fast, slow := testbed.Redis(t), testbed.Redis(t)
	relay := testbed.StartRelay(t, slow.Addr())
	p := startProxy(t, codisModel, evenly(codisModel, fast.Addr(), relay.Addr()), patient)
	k := append(p.keysAt(t, fast.Addr(), 2), p.keysAt(t, relay.Addr(), 2)...)
	c := p.dial(t)
	c.want("*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n", append([]string{"MGET"}, k...)...)
	c.want("+OK\r\n", "SLOWLOG", "RESET")
	relay.SetDelay(50 * time.Millisecond)
	c.want(":0\r\n", append([]string{"EXISTS"}, k...)...)
	list := p.Slowlog(10)
	if len(list) != 1 {
		t.Fatalf("%d entries", len(list))
	}
	r := list[0]
	if r.Node != relay.Addr() || strings.Join(r.Args[1:], " ") != strings.Join(k, " ") || strings.Join(r.Part[1:], " ") != strings.Join(k[2:], " ") ||
		r.Backend < 50*time.Millisecond {
		text, _ := json.Marshal(r)
		t.Errorf("%s", text)
	}
}

// What goes to every master is kept as its client has sent it.
func TestSlowlogOfFanOuts(t *testing.T) {
	top := codisTopology(t, logEverything)
	c := top.dial(t)
	c.want(":0\r\n", "DBSIZE")
	scanOnce(t, c, "0", "COUNT", "7")
	var kept []string
	for _, r := range top.Slowlog(2) {
		kept = append(kept, strings.Join(r.Args, " "))
	}
	if want := []string{"SCAN 0 COUNT 7", "DBSIZE"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
}

// A request that nobody answers in time is slow too; nothing of a password is ever kept.
func TestSlowlogAtFailuresAndPasswords(t *testing.T) {
	t.Parallel()
	server := startFake(t, func(*scriptedConn, []string) {})
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), faultOptions(func(o *backend.Options) { o.RequestTimeout = 50 * time.Millisecond }))
	c := p.dial(t)
	if got := c.do("SET", "k", "v"); !strings.HasPrefix(got, "-ERR outcome unknown") {
		t.Fatalf("%q", got)
	}
	c.do("AUTH", "default", "sesame")
	c.do("HELLO", "3", "AUTH", "default", "sesame")
	list := p.Slowlog(10)
	if len(list) != 1 || list[0].Args[0] != "SET" || list[0].Total < 50*time.Millisecond {
		t.Errorf("%+v", list)
	}
}

// When everything is slow not everything is noted.
func TestSlowLogIsBoundedInTime(t *testing.T) {
	l := &loop{now: 1}
	noted := 0
	for range 10 * slowPerSecond {
		if l.admitSlow() {
			noted++
		}
	}
	if noted != slowPerSecond {
		t.Errorf("%d in one second, want %d", noted, slowPerSecond)
	}
	l.now += int64(time.Second)
	if !l.admitSlow() {
		t.Error("none in the next second")
	}
}
