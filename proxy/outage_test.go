package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// awaitReply asks again and again until the reply begins so.
func (c *testClient) awaitReply(prefix string, args ...string) {
	c.t.Helper()
	testbed.Eventually(c.t, func() error {
		if got := c.do(args...); !strings.HasPrefix(got, prefix) {
			return fmt.Errorf("%v: %q, want %q", args, got, prefix)
		}
		return nil
	}, replyWait)
}

// A health check that pings is told when no master serves, and when one does again.
func TestPingInAnOutage(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, a.Addr(), b.Addr()), holding(10*time.Millisecond))
	c := p.dial(t)
	c.want("+PONG\r\n", "PING")
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string) // by the address of their server
	for _, k := range keysApart(codisModel, 20) {
		keys[p.pool.Table().Owner(codisModel.Slot([]byte(k))).Master.Addr] = k
	}
	c.awaitReply("-ERR backend "+a.Addr()+" is unavailable", "GET", keys[a.Addr()])
	c.want("+PONG\r\n", "PING") // One of two is there.
	c.want("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", "ROLE")
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	c.awaitReply("-ERR backend "+b.Addr()+" is unavailable", "GET", keys[b.Addr()])
	c.awaitReply("-MASTERDOWN pool test: none of 2 masters serves; backend ", "PING")
	for _, request := range []string{"PING x", "ROLE"} {
		if got := c.do(strings.Fields(request)...); !strings.HasPrefix(got, "-MASTERDOWN pool test: ") {
			t.Errorf("%s: %q", request, got)
		}
	}
	if info := c.do("INFO", "replication"); !strings.Contains(info, "role:slave\r\n") || !strings.Contains(info, "master_link_status:down\r\n") ||
		!strings.Contains(info, "master_host:127.0.0.1\r\n") {
		t.Errorf("INFO: %q", info)
	}
	s := *p.pool.Settings()
	s.Ping = PingProxy
	p.pool.SetSettings(s)
	c.want("+PONG\r\n", "PING")
	if info := c.do("INFO", "replication"); !strings.Contains(info, "role:master\r\n") {
		t.Errorf("INFO: %q", info)
	}
	s.Ping = PingServers
	p.pool.SetSettings(s)
	c.awaitReply("-MASTERDOWN ", "PING")
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	c.awaitReply("+PONG\r\n", "PING")
	c.awaitReply("*3\r\n$6\r\nmaster\r\n", "ROLE")
}

// Before a topology is known requests wait for one, for as long as a hold lasts; then PING says what they say.
func TestPingWithoutATopology(t *testing.T) {
	p := startProxy(t, codisModel, evenly(codisModel, testbed.Redis(t).Addr()), holding(never))
	c := p.dial(t)
	p.pool.view.Store(nil)
	c.want("+PONG\r\n", "PING")
	s := *p.pool.Settings()
	s.Hold.MaxWait = 0
	p.pool.settings.Store(&s)
	c.want("-MASTERDOWN pool test: no topology is known\r\n", "PING")
}
