package proxy

import (
	"strconv"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/acl"
)

// many starts a proxy with more clients than are visited in one task, all of which have been heard.
func many(t *testing.T, loops int) (*testProxy, []*testClient) {
	t.Helper()
	p := startProxyTo(t, testbed.Redis(t), func(cfg *Config, _ *PoolConfig) { cfg.Loops = loops })
	all := make([]*testClient, 3*clientsAtOnce+1)
	for i := range all {
		all[i] = p.dial(t)
		all[i].want("+PONG\r\n", "PING")
	}
	return p, all
}

func TestAllClientsAreVisited(t *testing.T) {
	p, all := many(t, 2)
	c := p.dial(t)
	lines := strings.Split(strings.TrimSpace(c.do("CLIENT", "LIST")), "\n")[1:] // Behind the length.
	seen := make(map[string]bool)
	for _, l := range lines {
		id, _, _ := strings.Cut(l, " ")
		seen[id] = true
	}
	if len(lines) != len(all)+1 || len(seen) != len(all)+1 {
		t.Errorf("%d lines of %d clients, want %d", len(lines), len(seen), len(all)+1)
	}

	c.want("+OK\r\n", "CLIENT", "PAUSE", "1000000", "WRITE")
	for _, other := range all {
		other.request("INCR", "n")
	}
	c.want("$-1\r\n", "GET", "n")
	c.want("+OK\r\n", "CLIENT", "UNPAUSE")
	for _, other := range all {
		other.reply()
	}

	m := p.dial(t)
	m.want("+OK\r\n", "MONITOR")
	for i, other := range all {
		other.request("ECHO", strconv.Itoa(i))
	}
	shown := make(map[string]bool)
	for range all {
		shown[m.reply()] = true
	}
	if len(shown) != len(all) {
		t.Errorf("%d commands of %d are shown", len(shown), len(all))
	}
	for _, other := range all {
		other.reply()
	}
	_ = m.Close()

	c.want(":"+strconv.Itoa(len(all))+"\r\n", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	for i, other := range all {
		if _, err := other.tryReply(); err == nil {
			t.Errorf("client %d lives on", i)
		}
	}
	c.want("+PONG\r\n", "PING")
}

// New settings count from the next request on, whoever has not been visited yet. Nobody has while his loop is busy.
func TestNewSettingsCountAtOnce(t *testing.T) {
	p, all := many(t, 1)
	readOnly := *p.pool.Settings()
	readOnly.Users = []User{{Name: "default", Rights: rights(t, acl.Spec{ReadOnly: true})}}
	p.onEachLoop(t.Context(), func(l *loop) {
		p.pool.SetSettings(readOnly)
		for _, c := range l.clients {
			l.clientTraffic(c, []byte("SET k v\r\n"))
		}
	})
	for i, c := range all {
		if reply := c.reply(); !strings.HasPrefix(reply, "-NOPERM") {
			t.Fatalf("client %d: %q", i, reply)
		}
	}
}
