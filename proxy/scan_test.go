package proxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/router"
)

// scanOnce sends one SCAN and returns the next cursor and the keys.
func scanOnce(t testing.TB, c *testClient, cursor string, options ...string) (next string, keys []string) {
	t.Helper()
	reply := c.do(append([]string{"SCAN", cursor}, options...)...)
	parts := strings.Split(reply, "\r\n")
	if parts[0] != "*2" {
		t.Fatalf("SCAN %s: %q", cursor, reply)
	}
	for i := 5; i < len(parts); i += 2 {
		keys = append(keys, parts[i])
	}
	return parts[2], keys
}

// asDouble is a cursor as a client sends it back that takes it for a double, like node-redis 4.
func asDouble(t testing.TB, cursor string) string {
	t.Helper()
	n, err := strconv.ParseFloat(cursor, 64)
	if err != nil || n < 0 || n >= 1<<53 {
		t.Fatalf("cursor %q", cursor)
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// scanAll scans from the beginning to the end. between is called after every step.
func scanAll(t testing.TB, c *testClient, between func(step int), options ...string) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	cursor := "0"
	for step := 0; ; step++ {
		next, keys := scanOnce(t, c, cursor, options...)
		for _, key := range keys {
			seen[key]++
		}
		if next == "0" {
			return seen
		}
		if step > 10_000 {
			t.Fatalf("the scan does not end: %d keys, cursor %s", len(seen), next)
		}
		cursor = asDouble(t, next)
		between(step)
	}
}

func nothing(int) {}

func wantSeen(t testing.TB, seen map[string]int, keys []string) {
	t.Helper()
	for _, key := range keys {
		if seen[key] == 0 {
			t.Errorf("%s was not seen", key)
		}
	}
}

// fill sets n keys.
func fill(t testing.TB, c *testClient, n int) []string {
	t.Helper()
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("key:", i)
		c.want("+OK\r\n", "SET", keys[i], "v")
	}
	return keys
}

func TestScanSeesEveryKey(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		c := top.dial(t)
		if seen := scanAll(t, c, nothing); len(seen) != 0 {
			t.Errorf("keys in an empty pool: %v", seen)
		}
		keys := fill(t, c, 500)
		c.want(":1\r\n", "RPUSH", "list", "a")
		for _, options := range [][]string{nil, {"COUNT", "1"}, {"COUNT", "1000"}, {"TYPE", "string", "COUNT", "50"}, {"MATCH", "key:*"}} {
			seen := scanAll(t, c, nothing, options...)
			wantSeen(t, seen, keys)
			if want := len(keys) + 1; len(options) < 2 || options[0] == "COUNT" {
				if len(seen) != want {
					t.Errorf("%v: %d keys, want %d", options, len(seen), want)
				}
			} else if len(seen) != want-1 {
				t.Errorf("%v: %d keys, want %d", options, len(seen), want-1)
			}
		}
		if seen := scanAll(t, c, nothing, "TYPE", "list"); len(seen) != 1 || seen["list"] == 0 {
			t.Errorf("lists: %v", seen)
		}
		if seen := scanAll(t, c, nothing, "MATCH", "*:7", "COUNT", "13"); len(seen) != 1 || seen["key:7"] == 0 {
			t.Errorf("MATCH: %v", seen)
		}
		c.want("-ERR syntax error\r\n", "SCAN", "0", "NONE")
		c.want("-ERR syntax error\r\n", "SCAN", "2251799813685248", "COUNT", "0")
		c.want("-ERR value is not an integer or out of range\r\n", "SCAN", "0", "COUNT", "x")
		for _, cursor := range []string{"x", "-1", "1x", " 1", "18446744073709551616"} {
			c.want("-ERR invalid cursor\r\n", "SCAN", cursor)
		}
		// What nobody gave out begins a scan: it may come from another sidecar.
		begun := c.do("SCAN", "0")
		for _, cursor := range []string{"17", "1048577", "9007199254740991", "9007199254740992", "18446744073709551615"} {
			c.want(begun, "SCAN", cursor)
		}
	})
}

// But for the cursors every byte of what a pool with one group replies is its server's, in the same steps.
func TestScanOfOneGroupIsTheServers(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server)
	c, direct := p.dial(t), dial(t, "tcp", server.Addr())
	fill(t, c, 200)
	cursor, ours := "0", "0"
	for {
		want, got := direct.do("SCAN", cursor, "COUNT", "7"), c.do("scan", ours, "count", "7")
		if !sameButCursor(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		cursor, ours = strings.Split(want, "\r\n")[2], strings.Split(got, "\r\n")[2]
		if (cursor == "0") != (ours == "0") {
			t.Fatalf("the server's cursor is %s, ours %s", cursor, ours)
		}
		if cursor == "0" {
			return
		}
	}
}

func TestScanWhileGroupsComeAndGo(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)}
	two := evenly(codisModel, servers[0].Addr(), servers[1].Addr())
	p := startProxy(t, codisModel, two, patient)
	c := p.dial(t)
	keys := fill(t, c, 200)
	// The new group has an ID before the others, and takes over slots from the one that is scanned first.
	three := []router.GroupSpec{
		{ID: "0", Master: servers[2].Addr(), Slots: []router.Range{{From: 0, To: 255}}},
		{ID: "1", Master: servers[0].Addr(), Slots: []router.Range{{From: 256, To: 511}}}, two[1],
	}
	moved := func(key string) bool { return codisModel.Slot([]byte(key)) < 256 }
	seen := scanAll(t, c, func(step int) {
		if step != 1 {
			return
		}
		for _, key := range keys {
			if moved(key) {
				servers[0].Do("DEL", key)
				servers[2].Do("SET", key, "v")
			}
		}
		p.setTable(t, three)
	}, "COUNT", "10")
	wantSeen(t, seen, keys)

	// The group that is being scanned goes, its slots and keys to one that comes now.
	var gone []string
	seen = scanAll(t, c, func(step int) {
		if step != 1 {
			return
		}
		for _, key := range servers[0].Do("KEYS", "*").Array() {
			gone = append(gone, key.String())
			servers[0].Do("DEL", key.String())
		}
		fresh := slices.Clone(three)
		fresh[1].ID, fresh[1].Master = "00", testbed.Redis(t).Addr()
		p.setTable(t, fresh)
		for _, key := range gone {
			p.dial(t).want("+OK\r\n", "SET", key, "v")
		}
	}, "COUNT", "10")
	wantSeen(t, seen, keys)
	if len(gone) == 0 {
		t.Error("the test moved no key")
	}
}

// Keys of a slot that moves are at either side.
func TestScanSeesKeysOfAMovingSlot(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t)}
	specs := evenly(codisModel, servers[0].Addr(), servers[1].Addr())
	p := startProxy(t, codisModel, specs, holding(never), ofFamily("codis"), patient)
	tag := p.keysAt(t, servers[1].Addr(), 1)[0]
	var keys []string
	for i := range 50 {
		key := fmt.Sprintf("{%s}%d", tag, i)
		keys = append(keys, key)
		servers[i%2].Do("SET", key, "v")
	}
	servers[0].Do("SET", p.keysAt(t, servers[1].Addr(), 2)[1], "left over")
	move := lock(codisModel, tag)
	move.Phase, move.From, move.FromID = router.Moving, servers[0].Addr(), "1"
	p.setTable(t, specs, move)
	c := p.dial(t)
	seen := scanAll(t, c, nothing)
	wantSeen(t, seen, keys)
	if len(seen) != len(keys) {
		t.Errorf("%d keys, want %d", len(seen), len(keys))
	}

	// When the source has no other slot a scan can't ask it, and waits.
	all := evenly(codisModel, servers[1].Addr())
	all[0].ID = "2"
	p.setTable(t, all, move)
	c.request("SCAN", "0")
	p.awaitHeld(t, 1)
	p.setTable(t, all)
	if got := elements(t, c.reply()); len(got) != 2 {
		t.Errorf("SCAN: %q", got)
	}
}

func TestScanInAClusterWhileASlotMoves(t *testing.T) {
	t.Parallel()
	cluster := testbed.Cluster(t, 3, 0)
	p := startProxy(t, clusterModel, specsOf(t, cluster), patient)
	c := p.dial(t)
	var keys []string
	for i := range 50 {
		keys = append(keys, fmt.Sprint("{m}", i))
		c.want("+OK\r\n", "SET", keys[i], "v")
	}
	slot := int(clusterModel.Slot([]byte("{m}")))
	source, nodes := cluster.NodeOf(slot), cluster.Nodes()
	target := nodes[(slices.Index(nodes, source)+1)%3]
	if err := cluster.BeginMove(slot, target); err != nil {
		t.Fatal(err)
	}
	args := []string{"MIGRATE", "127.0.0.1", fmt.Sprint(target.Port()), "", "0", "5000", "KEYS"}
	if err := source.Do(append(args, keys[:25]...)...).Error(); err != nil {
		t.Fatal(err)
	}
	wantSeen(t, scanAll(t, c, nothing), keys)
	if got := elements(t, c.do("KEYS", "{m}*")); len(got) != len(keys) {
		t.Errorf("KEYS: %d keys, want %d", len(got), len(keys))
	}
}

func TestScanOfAServerWithOtherCursors(t *testing.T) {
	answer := ""
	server := startFake(t, func(c *scriptedConn, _ []string) { c.reply(answer) })
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), faultOptions(nil))
	c := p.dial(t)
	for _, cursor := range []string{"18446744073709551616", "-1", "_abc"} {
		answer = "*2\r\n" + bulkReply(cursor) + "*0\r\n"
		c.want(fmt.Sprintf("-ERR backend %s answered SCAN with the cursor %q, and Sluice passes on numbers\r\n",
			server.addr(), cursor), "SCAN", "0")
	}
	answer = "+OK\r\n"
	c.want(fmt.Sprintf("-ERR backend %s answered scan with \"+OK\\r\\n\"\r\n", server.addr()), "SCAN", "0")
}

// A reply that is put together is held back as a whole, within the limit of what a client may have to wait for.
func TestScanIsBoundByTheOutputLimit(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, limited(func(l *Limits) { l.ClientOutput = 1 << 20 }))
	for i := range 2000 {
		server.Do("SET", fmt.Sprint(strings.Repeat("k", 1000), i), "v")
	}
	c := p.dial(t)
	next, keys := scanOnce(t, c, "0", "COUNT", "100")
	if next == "0" || len(keys) < 100 {
		t.Errorf("%d keys, cursor %s", len(keys), next)
	}
	c.request("SCAN", "0", "COUNT", "100000")
	c.wantClosed()
}

// A server's cursor says nothing to the one that takes its place: the group is scanned from its start again.
func TestScanGoesOnAtANewMaster(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)}
	specs := evenly(codisModel, servers[0].Addr(), servers[1].Addr())
	p := startProxy(t, codisModel, specs, patient)
	c := p.dial(t)
	keys := fill(t, c, 500)
	for _, key := range servers[0].Do("KEYS", "*").Array() {
		servers[2].Do("SET", key.String(), "v")
	}
	seen := scanAll(t, c, func(step int) {
		if step == 3 {
			specs[0].Master = servers[2].Addr()
			p.setTable(t, specs)
		}
	}, "COUNT", "20")
	wantSeen(t, seen, keys)
}
