package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/proxy/resp"
	"sluice/router"
)

// keyMigrationTest is a proxy in front of two fakes, and one slot that moves from the first to the second.
type keyMigrationTest struct {
	*testing.T
	source, target *fakecodis.Server
	p              *testProxy
	slot           router.Slot
	method         router.Method
	specs          []router.GroupSpec
}

// The kinds of stores and the methods of their dashboards.
var transitKinds = []fakecodis.Kind{fakecodis.CodisServer, fakecodis.Pika35, fakecodis.Pika40, fakecodis.PikaFixed}

func eachKeyMigration(t *testing.T, f func(x *keyMigrationTest)) {
	for _, kind := range transitKinds {
		for _, method := range []router.Method{router.SemiAsync, router.Sync} {
			t.Run(fmt.Sprintf("%s %s", kind, method), func(t *testing.T) {
				x := startKeyMigration(t, kind, method, never)
				x.drive()
				f(x)
			})
		}
	}
}

func startKeyMigration(
	t *testing.T, kind fakecodis.Kind, method router.Method, wait time.Duration, change ...func(*Config, *PoolConfig),
) *keyMigrationTest {
	x := &keyMigrationTest{T: t, method: method, slot: codisModel.Slot([]byte("{t}"))}
	start := func() *fakecodis.Server {
		if kind == fakecodis.CodisServer {
			return fakecodis.StartCodisServer(t, fakecodis.Options{})
		}
		return fakecodis.StartPika(t, kind, fakecodis.Options{})
	}
	x.source, x.target = start(), start()
	family := "pika"
	if kind == fakecodis.CodisServer {
		family = "codis"
	}
	x.specs = []router.GroupSpec{
		{ID: "1", Master: x.source.Addr(), Slots: []router.Range{
			{From: 0, To: x.slot - 1}, {From: x.slot + 1, To: router.CodisSlots - 1},
		}},
		{ID: "2", Master: x.target.Addr(), Slots: []router.Range{{From: x.slot, To: x.slot}}},
	}
	x.p = startProxy(t, codisModel, x.specs, append(
		[]func(*Config, *PoolConfig){holding(wait), ofFamily(family)}, change...)...)
	x.moving()
	return x
}

func (x *keyMigrationTest) moving() { x.p.setTable(x, x.specs, x.move(router.Moving)) }

func (x *keyMigrationTest) move(phase router.Phase) router.MoveSpec {
	return router.MoveSpec{
		Slots: []router.Range{{From: x.slot, To: x.slot}}, Phase: phase, Method: x.method, From: x.source.Addr(),
		FromID: "1",
	}
}

// left reports whether the method leaves the keys to the background migration.
func (x *keyMigrationTest) left() bool {
	return x.method == router.SemiAsync && x.source.Kind() != fakecodis.CodisServer
}

// drive asks for one round of the background migration after another, as a dashboard does, until the test ends.
func (x *keyMigrationTest) drive() {
	if !x.left() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			conn, err := net.Dial("tcp", x.source.Addr())
			if err != nil {
				continue
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			c := &testClient{t: x, Conn: conn, r: bufio.NewReader(conn)}
			for err == nil {
				_, err = conn.Write(resp.AppendCommand(nil, "SLOTSMGRTTAGSLOT-ASYNC",
					"127.0.0.1", fmt.Sprint(x.target.Port()),
					"1000", "200", "1000000", fmt.Sprint(x.slot), "500"))
				if err == nil {
					_, err = c.tryReply()
				}
			}
			stop()
			_ = conn.Close()
		}
	})
	x.Cleanup(func() { cancel(); work.Wait() })
}

// bringBack puts a key to the source that the background migration may have moved since it began. No more rounds
// can be asked for: see RefuseMigration.
func (x *keyMigrationTest) bringBack(key, value string) {
	if !x.left() {
		return
	}
	asked := func() int { return x.source.Calls("SLOTSMGRTTAGSLOT-ASYNC").Seen }
	before := asked()
	testbed.Eventually(x, func() error {
		if n := asked() - before; n < 2 { // One may have been on its way; drive asks one after the other.
			return fmt.Errorf("%d rounds were refused", n)
		}
		if v := x.source.Do("SLOTSMGRT-ASYNC-STATUS").String(); !strings.Contains(v, "migrating  : no") {
			return errors.New(v)
		}
		return nil
	}, replyWait)
	x.target.Do("DEL", key)
	x.source.Do("SET", key, value)
}

// keys returns n keys of the slot without a tag, every other one with capitals.
func (x *keyMigrationTest) keys(n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprintf("key:%d", i)
		if len(keys)%2 == 1 {
			key = fmt.Sprintf("Key:Name%d", i)
		}
		if codisModel.Slot([]byte(key)) == x.slot {
			keys = append(keys, key)
		}
	}
	return keys
}

// wantAt checks where a key is.
func (x *keyMigrationTest) wantAt(server *fakecodis.Server, key string) {
	x.Helper()
	other := x.source
	if server == x.source {
		other = x.target
	}
	if !slices.Contains(server.Keys(), key) || slices.Contains(other.Keys(), key) {
		x.Errorf("%s: at the source %v, at the target %v", key, slices.Contains(x.source.Keys(), key),
			slices.Contains(x.target.Keys(), key))
	}
}

func TestCommandsOnAMovingSlot(t *testing.T) {
	t.Parallel()
	eachKeyMigration(t, func(x *keyMigrationTest) {
		keys := x.keys(8)
		for i, key := range keys[:6] { // The last two exist nowhere.
			x.source.Do("SET", key, fmt.Sprint(i*10))
		}
		x.source.Do("RPUSH", "{t}list", "a", "b")
		x.source.Do("SET", "{t}1", "one")
		c := x.p.dial(x)
		c.want("$1\r\n0\r\n", "GET", keys[0])
		c.want(":11\r\n", "INCR", keys[1])
		c.want(":12\r\n", "INCR", keys[1])
		c.want("$2\r\n12\r\n", "GET", keys[1])
		c.want("+OK\r\n", "SET", keys[2], "new")
		c.want("$-1\r\n", "GET", keys[6])
		c.want(":1\r\n", "INCR", keys[6])
		c.want(":1\r\n", "INCR", keys[7])
		c.want(":3\r\n", "RPUSH", "{t}list", "c")
		c.want("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "LRANGE", "{t}list", "0", "-1")
		c.want("*4\r\n$2\r\n30\r\n$2\r\n12\r\n$3\r\none\r\n$-1\r\n", "MGET", keys[3], keys[1], "{t}1", "{t}none")
		c.want(":2\r\n", "EXISTS", keys[4], keys[6], "{t}none")
		c.want("+OK\r\n", "MSET", keys[4], "x", keys[5], "y")
		c.want("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "LPUSH", keys[4], "z")
		c.want(":1\r\n", "DEL", "{t}1")
		for _, key := range []string{keys[1], keys[2], keys[4], keys[5], keys[6], keys[7], "{t}list"} {
			// Else the source has run the commands.
			if x.source.Kind() != fakecodis.CodisServer || x.method == router.Sync {
				x.wantAt(x.target, key)
			}
		}
		// The dashboard moves the rest and settles the slot.
		dashboard := dial(x, "tcp", x.source.Addr())
		for !strings.HasSuffix(dashboard.do("SLOTSMGRTTAGSLOT", "127.0.0.1", fmt.Sprint(x.target.Port()), "1000",
			fmt.Sprint(x.slot)), ":0\r\n") {
		}
		x.p.setTable(x, x.specs)
		c.want("*5\r\n$1\r\n0\r\n$2\r\n12\r\n$3\r\nnew\r\n$1\r\nx\r\n$1\r\ny\r\n", "MGET", keys[0], keys[1], keys[2],
			keys[4], keys[5])
		for _, key := range []string{keys[0], keys[1], "{t}list"} {
			x.wantAt(x.target, key)
		}
	})
}

// Whatever the source says of a key that has moved, from its cache or of a type that it remembers, the target's reply
// counts, and writes wait for nothing any more.
func TestEveryTypeLeavesTheSource(t *testing.T) {
	t.Parallel()
	types := []struct {
		fill, read, write []string
		before, after     string
	}{
		{[]string{"SET", "", "v"}, []string{"GET", ""}, []string{"APPEND", "", "w"}, bulkReply("v"), bulkReply("vw")},
		{[]string{"SADD", "", "m"}, []string{"SMEMBERS", ""}, []string{"SADD", "", "n"}, "*1\r\n$1\r\nm\r\n",
			"*2\r\n$1\r\nm\r\n$1\r\nn\r\n"},
		{[]string{"RPUSH", "", "a"}, []string{"LRANGE", "", "0", "-1"}, []string{"RPUSH", "", "b"},
			"*1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
		{[]string{"HSET", "", "f", "v"}, []string{"HLEN", ""}, []string{"HSET", "", "g", "w"}, ":1\r\n", ":2\r\n"},
		{[]string{"ZADD", "", "1", "m"}, []string{"ZCARD", ""}, []string{"ZADD", "", "2", "n"}, ":1\r\n", ":2\r\n"},
	}
	eachKeyMigration(t, func(x *keyMigrationTest) {
		c := x.p.dial(x)
		dashboard := dial(x, "tcp", x.source.Addr())
		on := func(args []string, key string) []string {
			args = slices.Clone(args)
			args[1] = key
			return args
		}
		for i, key := range x.keys(len(types)) {
			of := types[i]
			x.source.Do(on(of.fill, key)...)
			x.source.Do(on(of.read, key)...) // Into its cache.
			if !x.left() {                   // Beside the background migration it would do harm.
				dashboard.do("SLOTSMGRTTAGONE", "127.0.0.1", fmt.Sprint(x.target.Port()), "1000", key)
			}
			testbed.Eventually(x, func() error {
				if slices.Contains(x.source.Keys(), key) {
					return fmt.Errorf("%s is at the source", key)
				}
				return nil
			}, replyWait)
			x.wantAt(x.target, key)
			c.want(of.before, on(of.read, key)...)
			c.do(on(of.write, key)...)
			c.want(of.after, on(of.read, key)...)
			c.want(":1\r\n", "EXISTS", key)
			other := x.p.dial(x)
			other.want(of.after, on(of.read, key)...)
		}
	})
}

// A pipeline over moving and settled slots is answered in order.
func TestPipelineOverAMovingSlot(t *testing.T) {
	eachKeyMigration(t, func(x *keyMigrationTest) {
		keys := x.keys(4)
		x.source.Do("SET", keys[0], "5")
		var requests strings.Builder
		for range 20 {
			for _, key := range append(slices.Clone(keys), "settled1", "settled2") {
				fmt.Fprintf(&requests, "INCR %s\r\n", key)
			}
		}
		c := x.p.dial(x)
		c.send(requests.String())
		for i := range 20 {
			c.wantReply(fmt.Sprintf(":%d\r\n", i+6))
			for range 5 {
				c.wantReply(fmt.Sprintf(":%d\r\n", i+1))
			}
		}
	})
}

// What a background round has sent for a key must not reach the target after a client's write there.
func TestWriteWaitsForTheBackground(t *testing.T) {
	for _, kind := range []fakecodis.Kind{fakecodis.Pika35, fakecodis.Pika40, fakecodis.PikaFixed} {
		t.Run(kind.String(), func(t *testing.T) {
			x := startKeyMigration(t, kind, router.SemiAsync, never)
			key := x.keys(2)[1]
			x.source.Do("SET", key, "old")
			x.source.Do("RPUSH", "{t}list", "old")
			sending := x.source.Faults.Hold(fakecodis.AsyncSend) // A round that is under way.
			dashboard := dial(x, "tcp", x.source.Addr())
			dashboard.want("*2\r\n:0\r\n:2\r\n", "SLOTSMGRTTAGSLOT-ASYNC", "127.0.0.1", fmt.Sprint(x.target.Port()),
				"1000", "200", "1000000",
				fmt.Sprint(x.slot), "500")
			<-sending.Arrived() // The round has read the key and not sent it.
			c := x.p.dial(x)
			c.request("SET", key, "new")
			x.p.awaitHeld(x, 1)
			if n := x.source.Calls("SLOTSMGRTTAGONE").Seen; n != 0 {
				x.Errorf("%d SLOTSMGRTTAGONE beside the background migration", n)
			}
			sending.Release()
			c.wantReply("+OK\r\n")
			c.want(bulkReply("new"), "GET", key)
			c.want(":2\r\n", "RPUSH", "{t}list", "new")
			testbed.Eventually(x, func() error {
				if v := dashboard.do("SLOTSMGRT-ASYNC-STATUS"); !strings.Contains(v, "migrating  : no") {
					return fmt.Errorf("status %q", v)
				}
				return nil
			}, replyWait)
			if got := x.target.Do("GET", key).String(); got != "new" {
				x.Errorf("the target has %q", got)
			}
			c.want("*2\r\n$3\r\nold\r\n$3\r\nnew\r\n", "LRANGE", "{t}list", "0", "-1")
		})
	}
}

func (x *keyMigrationTest) awaitCalls(command string, n int) {
	x.Helper()
	testbed.Eventually(x, func() error {
		if got := x.source.Calls(command).Seen; got < n {
			return fmt.Errorf("%d %s, want %d", got, command, n)
		}
		return nil
	}, replyWait)
}

// A key in a batch of codis-server waits for the batch, reads do not.
func TestKeyInABatchOfCodisServer(t *testing.T) {
	x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, never)
	x.source.Do("SET", "{t}1", "old")
	x.source.Do("SET", "{t}2", "old")
	batch := x.source.Faults.Hold(fakecodis.AsyncWait)
	dashboard := dial(x, "tcp", x.source.Addr())
	dashboard.request("SLOTSMGRTTAGSLOT-ASYNC", "127.0.0.1", fmt.Sprint(x.target.Port()), "10000", "0", "0",
		fmt.Sprint(x.slot), "100")
	<-batch.Arrived()
	reader, writer, multi := x.p.dial(x), x.p.dial(x), x.p.dial(x)
	reader.want(bulkReply("old"), "GET", "{t}1")
	writer.request("APPEND", "{t}1", "+")
	multi.request("MSET", "{t}2", "new", "{t}3", "new")
	x.p.awaitHeld(x, 1)
	x.awaitCalls("SLOTSMGRT-ASYNC-FENCE", 1)
	batch.Release()
	writer.wantReply(":4\r\n")
	multi.wantReply("+OK\r\n")
	dashboard.wantReply("*2\r\n:2\r\n:2\r\n")
	reader.want("*3\r\n$4\r\nold+\r\n$3\r\nnew\r\n$3\r\nnew\r\n", "MGET", "{t}1", "{t}2", "{t}3")
	x.wantAt(x.target, "{t}1")
}

// A hot key is looked for once; later commands go straight to the target.
func TestHotKeyIsLookedForOnce(t *testing.T) {
	eachKeyMigration(t, func(x *keyMigrationTest) {
		key := x.keys(1)[0]
		x.source.Do("SET", key, "0")
		c := x.p.dial(x)
		if x.source.Kind() == fakecodis.CodisServer {
			dial(x, "tcp", x.source.Addr()).want(":1\r\n", "SLOTSMGRTTAGONE", "127.0.0.1", fmt.Sprint(x.target.Port()),
				"1000", key)
		}
		asked := func() int {
			return x.source.Calls("SLOTSMGRTTAGONE").Seen + x.source.Calls("SLOTSMGRT-EXEC-WRAPPER").Seen + x.source.Calls("EXISTS").Seen
		}
		before := asked()
		c.want(":1\r\n", "INCR", key)
		after := asked()
		for i := range 50 {
			c.want(fmt.Sprintf(":%d\r\n", i+2), "INCR", key)
		}
		if asked() != after || after == before {
			x.Errorf("the source was asked %d times for the first command and %d times for 50 others", after-before,
				asked()-after)
		}
	})
}

// The target hangs: the source is not asked for more keys at once than it may be, others are served by it, and the
// command waits for its deadline and no longer.
func TestHungTarget(t *testing.T) {
	t.Parallel()
	eachKeyMigration(t, func(x *keyMigrationTest) {
		if x.source.Kind() == fakecodis.CodisServer && x.method == router.Sync {
			return // A synchronous move stops the whole of codis-server, as it does without a proxy.
		}
		x.p.pool.SetSettings(func() PoolSettings {
			s := *x.p.pool.Settings()
			s.Hold.MaxWait, s.Backend.RequestTimeout, s.Backend.BreakerFailures = 3*time.Second, 2*time.Second, 1<<30
			return s
		}())
		keys := x.keys(30)
		for _, key := range keys {
			x.source.Do("SET", key, "old")
		}
		x.target.Faults.Freeze()
		clients := make([]*testClient, len(keys))
		for i, key := range keys {
			clients[i] = x.p.dial(x)
			clients[i].request("MSET", key, "new", "{t}other", "new") // Several keys: a codis-server would run one.
		}
		other := x.p.dial(x)
		other.want("$-1\r\n", "GET", "settled")
		for _, c := range clients {
			c.wantPrefix(fmt.Sprintf("-TRYAGAIN slot %d is ", x.slot))
		}
		other.want("$-1\r\n", "GET", "settled")
		if n := x.source.Calls("SLOTSMGRTTAGONE").MaxRunning; n > 4 {
			x.Errorf("%d SLOTSMGRTTAGONE ran at once, want at most 4", n)
		}
		x.target.Faults.Thaw()
		for i, key := range keys {
			clients[i].want("$3\r\nold\r\n", "GET", key)
		}
	})
}

// Whatever goes wrong at the source, the client sees latency or TRYAGAIN, and never a wrong value.
func TestFailuresOfTheSource(t *testing.T) {
	t.Parallel()
	f := func(name string, fault func(x *keyMigrationTest), repair func(x *keyMigrationTest)) {
		t.Run(name, func(t *testing.T) {
			eachKeyMigration(t, func(x *keyMigrationTest) {
				key := x.keys(2)[1]
				x.source.Do("SET", key, "5")
				fault(x)
				c := x.p.dial(x)
				c.request("INCR", key)
				if repair != nil {
					repair(x)
				}
				reply := c.reply()
				switch {
				case reply == ":6\r\n":
					c.want(bulkReply("6"), "GET", key)
				case strings.HasPrefix(reply, "-ERR outcome unknown: "):
					if got := c.do("GET", key); got != bulkReply("5") && got != bulkReply("6") {
						x.Errorf("after %q the value is %q", reply, got)
					}
				default:
					x.Errorf("reply %q", reply)
				}
			})
		})
	}
	restart := func(x *keyMigrationTest) {
		testbed.Eventually(x, func() error {
			conn, err := net.Dial("tcp", x.source.Addr())
			if err == nil {
				_ = conn.Close()
				return errors.New("the source has not died yet")
			}
			return nil
		}, replyWait)
		if err := x.source.Restart(); err != nil {
			x.Fatal(err)
		}
	}
	kill := func(x *keyMigrationTest) { x.source.Kill() }
	f("refuses to move", func(x *keyMigrationTest) {
		x.source.Faults.RefuseMigration(true)
		x.bringBack(x.keys(2)[1], "5")
		if x.source.Kind() == fakecodis.CodisServer {
			x.source.Faults.Answer("SLOTSMGRT-EXEC-WRAPPER",
				"*2\r\n:1\r\n-ERR the specified key is being migrated\r\n", 5)
		}
	}, func(x *keyMigrationTest) {
		x.p.awaitHeld(x, 1)
		x.source.Faults.RefuseMigration(false)
	})
	f("says false zero", func(x *keyMigrationTest) { x.source.Faults.FalseZero(x.keys(2)[1]) }, nil)
	f("says -1", func(x *keyMigrationTest) { x.source.Faults.MinusOne(time.Hour) }, nil)
	f("is a replica for a while", func(x *keyMigrationTest) {
		x.source.Faults.Answer("SLOTSMGRT-EXEC-WRAPPER", "-READONLY You can't write against a read only slave.\r\n", 3)
	}, nil)
	f("has no type for the key", func(x *keyMigrationTest) {
		x.source.Faults.Answer("SLOTSMGRTTAGONE", "-ERR cont get the key type.\r\n", 3)
	}, nil)
	f("IOERR", func(x *keyMigrationTest) {
		x.source.Faults.Answer("SLOTSMGRTTAGONE", "-IOERR error or timeout writing to target\r\n", 3)
	}, nil)
	f("is away and comes back", kill, restart)
	dies := func(step fakecodis.Step) func(x *keyMigrationTest) {
		return func(x *keyMigrationTest) {
			wrapped := x.source.Kind() == fakecodis.CodisServer && x.method == router.SemiAsync
			background := map[fakecodis.Step]fakecodis.Step{
				fakecodis.Command: fakecodis.AsyncRead, fakecodis.SyncRead: fakecodis.AsyncSend,
				fakecodis.SyncSend:   fakecodis.AsyncExpire,
				fakecodis.SyncDelete: fakecodis.AsyncDelete, fakecodis.Reply: fakecodis.AsyncWait,
			}
			switch {
			case x.left():
				x.source.Faults.Die(background[step])
				x.source.Do("SET", x.keys(4)[3], "1") // If the key has gone already, the server dies by this one.
			case step != fakecodis.Command && step != fakecodis.Reply && wrapped: // The wrapper moves nothing.
				x.source.Faults.Die(fakecodis.Command, "SLOTSMGRT-EXEC-WRAPPER")
			case step != fakecodis.Command && step != fakecodis.Reply:
				x.source.Faults.Die(step)
			case wrapped:
				x.source.Faults.Die(step, "SLOTSMGRT-EXEC-WRAPPER")
			default:
				x.source.Faults.Die(step, "SLOTSMGRTTAGONE")
			}
		}
	}
	f("dies before it runs", dies(fakecodis.Command), restart)
	f("dies before it reads the key", dies(fakecodis.SyncRead), restart)
	f("dies before it sends the key", dies(fakecodis.SyncSend), restart)
	f("dies before it deletes the key", dies(fakecodis.SyncDelete), restart)
	f("dies before it answers", dies(fakecodis.Reply), restart)
}

// A dashboard pauses for six seconds when a batch of it was refused. Who has waited for long asks for a round himself.
func TestBackgroundThatStandsStillIsAskedForARound(t *testing.T) {
	t.Parallel()
	for _, kind := range []fakecodis.Kind{fakecodis.Pika35, fakecodis.Pika40, fakecodis.PikaFixed} {
		t.Run(kind.String(), func(t *testing.T) {
			x := startKeyMigration(t, kind, router.SemiAsync, never)
			keys := x.keys(2)
			x.source.Do("SET", keys[0], "1")
			x.source.Do("SET", keys[1], "2")
			c := x.p.dial(x)
			c.want(":2\r\n", "INCR", keys[0])
			c.want(":3\r\n", "INCR", keys[1])
			if n := x.p.Stats().Moves.Rounds; n < 1 || x.source.Calls("SLOTSMGRTTAGONE").Seen != 0 {
				x.Errorf("%d rounds, %d SLOTSMGRTTAGONE", n, x.source.Calls("SLOTSMGRTTAGONE").Seen)
			}
			x.wantAt(x.target, keys[0])
			x.wantAt(x.target, keys[1])
		})
	}
}
