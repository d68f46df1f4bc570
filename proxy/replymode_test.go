package proxy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// everything sends a script at once and returns all that comes back before the QUIT at its end closes the connection.
func everything(t *testing.T, addr, script string) string {
	t.Helper()
	c := dial(t, "tcp", addr)
	var requests []byte
	for _, s := range statements(t, script) {
		requests = resp.AppendCommand(requests, s.args...)
	}
	c.send(string(requests))
	if err := c.SetReadDeadline(time.Now().Add(replyWait)); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c.r)
	if err != nil {
		t.Fatalf("%q: %v", all, err)
	}
	return string(all)
}

// CLIENT REPLY drops the same replies as Redis: of forwarded, divided, local and gathered commands, of errors, in a pipeline
// whose older requests are in flight.
func TestClientReplyDropsWhatRedisDrops(t *testing.T) {
	direct := testbed.Redis(t)
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	k := top.keysOnEveryNode("k", 1)
	names := strings.NewReplacer("A", k[0], "B", k[1])
	for i, script := range []string{
		"SET A 1; CLIENT REPLY OFF; SET A 2; SET B 3; MGET A B; PING; GET A; CLIENT REPLY ON; MGET A B; PING; QUIT",
		"SET A 1; SET B 2; CLIENT REPLY SKIP; GET A; GET B; QUIT",
		"CLIENT REPLY SKIP; CLIENT REPLY SKIP; PING 1; PING 2; QUIT",
		"CLIENT REPLY SKIP; CLIENT REPLY ON; PING 1; QUIT",
		"CLIENT REPLY OFF; CLIENT REPLY SKIP; PING 1; PING 2; CLIENT REPLY ON; PING 3; QUIT",
		"CLIENT REPLY SKIP; nosuch; PING 1; CLIENT REPLY SKIP; GET; PING 2; CLIENT REPLY SKIP; CLIENT REPLY nosuch; PING 3; QUIT",
		"CLIENT REPLY SKIP; MGET A B; GET A; CLIENT REPLY SKIP; LPUSH A wrong; GET B; CLIENT REPLY SKIP; MSET A 5 B 6; MGET B A; QUIT",
		"GET A; CLIENT REPLY OFF; nosuch; GET; LPUSH A x; CLIENT ID; CLIENT REPLY nosuch; RESET; GET A; PING; QUIT",
		"GET A; CLIENT REPLY SKIP; CLIENT KILL ID 99999; GET B; CLIENT REPLY OFF; CLIENT KILL ID 99999; GET A; CLIENT REPLY ON; CLIENT KILL ID 99999; QUIT",
		"CLIENT REPLY SKIP; SELECT 1; GET A; CLIENT REPLY SKIP; HELLO 3; GET nothing; QUIT",
		strings.Repeat("INCR A; CLIENT REPLY SKIP; INCR B; MGET A B; CLIENT REPLY SKIP; DEL A B; GET A;", 50) + "QUIT",
	} {
		script = names.Replace(script)
		direct.Do("FLUSHALL")
		for _, n := range top.nodes {
			n.Do("FLUSHALL")
		}
		if got, want := everything(t, top.addr, script), everything(t, direct.Addr(), script); got != want {
			t.Errorf("script %d: %.300s\n got %.500q\nwant %.500q", i, script, got, want)
		}
	}
}

// QUIT closes the connection although its reply is not wanted. Redis 7.0 leaves it open.
func TestMutedClientQuits(t *testing.T) {
	top := codisTopology(t)
	if got := everything(t, top.addr, "SET k 1; GET k; CLIENT REPLY SKIP; QUIT"); got != "+OK\r\n$1\r\n1\r\n" {
		t.Errorf("%q", got)
	}
}

// A reply that is not wanted is not gathered either, and is counted as any other.
func TestMutedRepliesAreCounted(t *testing.T) {
	p := startProxyTo(t, testbed.Redis(t))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "k", strings.Repeat("v", 1<<20))
	before := p.Stats().Requests
	c.request("CLIENT", "REPLY", "OFF")
	for range 20 {
		c.request("GET", "k")
	}
	c.want("+OK\r\n", "CLIENT", "REPLY", "ON")
	c.want("$1\r\n1\r\n", "ECHO", "1")
	testbed.Eventually(t, func() error { // The GETs may still be on their way.
		if n := p.Stats().Requests - before; n != 22 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	}, replyWait)
	if n := p.Stats().ClientBytesOut; n > 1000 {
		t.Errorf("%d bytes were sent", n)
	}
}
