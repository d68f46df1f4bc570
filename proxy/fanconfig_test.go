package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/acl"
	"sluice/proxy/local"
	"sluice/proxy/resp"
)

// pairs is the reply of CONFIG GET in RESP2.
func pairs(list ...string) string {
	reply := resp.AppendArray(nil, len(list))
	for _, s := range list {
		reply = resp.AppendBulk(reply, s)
	}
	return string(reply)
}

// parameterAt asks a server itself.
func parameterAt(s *testbed.Server, name string) string {
	values := s.Do("CONFIG", "GET", name).Array()
	if len(values) != 2 {
		return fmt.Sprint(values)
	}
	return values[1].String()
}

// A parameter that is not Sluice's is set at all masters, and shown as they show it.
func TestConfigOfTheServers(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		c := top.dial(t)
		c.want(pairs("notify-keyspace-events", ""), "CONFIG", "GET", "notify-keyspace-events")
		c.want("+OK\r\n", "CONFIG", "SET", "notify-keyspace-events", "KEA", "Maxmemory-Policy", "allkeys-lru")
		for _, n := range top.nodes {
			if got := parameterAt(n, "notify-keyspace-events") + " " + parameterAt(n, "maxmemory-policy"); got != "AKE allkeys-lru" {
				t.Errorf("%s has %q", n.Addr(), got)
			}
		}
		c.want(pairs("notify-keyspace-events", "AKE"), "CONFIG", "GET", "notify-keyspace-events")
		c.want(pairs("maxmemory-policy", "allkeys-lru", "timeout", "0"), "CONFIG", "GET", "timeout", "maxmemory-p*")
		c.do("HELLO", "3")
		c.want("%1\r\n"+strings.TrimPrefix(pairs("notify-keyspace-events", "AKE"), "*2\r\n"), "CONFIG", "GET", "notify-keyspace-events")
		list, version := top.pool.Parameters()
		if want := []local.Parameter{{Name: "notify-keyspace-events", Value: "KEA"}, {Name: "maxmemory-policy", Value: "allkeys-lru"}}; !slices.Equal(list, want) || version != 1 {
			t.Errorf("remembered: %v, version %d", list, version)
		}
	})
}

// CONFIG GET * has Sluice's own parameters and those of the servers, each once, and no password.
func TestConfigGetOfEverything(t *testing.T) {
	top := codisTopology(t)
	for _, n := range top.nodes {
		n.Do("CONFIG", "SET", "masterauth", "sesame", "slowlog-max-len", "5", "lazyfree-lazy-expire", "yes")
	}
	c := top.dial(t)
	words := resp.Bulks([]byte(c.do("CONFIG", "GET", "*")))
	found := make(map[string]string)
	for i := 0; i < len(words); i += 2 {
		if name := string(words[i]); found[name] == "" {
			found[name] = string(words[i+1])
		} else {
			t.Errorf("%s is there twice", name)
		}
	}
	for name, want := range map[string]string{"slowlog-max-len": "128", "lazyfree-lazy-expire": "yes", "hold.max_wait": "0s", "maxmemory": "0"} {
		if found[name] != want {
			t.Errorf("%s is %q", name, found[name])
		}
	}
	if len(found) < 150 {
		t.Errorf("%d parameters", len(found))
	}
	for name, value := range found {
		if strings.Contains(value, "sesame") || strings.Contains(name, "pass") && value != "" {
			t.Errorf("shows %s %q", name, value)
		}
	}
	c.want(pairs(), "CONFIG", "GET", "masterauth")
	c.want(pairs("slowlog-max-len", "128"), "CONFIG", "GET", "slowlog-max-le?")
}

// Where masters do not agree the reply says who has what. Of the events it has under the name itself what all notify
// about.
func TestConfigGetShowsDifferences(t *testing.T) {
	top := codisTopology(t)
	a, b := top.nodes[0], top.nodes[1]
	a.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "notify-keyspace-events", "KExg$")
	b.Do("CONFIG", "SET", "notify-keyspace-events", "EA")
	c := top.dial(t)
	list := []string{"maxmemory-policy", "allkeys-lru", "maxmemory-policy@" + a.Addr(), "allkeys-lru", "maxmemory-policy@" + b.Addr(), "noeviction"}
	if a.Addr() > b.Addr() {
		list = slices.Concat(list[:2], list[4:], list[2:4])
	}
	c.want(pairs(list...), "CONFIG", "GET", "maxmemory-policy")
	events := resp.Bulks([]byte(c.do("CONFIG", "GET", "notify-keyspace-events")))
	if got := string(events[1]); len(events) != 6 || len(got) != 4 || strings.Trim(got, "Exg$") != "" {
		t.Errorf("%q", events)
	}
	c.want("+OK\r\n", "CONFIG", "SET", "maxmemory-policy", "volatile-lru")
	c.want(pairs("maxmemory-policy", "volatile-lru"), "CONFIG", "GET", "maxmemory-policy")
}

// Sluice's parameters and those of the servers can be set together, all of them or none.
func TestConfigSetOfBothKinds(t *testing.T) {
	top := codisTopology(t, holding(never))
	c := top.dial(t)
	c.want("+OK\r\n", "CONFIG", "SET", "slowlog-max-len", "7", "maxmemory-policy", "allkeys-lfu")
	c.want(pairs("maxmemory-policy", "allkeys-lfu", "slowlog-max-len", "7"), "CONFIG", "GET", "slowlog-max-len", "maxmemory-policy")
	const failed = "-ERR CONFIG SET failed (possibly related to argument '%s') - %s\r\n"
	c.want(fmt.Sprintf(failed, "slowlog-max-len", "argument couldn't be parsed into an integer"), "CONFIG", "SET", "maxmemory-policy", "noeviction", "slowlog-max-len", "x")
	c.want(fmt.Sprintf(failed, "hz", "argument couldn't be parsed into an integer"), "CONFIG", "SET", "slowlog-max-len", "9", "hz", "x")
	c.want("-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n", "CONFIG", "SET", "slowlog-max-len", "9", "nosuch", "1")
	c.want(fmt.Sprintf(failed, "slowlog-MAX-len", "duplicate parameter"), "CONFIG", "SET", "slowlog-max-len", "9", "slowlog-MAX-len", "9", "hz", "5")
	c.want(pairs("maxmemory-policy", "allkeys-lfu", "slowlog-max-len", "7"), "CONFIG", "GET", "slowlog-max-len", "maxmemory-policy")
	if list, _ := top.pool.Parameters(); !slices.Equal(list, []local.Parameter{{Name: "maxmemory-policy", Value: "allkeys-lfu"}}) {
		t.Errorf("remembered: %v", list)
	}
}

// When some masters take a parameter and others do not, the error says which.
func TestConfigSetOfWhichAPartFails(t *testing.T) {
	server := testbed.Redis(t)
	other := startFake(t, func(c *scriptedConn, args []string) {
		c.reply("-ERR " + args[1] + " of " + args[2] + " is not known here\r\n")
	})
	p := startProxy(t, codisModel, evenly(codisModel, server.Addr(), other.addr()), patient)
	c := p.dial(t)
	c.want(fmt.Sprintf("-ERR CONFIG SET was done at %s and failed at %s: ERR SET of hz is not known here\r\n", server.Addr(), other.addr()),
		"CONFIG", "SET", "hz", "17", "slowlog-max-len", "3")
	if got := parameterAt(server, "hz"); got != "17" {
		t.Errorf("hz is %s", got)
	}
	c.want(pairs("slowlog-max-len", "128"), "CONFIG", "GET", "slowlog-max-len")
	c.want("-ERR GET of hz is not known here\r\n", "CONFIG", "GET", "hz")
	if list, version := p.pool.Parameters(); len(list) != 0 || version == 0 {
		t.Errorf("remembered: %v, version %d", list, version)
	}
	alone := startProxy(t, codisModel, evenly(codisModel, other.addr()), patient).dial(t)
	alone.want("-ERR SET of hz is not known here\r\n", "CONFIG", "SET", "hz", "17") // In the server's own words.
}

// What would change the pool behind Sluice is refused with the reason, and no server hears of it.
func TestConfigSetOfGuardedParameters(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	resetStats(t, top.nodes)
	for _, name := range []string{"requirepass", "MasterAuth", "replica-read-only", "slave-priority", "repl-timeout", "slaveof", "dir", "dbfilename",
		"aclfile", "bind", "unixsocketperm", "tls-port", "cluster-node-timeout", "maxmemory-clients", "client-query-buffer-limit", "admin_port", "userpass"} {
		got := c.do("CONFIG", "SET", "hz", "11", name, "x")
		if !strings.HasPrefix(got, "-ERR CONFIG SET failed (possibly related to argument '"+name+"') - not allowed through Sluice: ") {
			t.Errorf("%s: %q", name, got)
		}
	}
	c.do("CONFIG", "SET", "hz", strings.Repeat("1", 64<<10+1))
	if ran := commandsRun(top.nodes); slices.Contains(ran, "config|set") {
		t.Errorf("servers ran %q", ran)
	}
}

// A user needs the right to CONFIG SET, which one that only reads never has; and an operator can leave the servers
// alone.
func TestConfigSetCanBeForbidden(t *testing.T) {
	top := codisTopology(t, func(_ *Config, pool *PoolConfig) {
		for name, spec := range map[string]acl.Spec{"reads": {ReadOnly: true}, "without": {Commands: []string{"+@all", "-config|set"}}, "with": {Keys: []string{"a:*"}}} {
			pool.Users = append(pool.Users, User{Name: name, Passwords: passwords("p"), Rights: rights(t, spec)})
		}
	})
	for name, want := range map[string]string{
		"reads": "-NOPERM this user has no permissions to run the 'config|set' command\r\n", "with": "+OK\r\n",
		"without": "-NOPERM this user has no permissions to run the 'config|set' command\r\n",
	} {
		c := top.dial(t)
		c.want("+OK\r\n", "AUTH", name, "p")
		c.want(want, "CONFIG", "SET", "hz", "12")
		c.want(pairs("lfu-decay-time", "1"), "CONFIG", "GET", "lfu-decay-time")
	}
	c := top.dial(t)
	c.want("+OK\r\n", "AUTH", "with", "p")
	settings := *top.pool.Settings()
	settings.ServerConfig = ServerConfigGet
	top.pool.SetSettings(settings)
	c.want("-ERR CONFIG SET failed (possibly related to argument 'hz') - parameters of the servers are not set through Sluice here, server_config is \"get\"\r\n",
		"CONFIG", "SET", "hz", "13")
	c.want(pairs("hz", "12"), "CONFIG", "GET", "hz")
	if list, _ := top.pool.Parameters(); len(list) != 0 {
		t.Errorf("masters to come would get %v", list)
	}
	settings.ServerConfig = ServerConfigOff
	top.pool.SetSettings(settings)
	c.want("-ERR Unknown option or number of arguments for CONFIG SET - 'hz'\r\n", "CONFIG", "SET", "hz", "13")
	c.want(pairs(), "CONFIG", "GET", "hz")
	c.want(pairs("timeout", "0"), "CONFIG", "GET", "time*")
}

// An application that sets what it wants to be notified about hears of changes and of expired keys, of every group.
func TestNotificationsAfterConfigSet(t *testing.T) {
	for _, groups := range []int{1, 3} {
		t.Run(fmt.Sprint(groups), func(t *testing.T) {
			var addrs []string
			for range groups {
				addrs = append(addrs, testbed.Redis(t, "--hz", "100").Addr())
			}
			p := startProxy(t, codisModel, evenly(codisModel, addrs...), patient)
			c, s := p.dial(t), p.dial(t)
			c.want("+OK\r\n", "CONFIG", "SET", "notify-keyspace-events", "KEA")
			s.request("PSUBSCRIBE", "__keyevent@0__:*")
			s.reply()
			for _, addr := range addrs {
				key := p.keysAt(t, addr, 1)[0]
				c.want("+OK\r\n", "SET", key, "v", "PX", "1")
				for _, event := range []string{"set", "expire", "expired"} {
					s.wantReply(pairs("pmessage", "__keyevent@0__:*", "__keyevent@0__:"+event, key))
				}
			}
		})
	}
}
