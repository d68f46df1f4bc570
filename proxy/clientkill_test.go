package proxy

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
)

// idOf is the id of a client.
func idOf(c *testClient) string { return strings.Trim(c.do("CLIENT", "ID"), ":\r\n") }

// CLIENT KILL closes the clients that all options choose, on all loops, and nobody else.
func TestClientKillClosesWhoIsChosen(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, pool *PoolConfig) {
		cfg.Loops = 3
		pool.Users = []User{{Name: "default", Passwords: passwords("p")}, {Name: "app", Passwords: passwords("p")}}
	})
	me := top.dial(t)
	me.want("+OK\r\n", "AUTH", "p")
	someone := func() *testClient {
		c := top.dial(t)
		c.want("+OK\r\n", "AUTH", "app", "p")
		return c
	}
	f := func(want string, options func(victims []*testClient) []string, killed ...int) {
		t.Helper()
		victims := []*testClient{someone(), someone(), someone(), someone()}
		me.want(want, append([]string{"CLIENT", "KILL"}, options(victims)...)...)
		for i, c := range victims {
			if len(killed) > 0 && killed[0] == i {
				killed = killed[1:]
				c.wantClosed()
				continue
			}
			c.want("+PONG\r\n", "PING")
			c.Close()
		}
		testbed.Eventually(t, func() error {
			if n := top.Clients(); n != 1 {
				return fmt.Errorf("%d clients", n)
			}
			return nil
		}, replyWait)
	}
	f("+OK\r\n", func(v []*testClient) []string { return []string{v[1].LocalAddr().String()} }, 1)
	f(":1\r\n", func(v []*testClient) []string { return []string{"ID", idOf(v[2])} }, 2)
	f(":1\r\n", func(v []*testClient) []string { return []string{"addr", v[3].LocalAddr().String(), "SkipMe", "NO"} }, 3)
	f(":0\r\n", func(v []*testClient) []string { return []string{"ADDR", v[3].LocalAddr().String(), "ID", idOf(v[0])} })
	f(":4\r\n", func([]*testClient) []string { return []string{"USER", "app"} }, 0, 1, 2, 3)
	f(":0\r\n", func([]*testClient) []string { return []string{"USER", "default"} })
	f(":4\r\n", func([]*testClient) []string { return []string{"LADDR", top.addr} }, 0, 1, 2, 3)
	f(":4\r\n", func([]*testClient) []string { return []string{"TYPE", "normal"} }, 0, 1, 2, 3)
	f(":0\r\n", func([]*testClient) []string { return []string{"TYPE", "pubsub"} })
}

// A client that kills itself is answered first, as are the requests before; what is behind is not looked at.
func TestClientKillsItself(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	c, other := top.dial(t), top.dial(t)
	other.want("+OK\r\n", "SET", "k", "v")
	c.send("GET k\r\nCLIENT KILL TYPE normal SKIPME no\r\nSET k late\r\n")
	if got := c.reply() + c.reply(); got != "$1\r\nv\r\n:2\r\n" {
		t.Errorf("%q", got)
	}
	c.wantClosed()
	other.wantClosed()
	d := top.dial(t)
	d.request("CLIENT", "KILL", d.LocalAddr().String())
	if got := d.reply(); got != "+OK\r\n" {
		t.Errorf("%q", got)
	}
	d.wantClosed()
}

// CLIENT LIST has the fields of Redis and its filters, and lists clients in the order in which they came.
func TestClientListFiltersAndFields(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 3 })
	var all []*testClient
	for range 5 {
		c := top.dial(t)
		c.want("+PONG\r\n", "PING")
		all = append(all, c)
	}
	all[1].do("GET", "k")
	all[2].do("MGET", "a", "b", "c", "d", "e", "f")
	all[3].do("HELLO", "3")
	all[3].want("+OK\r\n", "CLIENT", "TRACKING", "ON", "OPTIN")
	want := []string{"ping", "get", "mget", "client|tracking", "client|list"}
	lines := clientLines(t, all[4].do("CLIENT", "LIST"))
	if len(lines) != 5 {
		t.Fatalf("%d clients", len(lines))
	}
	for i, l := range lines {
		if l["id"] != idOf(all[i]) || l["cmd"] != want[i] || l["multi"] != "-1" || l["idle"] == "" {
			t.Errorf("client %d: %v, want cmd=%s", i, l, want[i])
		}
	}
	if lines[3]["flags"] != "t" || lines[3]["redir"] != "0" || lines[4]["flags"] != "N" || lines[4]["redir"] != "-1" {
		t.Errorf("%v", lines)
	}
	if got := clientLines(t, all[0].do("CLIENT", "LIST", "ID", idOf(all[4]), "99999", idOf(all[2]))); len(got) != 2 || got[0]["id"] != "3" || got[1]["id"] != "5" {
		t.Errorf("by ID: %v", got)
	}
	if got := clientLines(t, all[0].do("CLIENT", "LIST", "TYPE", "NORMAL")); len(got) != 5 {
		t.Errorf("by TYPE: %v", got)
	}
	redis := clientLines(t, dial(t, "tcp", top.nodes[0].Addr()).do("CLIENT", "LIST"))[0]
	for field := range redis {
		if _, ok := lines[0][field]; !ok {
			t.Errorf("Redis has a field %s", field)
		}
	}
}
