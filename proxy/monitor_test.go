package proxy

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

var monitorLine = regexp.MustCompile(`^\+\d{10}\.\d{6} \[(\d+) ([^\]]+)\] (".*)\r\n$`)

// shownLine reads a line of MONITOR and returns it without its time and with the port taken out.
func shownLine(t *testing.T, c *testClient) string {
	t.Helper()
	line := c.reply()
	m := monitorLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("no line of MONITOR: %q", line)
	}
	return m[1] + " " + m[3]
}

// MONITOR shows the same commands as Redis, in the same words.
func TestMonitorShowsWhatRedisShows(t *testing.T) {
	script := statements(t, `SET k "a\"\\\n\r\t\a\b\x01\x7f\xff'"; get k; SELECT 3; GET k; AUTH x; AUTH default y; HELLO 3 AUTH default z SETNAME n; HELLO 2
		CONFIG GET save; INFO cpu; CLIENT LIST; CLIENT ID; client setname n; nosuch; GET; PING; ECHO x; ACL WHOAMI; COMMAND COUNT; TIME; LASTSAVE; ROLE
		SLOWLOG LEN; LATENCY LATEST; CLIENT REPLY ON; MGET a b; MSET a 1 b 2; DEL a b c; EVAL "return KEYS[1]" 1 k; EVALSHA x 1 k; INCR n; MONITORx; RESET; SELECT 0; GET end`)
	watch := func(addr string) (lines []string) {
		m, c := dial(t, "tcp", addr), dial(t, "tcp", addr)
		m.want("+OK\r\n", "MONITOR")
		for _, s := range script {
			c.do(s.args...)
		}
		for len(lines) == 0 || lines[len(lines)-1] != `0 "GET" "end"` {
			lines = append(lines, shownLine(t, m))
		}
		return lines
	}
	got, want := strings.Join(watch(codisTopology(t).addr), "\n"), strings.Join(watch(testbed.Redis(t).Addr()), "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A monitor sees the clients of all loops, also those that come later, and names them.
func TestMonitorSeesEveryClient(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 3 })
	var clients []*testClient
	for range 4 {
		clients = append(clients, top.dial(t))
		clients[len(clients)-1].want("+PONG\r\n", "PING")
	}
	m := top.dial(t)
	m.want("+OK\r\n", "MONITOR")
	for range 4 {
		clients = append(clients, top.dial(t))
	}
	for i, c := range clients {
		c.do("SET", "k", fmt.Sprint(i))
		line := m.reply()
		want := fmt.Sprintf(" [0 %s] \"SET\" \"k\" \"%d\"\r\n", c.LocalAddr(), i)
		if !strings.HasSuffix(line, want) {
			t.Errorf("%q, want %q", line, want)
		}
	}
	if own := clientLines(t, clients[0].do("CLIENT", "LIST", "ID", "5")); len(own) != 1 || own[0]["flags"] != "O" || own[0]["cmd"] != "monitor" {
		t.Errorf("the monitor is listed as %v", own)
	}
}

// What a monitor may do is what Redis lets it do, and RESET ends it.
func TestMonitorMayDoWhatRedisLetsItDo(t *testing.T) {
	direct := testbed.Redis(t)
	top := codisTopology(t)
	list := statements(t, `GET x; SET x y; EVAL "return 1" 1 k; MGET a b; DEL a; nosuch; RESET; GET x; SET x 1`)
	ask := func(addr string) []string {
		c := dial(t, "tcp", addr)
		c.want("+OK\r\n", "MONITOR")
		c.request("MONITOR") // Is not answered.
		var replies []string
		for _, s := range list {
			replies = append(replies, c.do(s.args...))
		}
		return replies
	}
	compare(t, "monitor", list, ask(top.addr), ask(direct.Addr()))
	m := top.dial(t)
	m.want("+OK\r\n", "MONITOR")
	m.want("+PONG\r\n", "PING")
	if got := shownLine(t, m); got != `0 "PING"` {
		t.Error(got)
	}
	m.request("QUIT")
	if got := m.reply(); got != "+OK\r\n" {
		t.Errorf("QUIT: %q", got)
	}
	m.wantClosed()
}

// After the last monitor the clients go the short way again.
func TestMonitorLeavesNothingBehind(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	c, d, m, n := top.dial(t), top.dial(t), top.dial(t), top.dial(t)
	observed := func(want int) {
		t.Helper()
		testbed.Eventually(t, func() error {
			count := make(chan int, 2)
			top.onEachLoop(t.Context(), func(l *loop) {
				n := 0
				for _, c := range l.clients {
					if c.is(modeObserved) {
						n++
					}
				}
				count <- n
			})
			if got := <-count + <-count; got != want {
				return fmt.Errorf("%d clients are observed, want %d", got, want)
			}
			return nil
		}, replyWait)
	}
	for _, x := range []*testClient{c, d, m, n} {
		x.want("+PONG\r\n", "PING")
	}
	observed(0)
	m.want("+OK\r\n", "MONITOR")
	n.want("+OK\r\n", "MONITOR")
	observed(4)
	c.want("+RESET\r\n", "RESET")
	observed(4)
	n.Close()
	observed(3)
	if got := shownLine(t, m); got != `0 "RESET"` {
		t.Error(got)
	}
	m.want("+RESET\r\n", "RESET")
	observed(0)
}

// A monitor that does not read loses lines and is told how many; nobody waits for it, and it is not closed.
func TestMonitorThatDoesNotReadLosesLines(t *testing.T) {
	t.Parallel()
	p := startProxyTo(t, testbed.Redis(t), func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2; cfg.Limits.ClientOutput = 4 << 20 })
	m, c := p.dial(t), p.dial(t)
	m.want("+OK\r\n", "MONITOR")
	value := strings.Repeat("v", 100<<10)
	const n = 300
	for i := range n {
		c.want("+OK\r\n", "SET", fmt.Sprint("k", i), value)
	}
	c.want("$5\r\nafter\r\n", "ECHO", "after")
	seen, dropped := 0, 0
	for seen+dropped < n+1 {
		if err := m.SetReadDeadline(time.Now().Add(replyWait)); err != nil {
			t.Fatal(err)
		}
		line := m.reply()
		if _, count, ok := strings.Cut(line, `proxy] "sluice" "dropped" "`); ok {
			lost, err := strconv.Atoi(strings.TrimSuffix(count, "\"\r\n"))
			if err != nil {
				t.Fatal(line)
			}
			dropped += lost
			continue
		}
		if !monitorLine.MatchString(line) {
			t.Fatalf("%.200q", line)
		}
		seen++
	}
	if dropped == 0 || seen == 0 {
		t.Errorf("%d lines were seen and %d dropped", seen, dropped)
	}
	c.want("$4\r\nlast\r\n", "ECHO", "last")
	if got := shownLine(t, m); got != `0 "ECHO" "last"` {
		t.Error(got)
	}
}

// A command that is too long to be shown is counted as a line that was dropped.
func TestMonitorDropsWhatIsTooLong(t *testing.T) {
	p := startProxyTo(t, testbed.Redis(t))
	m, c := p.dial(t), p.dial(t)
	m.want("+OK\r\n", "MONITOR")
	c.want("+OK\r\n", "SET", "k", strings.Repeat("v", 2<<20))
	if got := shownLine(t, m); got != `0 "sluice" "dropped" "1"` {
		t.Errorf("%.100q", got)
	}
	c.want("+OK\r\n", "SET", "k", strings.Repeat("\x00", 1000))
	if got := shownLine(t, m); got != `0 "SET" "k" "`+strings.Repeat(`\x00`, 1000)+`"` {
		t.Errorf("%.100q", got)
	}
}

// redis-cli shows what happens.
func TestRedisCLIMonitors(t *testing.T) {
	top := codisTopology(t)
	host, port, _ := net.SplitHostPort(top.addr)
	cmd := exec.Command("redis-cli", "-h", host, "-p", port, "monitor")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	lines := bufio.NewReader(out)
	if got, err := lines.ReadString('\n'); err != nil || got != "OK\n" {
		t.Fatalf("%q, %v", got, err)
	}
	c := top.dial(t)
	c.want("+OK\r\n", "SET", "k", "a \"b\"")
	if got, err := lines.ReadString('\n'); err != nil || !strings.HasSuffix(got, fmt.Sprintf(` [0 %s] "SET" "k" "a \"b\""`+"\n", c.LocalAddr())) {
		t.Errorf("%q, %v", got, err)
	}
}
