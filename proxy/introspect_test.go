package proxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/testbed"
)

// infoSectionsOf reads an INFO text: sections by name, each a map of its lines.
func infoSectionsOf(t *testing.T, reply string) map[string]map[string]string {
	t.Helper()
	sections := make(map[string]map[string]string)
	var current map[string]string
	for line := range strings.SplitSeq(bulkText(t, reply), "\r\n") {
		if name, ok := strings.CutPrefix(line, "# "); ok {
			current = make(map[string]string)
			sections[name] = current
			continue
		}
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || current == nil || current[name] != "" {
			t.Errorf("INFO line %q", line)
			continue
		}
		current[name] = value
	}
	return sections
}

// checkFields looks for fields that are missing or hold no number where they must.
func checkFields(t *testing.T, section map[string]string, numbers, texts string) {
	t.Helper()
	for _, name := range strings.Fields(numbers) {
		if _, err := strconv.ParseFloat(section[name], 64); err != nil {
			t.Errorf("INFO %s:%q is no number", name, section[name])
		}
	}
	for _, name := range strings.Fields(texts) {
		if section[name] == "" {
			t.Errorf("INFO has no %s", name)
		}
	}
}

func TestInfoHasTheSectionsOfRedis(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	c.do("LPUSH", "k", "wrong type")
	info := infoSectionsOf(t, c.do("INFO"))
	for _, name := range []string{"Server", "Clients", "Memory", "Stats", "Replication", "CPU", "Cluster", "Proxy", "Backends"} {
		if len(info[name]) == 0 {
			t.Errorf("INFO has no section %s", name)
		}
	}
	checkFields(t, info["Server"], "process_id tcp_port uptime_in_seconds uptime_in_days arch_bits", "redis_version redis_mode os run_id")
	checkFields(t, info["Clients"], "connected_clients maxclients blocked_clients", "")
	checkFields(t, info["Memory"], "used_memory used_memory_rss maxmemory", "")
	checkFields(t, info["Stats"], "total_connections_received total_commands_processed total_net_input_bytes total_net_output_bytes rejected_connections total_error_replies", "")
	checkFields(t, info["CPU"], "used_cpu_sys used_cpu_user", "")
	checkFields(t, info["Proxy"], "event_loops slots groups masters_up slots_uncovered requests_in_flight", "sluice_version pool slot_model")
	if got := info["Replication"]["role"]; got != "master" {
		t.Errorf("role:%s", got)
	}
	version := infoSectionsOf(t, dial(t, "tcp", top.nodes[0].Addr()).do("INFO", "server"))["Server"]["redis_version"]
	testbed.Eventually(t, func() error { // The first probe finds it out.
		if got := infoSectionsOf(t, c.do("INFO", "server"))["Server"]["redis_version"]; got != version {
			return fmt.Errorf("redis_version:%s, the servers say %s", got, version)
		}
		return nil
	}, replyWait)
	if !strings.HasSuffix(top.addr, ":"+info["Server"]["tcp_port"]) {
		t.Errorf("tcp_port:%s, listening on %s", info["Server"]["tcp_port"], top.addr)
	}
	for name, want := range map[string]string{"connected_clients": "1", "blocked_clients": "0"} {
		if got := info["Clients"][name]; got != want {
			t.Errorf("%s:%s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"total_commands_processed": "2", "total_error_replies": "1", "total_connections_received": "1"} {
		if got := info["Stats"][name]; got != want {
			t.Errorf("%s:%s, want %s", name, got, want)
		}
	}
	if got := info["Backends"]; len(got) != 2 || !strings.Contains(got["backend0"], "addr="+top.nodes[0].Addr()+",") {
		t.Errorf("Backends: %q", got)
	}
}

func TestInfoGivesTheSectionsAskedFor(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	c := top.dial(t)
	c.want("$-1\r\n", "GET", "k")
	f := func(want string, names ...string) {
		t.Helper()
		var got []string
		for name := range infoSectionsOf(t, c.do(append([]string{"INFO"}, names...)...)) {
			got = append(got, name)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("INFO %s: %q, want %q", names, got, want)
		}
	}
	const all = "Backends CPU Clients Cluster Commandstats Errorstats Keyspace Latencystats Memory Modules Persistence Proxy Replication Server Stats"
	byDefault := strings.NewReplacer("Commandstats ", "", "Latencystats ", "").Replace(all)
	for _, proto := range []string{"2", "3"} {
		c.do("HELLO", proto)
		f("Server", "server")
		f("Server", "SERVER")
		f("CPU Server", "cpu", "server", "nosuch")
		f("", "nosuch")
		f(byDefault)
		f(byDefault, "default")
		f(all, "all")
		f(all, "everything")
		f("Backends Proxy", "Proxy", "Backends")
		stats := infoSectionsOf(t, c.do("INFO", "commandstats"))["Commandstats"]
		if got := stats["cmdstat_get"]; !strings.HasPrefix(got, "calls=1,usec=") {
			t.Errorf("cmdstat_get:%s", got)
		}
	}
	if got := c.do("INFO", "cpu"); got[0] != '=' {
		t.Errorf("RESP3 has a type for texts, got %q", got[:10])
	}
}

// clientLines reads CLIENT LIST or CLIENT INFO: a map of fields per client.
func clientLines(t *testing.T, reply string) []map[string]string {
	t.Helper()
	var clients []map[string]string
	for line := range strings.Lines(bulkText(t, reply)) {
		fields := make(map[string]string)
		for _, field := range strings.Fields(line) {
			name, value, ok := strings.Cut(field, "=")
			if !ok {
				t.Errorf("field %q of %q", field, line)
			}
			fields[name] = value
		}
		clients = append(clients, fields)
	}
	return clients
}

// CLIENT LIST shows the clients of all loops, and CLIENT INFO the one that asks.
func TestClientListShowsEveryone(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 3 })
	byID := make(map[string]*testClient)
	last := int64(0)
	for i := range 7 {
		c := top.dial(t)
		id := strings.Trim(c.do("CLIENT", "ID"), ":\r\n")
		if n, err := strconv.ParseInt(id, 10, 64); err != nil || n <= last {
			t.Errorf("CLIENT ID %s after %d", id, last)
		} else {
			last = n
		}
		byID[id] = c
		c.want("+OK\r\n", "CLIENT", "SETNAME", fmt.Sprint("client-", i))
		c.want("+OK\r\n", "CLIENT", "SETINFO", "LIB-NAME", "testlib")
		c.want("+OK\r\n", "CLIENT", "SETINFO", "lib-ver", fmt.Sprint("1.", i))
		c.want("+OK\r\n", "SELECT", fmt.Sprint(i))
		if i%2 == 1 {
			c.do("HELLO", "3")
		}
	}
	for id, c := range byID {
		listed := clientLines(t, c.do("CLIENT", "LIST"))
		if len(listed) != len(byID) {
			t.Fatalf("%d of %d clients are listed", len(listed), len(byID))
		}
		for _, fields := range listed {
			other := byID[fields["id"]]
			i := strings.TrimPrefix(fields["name"], "client-")
			if other == nil || fields["addr"] != other.LocalAddr().String() || fields["laddr"] != top.addr || fields["db"] != i ||
				fields["lib-name"] != "testlib" || fields["lib-ver"] != "1."+i || fields["user"] != "default" {
				t.Errorf("client listed as %v", fields)
			}
		}
		if own := clientLines(t, c.do("CLIENT", "INFO")); len(own) != 1 || own[0]["id"] != id {
			t.Errorf("CLIENT INFO of %s: %v", id, own)
		}
	}
}

func TestClientSetInfoIsChecked(t *testing.T) {
	c := codisTopology(t).dial(t)
	// Redis 7.2, src/networking.c, clientSetinfoCommand; the servers of this test may be older.
	c.want("-ERR Unrecognized option 'LIB-FOO'\r\n", "CLIENT", "SETINFO", "LIB-FOO", "x")
	c.want("-ERR lib-name cannot contain spaces, newlines or special characters.\r\n", "CLIENT", "SETINFO", "lib-name", "a b")
	c.want("-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n", "CLIENT", "SETINFO", "LIB-VER", "1\n2")
	c.want("+OK\r\n", "CLIENT", "SETINFO", "lib-name", "go-redis(,go1.26)")
	c.want("+OK\r\n", "CLIENT", "NO-TOUCH", "on")
	c.want("+OK\r\n", "CLIENT", "NO-TOUCH", "OFF")
	c.want("-ERR syntax error\r\n", "CLIENT", "NO-TOUCH", "x")
	c.want("-ERR syntax error\r\n", "CLIENT", "NO-EVICT", "x")
}

// INFO and CLIENT LIST ask other loops and so are answered later: they keep their place among the replies.
func TestGatheredRepliesKeepTheirPlace(t *testing.T) {
	t.Parallel()
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 3 })
	var script strings.Builder
	for i := range 40 {
		fmt.Fprintf(&script, "INCR n; PING %d; INFO cpu; GET n; CLIENT LIST; MGET n m; CLIENT ID; nosuch %d;", i, i)
	}
	list := statements(t, script.String())
	replies := runPipelined(t, top.addr, "2", list)
	for i := range 40 {
		r := replies[8*i : 8*i+8]
		n := fmt.Sprint(i + 1)
		v := fmt.Sprintf("$%d\r\n%s\r\n", len(n), n)
		if r[0] != ":"+n+"\r\n" || !strings.Contains(r[1], fmt.Sprint(i)) || !strings.Contains(r[2], "used_cpu_sys:") || r[3] != v ||
			!strings.Contains(r[4], "laddr=") || r[5] != "*2\r\n"+v+"$-1\r\n" || r[6] != ":1\r\n" || r[7][0] != '-' {
			t.Fatalf("round %d: %.100q", i, r)
		}
	}
}

// Behind a gathered reply a client may leave: nobody else gets it.
func TestGatheredReplyOfAGoneClient(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	for range 50 {
		c := top.dial(t)
		c.send("INFO\r\nCLIENT LIST\r\nINFO\r\n")
		c.Close()
	}
	c := top.dial(t)
	for i := range 100 {
		c.want(fmt.Sprintf("$%d\r\n%d\r\n", len(fmt.Sprint(i)), i), "ECHO", fmt.Sprint(i))
	}
	testbed.Eventually(t, func() error {
		if n := top.Clients(); n != 1 {
			return fmt.Errorf("%d clients", n)
		}
		return nil
	}, replyWait)
}
