package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/discovery"
	"sluice/discovery/static"
	"sluice/internal/testbed"
	"sluice/proxy/redispatch"
	"sluice/router"
)

// Redirects of a real Redis Cluster. See redirectfake_test.go for those that a cluster does not produce on
// demand.

var clusterModel = router.ClusterModel()

// specsOf is the topology that a cluster tells.
func specsOf(t testing.TB, c *testbed.RedisCluster) []router.GroupSpec {
	t.Helper()
	var specs []router.GroupSpec
	rows := c.Nodes()[0].Do("CLUSTER", "SLOTS")
	if err := rows.Error(); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows.Array() {
		cols := row.Array()
		master := cols[2].Array()
		addr := fmt.Sprintf("%s:%d", master[0], master[1].Integer())
		at := slices.IndexFunc(specs, func(s router.GroupSpec) bool { return s.Master == addr })
		if at < 0 {
			at = len(specs)
			specs = append(specs, router.GroupSpec{ID: router.GroupID(addr), Master: addr})
		}
		specs[at].Slots = append(specs[at].Slots, router.Range{
			From: router.Slot(cols[0].Integer()), To: router.Slot(cols[1].Integer()),
		})
	}
	return specs
}

// rotated gives the slots of every group to the next one, so that no request goes right.
func rotated(specs []router.GroupSpec) []router.GroupSpec {
	wrong := slices.Clone(specs)
	for i := range wrong {
		wrong[i].Slots = specs[(i+1)%len(specs)].Slots
	}
	return wrong
}

// movedLog records the calls of PoolConfig.Moved.
type movedLog struct {
	mu    sync.Mutex
	moved map[router.Slot]string
	calls int
}

func (m *movedLog) hook(_ *Config, pool *PoolConfig) {
	m.moved = make(map[router.Slot]string)
	pool.Moved = func(slot router.Slot, addr string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.moved[slot] = addr
		m.calls++
	}
}

func (m *movedLog) get(slot router.Slot) (addr string, calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved[slot], m.calls
}

// startKept is startProxy with a discovery.Keeper between Moved and SetTable, as in cmd/sluice/instance.go.
func startKept(t *testing.T, specs []router.GroupSpec) (*testProxy, *discovery.Keeper) {
	t.Helper()
	var keeper atomic.Pointer[discovery.Keeper]
	p := startProxy(t, clusterModel, specs, faultOptions(nil), func(_ *Config, pool *PoolConfig) {
		pool.Moved = func(slot router.Slot, addr string) { keeper.Load().Moved(slot, addr) }
	})
	keeper.Store(discovery.NewKeeper(discovery.Config{
		Model: clusterModel, Source: static.New(specs), Name: "static", Apply: p.pool.SetTable,
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { _ = keeper.Load().Run(ctx) })
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	testbed.Eventually(t, func() error {
		if keeper.Load().Status().Epoch == 0 {
			return errors.New("no topology yet")
		}
		return nil
	}, replyWait)
	return p, keeper.Load()
}

func TestRedirectsOfACluster(t *testing.T) {
	t.Parallel()
	c := testbed.Cluster(t, 3, 0)
	t.Run("moved", func(t *testing.T) { testMoved(t, c) })
	t.Run("moved split", func(t *testing.T) { testMovedSplit(t, c) })
	t.Run("ask", func(t *testing.T) { testAsk(t, c) })
	t.Run("stream of a blocked group", func(t *testing.T) { testBlockedGroupFollows(t, c) })
	t.Run("keeper", func(t *testing.T) { testKeeperLearnsFromMoved(t, c) })
	t.Run("importing lost", func(t *testing.T) { testImportingLost(t, c) })
}

// Requests under a table that is wrong for every slot: the client sees nothing of it.
func testMoved(t *testing.T, c *testbed.RedisCluster) {
	var log movedLog
	p := startProxy(t, clusterModel, rotated(specsOf(t, c)), faultOptions(nil), log.hook)
	client := p.dial(t)
	const n = 100
	for i := range n {
		client.request("SET", fmt.Sprint("moved", i), fmt.Sprint("v", i))
		client.request("APPEND", fmt.Sprint("moved", i), "+")
		client.request("GET", fmt.Sprint("moved", i))
	}
	for i := range n {
		v := fmt.Sprint("v", i)
		client.wantReply("+OK\r\n")
		client.wantReply(fmt.Sprintf(":%d\r\n", len(v)+1))
		client.wantReply(bulkReply(v + "+"))
	}
	for i := range n {
		key := fmt.Sprint("moved", i)
		owner := c.NodeOf(int(clusterModel.Slot([]byte(key))))
		if got := owner.Do("GET", key).String(); got != fmt.Sprintf("v%d+", i) {
			t.Errorf("%s: %q at its owner", key, got)
		}
		if addr, _ := log.get(clusterModel.Slot([]byte(key))); addr != owner.Addr() {
			t.Errorf("%s: Moved was told %q, want %s", key, addr, owner.Addr())
		}
	}
	stats := p.Stats()
	if _, calls := log.get(0); calls != 3*n || stats.Redirects[RedirectMoved] != 3*n || stats.Redirects[RedirectAsk] != 0 {
		t.Errorf("%d calls of Moved, redirects %v; want %d MOVED", calls, stats.Redirects, 3*n)
	}
}

// Split commands whose parts are all redirected, in the middle of a pipeline.
func testMovedSplit(t *testing.T, c *testbed.RedisCluster) {
	p := startProxy(t, clusterModel, rotated(specsOf(t, c)), faultOptions(nil))
	client := p.dial(t)
	mset, mget, del := []string{"MSET"}, []string{"MGET"}, []string{"DEL"}
	want := "*61\r\n"
	for i := range 60 {
		key, v := fmt.Sprint("split", i), fmt.Sprint("v", i)
		mset, mget, del = append(mset, key, v), append(mget, key), append(del, key)
		want += bulkReply(v)
	}
	mget = append(mget, "split-missing")
	want += "$-1\r\n"
	client.request("PING")
	client.request(mset...)
	client.request(mget...)
	client.request(append([]string{"EXISTS"}, mget[1:]...)...)
	client.request("GET", "split7")
	client.request(del...)
	client.request("EXISTS", "split1", "split2")
	for _, w := range []string{"+PONG\r\n", "+OK\r\n", want, ":60\r\n", "$2\r\nv7\r\n", ":60\r\n", ":0\r\n"} {
		client.wantReply(w)
	}
}

// A half-open migration, keys on both sides.
func testAsk(t *testing.T, c *testbed.RedisCluster) {
	slot := int(clusterModel.Slot([]byte("{ask}")))
	from := c.NodeOf(slot)
	to := c.Nodes()[(slices.Index(c.Nodes(), from)+1)%3]
	var log movedLog
	p := startProxy(t, clusterModel, specsOf(t, c), faultOptions(nil), log.hook)
	client := p.dial(t)
	elsewhere := p.keysAt(t, to.Addr(), 1)[0]
	for _, key := range []string{"{ask}gone", "{ask}gone2", "{ask}here", "{ask}here2", elsewhere} {
		client.want("+OK\r\n", "SET", key, key)
	}
	if err := c.BeginMove(slot, to); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"{ask}gone", "{ask}gone2"} {
		if v := from.Do("MIGRATE", "127.0.0.1", fmt.Sprint(to.Port()), key, "0", "5000"); v.Error() != nil {
			t.Fatal(v)
		}
	}
	if got := from.Do("GET", "{ask}gone").String(); !strings.HasPrefix(got, "ASK ") {
		t.Fatalf("the migration is not half open: %q", got)
	}

	// A pipeline across the border, and writes in it.
	for range 20 {
		for _, key := range []string{"{ask}gone", "{ask}here", "{ask}gone2", "{ask}here2", elsewhere} {
			client.request("GET", key)
		}
	}
	client.request("SET", "{ask}new", "1")
	client.request("INCR", "{ask}new")
	client.request("INCR", "{ask}new")
	client.request("APPEND", "{ask}gone", "!")
	client.request("MGET", "{ask}gone", elsewhere, "{ask}here", "ask-missing")
	client.request("DEL", "{ask}gone2")
	client.request("GET", "{ask}gone2")
	for range 20 {
		for _, key := range []string{"{ask}gone", "{ask}here", "{ask}gone2", "{ask}here2", elsewhere} {
			client.wantReply(bulkReply(key))
		}
	}
	for _, w := range []string{"+OK\r\n", ":2\r\n", ":3\r\n", ":10\r\n"} {
		client.wantReply(w)
	}
	// The keys of one slot on two nodes: the server wants the client to try again. The rest is not harmed.
	if got := client.reply(); !strings.HasPrefix(got, "-TRYAGAIN ") && !strings.HasPrefix(got, "*4\r\n") {
		t.Errorf("MGET over the border: %q", got)
	}
	client.wantReply(":1\r\n")
	client.wantReply("$-1\r\n")

	// New keys are at the target.
	if got := to.Do("CLUSTER", "COUNTKEYSINSLOT", fmt.Sprint(slot)).Integer(); got != 2 {
		t.Errorf("the target has %d keys of the slot, want {ask}gone and {ask}new", got)
	}
	if addr, calls := log.get(router.Slot(slot)); calls != 0 {
		t.Errorf("ASK changed the owner: %q", addr)
	}

	if err := c.FinishMove(slot); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"{ask}gone": "{ask}gone!", "{ask}here": "{ask}here", "{ask}new": "3"} {
		client.want(bulkReply(want), "GET", key)
	}
	if addr, _ := log.get(router.Slot(slot)); addr != to.Addr() {
		t.Errorf("after the move Moved was told %q, want %s", addr, to.Addr())
	}
}

// A key that is taken to another node takes the XREADGROUP along that waits for it; one that is deleted ends it.
func testBlockedGroupFollows(t *testing.T, c *testbed.RedisCluster) {
	slot := int(clusterModel.Slot([]byte("{group}")))
	from := c.NodeOf(slot)
	to := c.Nodes()[(slices.Index(c.Nodes(), from)+1)%3]
	p := startProxy(t, clusterModel, specsOf(t, c), faultOptions(nil))
	writer, reader := p.dial(t), p.dial(t)
	writer.want("+OK\r\n", "XGROUP", "CREATE", "{group}s", "g", "$", "MKSTREAM")
	wait := func(node *testbed.Server) {
		t.Helper()
		reader.request("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "{group}s", ">")
		awaitBlocked(t, node)
	}
	wait(from)
	if err := c.BeginMove(slot, to); err != nil {
		t.Fatal(err)
	}
	if v := from.Do("MIGRATE", "127.0.0.1", fmt.Sprint(to.Port()), "{group}s", "0", "5000"); v.Error() != nil {
		t.Fatal(v)
	}
	awaitBlocked(t, to)
	writer.want("$3\r\n1-1\r\n", "XADD", "{group}s", "1-1", "f", "v")
	reader.wantReply("*1\r\n*2\r\n$8\r\n{group}s\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
	if err := c.FinishMove(slot); err != nil {
		t.Fatal(err)
	}
	wait(to)
	writer.want(":1\r\n", "DEL", "{group}s")
	if got := reader.reply(); !strings.HasPrefix(got, "-NOGROUP ") {
		t.Errorf("the key was deleted: %q", got)
	}
}

// awaitBlocked waits until a client is blocked at a server.
func awaitBlocked(t *testing.T, node *testbed.Server) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if info := node.Do("INFO", "clients").String(); !strings.Contains(info, "blocked_clients:1\r\n") {
			return errors.New(info)
		}
		return nil
	}, replyWait)
}

// After a move the first request is redirected and teaches the Keeper; the others go right at first.
func testKeeperLearnsFromMoved(t *testing.T, c *testbed.RedisCluster) {
	p, keeper := startKept(t, specsOf(t, c))
	client := p.dial(t)
	const key = "{keeper}"
	slot := int(clusterModel.Slot([]byte(key)))
	client.want("+OK\r\n", "SET", key, "v")
	from := c.NodeOf(slot)
	to := c.Nodes()[(slices.Index(c.Nodes(), from)+1)%3]
	if err := c.MoveSlot(slot, to); err != nil {
		t.Fatal(err)
	}
	client.want("$1\r\nv\r\n", "GET", key)
	testbed.Eventually(t, func() error {
		if got := p.pool.Table().Owner(router.Slot(slot)).Master.Addr; got != to.Addr() {
			return fmt.Errorf("the table says %s, want %s; %+v", got, to.Addr(), keeper.Status())
		}
		return nil
	}, replyWait)
	before := p.Stats().Redirects
	for range 10 {
		client.want("$1\r\nv\r\n", "GET", key)
		client.want("+OK\r\n", "SET", key, "v")
	}
	if after := p.Stats().Redirects; after != before {
		t.Errorf("redirects %v, then %v: the proxy has not learnt", before, after)
	}
}

// The source sends requests to a target that does not import (any more): a bounded number of tries, an error
// that says what is wrong, and the keys that have not moved are served.
func testImportingLost(t *testing.T, c *testbed.RedisCluster) {
	p := startProxy(t, clusterModel, specsOf(t, c), faultOptions(nil))
	client := p.dial(t)
	slot := int(clusterModel.Slot([]byte("{lost}")))
	client.want("+OK\r\n", "SET", "{lost}here", "v")
	from := c.NodeOf(slot)
	to := c.Nodes()[(slices.Index(c.Nodes(), from)+1)%3]
	if err := c.BeginMove(slot, to); err != nil {
		t.Fatal(err)
	}
	if err := to.Do("CLUSTER", "SETSLOT", fmt.Sprint(slot), "STABLE").Error(); err != nil {
		t.Fatal(err)
	}
	client.request("GET", "{lost}absent")
	client.request("SET", "{lost}absent", "v")
	client.request("GET", "{lost}here")
	for range 2 {
		client.wantPrefix(fmt.Sprintf("-TRYAGAIN slot %d was redirected %d times", slot, redispatch.MaxHops))
	}
	client.wantReply("$1\r\nv\r\n")
	if err := from.Do("CLUSTER", "SETSLOT", fmt.Sprint(slot), "STABLE").Error(); err != nil {
		t.Fatal(err)
	}
	client.want("+OK\r\n", "SET", "{lost}absent", "v")
}
