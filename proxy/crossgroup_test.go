package proxy

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

func acrossGroups(_ *Config, pool *PoolConfig) { pool.CrossGroup = true }

// crossGroupTest is a pool of three real servers.
type crossGroupTest struct {
	*testProxy
	servers []*testbed.Server
	specs   []router.GroupSpec
}

func startCrossGroup(t *testing.T, change ...func(*Config, *PoolConfig)) *crossGroupTest {
	x := &crossGroupTest{}
	var addrs []string
	for range 3 {
		s := testbed.Redis(t)
		x.servers, addrs = append(x.servers, s), append(addrs, s.Addr())
	}
	x.specs = evenly(codisModel, addrs...)
	x.testProxy = startProxy(t, codisModel, x.specs, append([]func(*Config, *PoolConfig){acrossGroups, holding(never)}, change...)...)
	return x
}

// key is one of the keys of a group.
func (x *crossGroupTest) key(t *testing.T, group int) string {
	return x.keysAt(t, x.servers[group].Addr(), 1)[0]
}

// Whoever has an element gives it, first those that have one already in the order of the keys, then whoever gets one.
func TestPopsOverSeveralGroups(t *testing.T) {
	t.Parallel()
	x := startCrossGroup(t)
	a, b, d := x.key(t, 0), x.key(t, 1), x.key(t, 2)
	for _, proto := range []string{"2", "3"} {
		c, other := x.dial(t), x.dial(t)
		c.do("HELLO", proto)
		pair := func(key, value string) string {
			return fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
		}
		other.want(":2\r\n", "RPUSH", b, "1", "2")
		other.want(":1\r\n", "RPUSH", d, "3")
		c.want(pair(b, "1"), "BLPOP", a, b, d, "0")
		c.want(pair(b, "2"), "BRPOP", a, b, d, "5")
		c.want(pair(d, "3"), "BLPOP", a, b, d, "0")
		null := map[string]string{"2": "*-1\r\n", "3": "_\r\n"}[proto]
		c.want(null, "BLPOP", a, b, d, "0.02")
		c.request("BLPOP", a, d, "0")
		x.awaitBlocked(t, 1)
		other.want(":1\r\n", "RPUSH", d, "4")
		c.wantReply(pair(d, "4"))

		other.want(":3\r\n", "RPUSH", b, "1", "2", "3")
		c.want("*2\r\n"+fmt.Sprintf("$%d\r\n%s\r\n", len(b), b)+"*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "BLMPOP", "0", "3", a, b, d, "LEFT", "COUNT", "2")
		c.want("*2\r\n"+fmt.Sprintf("$%d\r\n%s\r\n", len(b), b)+"*1\r\n$1\r\n3\r\n", "BLMPOP", "0", "2", a, b, "RIGHT")
		other.want(":1\r\n", "ZADD", d, "7", "m")
		if got := c.do("BZPOPMIN", a, b, d, "0"); !strings.HasPrefix(got, "*3\r\n") || !strings.Contains(got, d) {
			t.Errorf("BZPOPMIN: %q", got)
		}
		c.want("-ERR timeout is negative\r\n", "BLPOP", a, b, "-1")
		for _, much := range []string{"1e30", "inf", "99999999999999999999"} { // Redis 7.0 calls that negative.
			if got := c.do("BLPOP", a, b, much); !strings.HasPrefix(got, "-ERR timeout is ") {
				t.Errorf("a timeout of %s: %q", much, got)
			}
		}
		c.want("-ERR timeout is not a float or out of range\r\n", "BLPOP", a, b, "1_0")
		c.want(null, "BLPOP", a, b, "0x0.1")
		c.want(null, "BLPOP", a, b, "1e-400")
		c.want("-ERR timeout is not a float or out of range\r\n", "BLPOP", a, b, "x")
		other.want("+OK\r\n", "SET", a, "text")
		c.want("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "BLPOP", d, a, "0")
		other.want(":1\r\n", "DEL", a)
		c.want("+PONG\r\n", "PING")
		c.Close()
		other.Close()
	}
}

// awaitBlocked returns when n clients wait for data.
func (x *crossGroupTest) awaitBlocked(t *testing.T, n int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		now := 0
		x.onEachLoop(t.Context(), func(l *loop) { now += len(l.blocked) })
		if now != n {
			return fmt.Errorf("%d clients wait", now)
		}
		return nil
	}, replyWait)
}

// Streams of several groups are read as one, with what all of them have, and "$" is where they ended at the first look.
func TestStreamsOverSeveralGroups(t *testing.T) {
	x := startCrossGroup(t)
	a, b := x.key(t, 0), x.key(t, 1)
	stream := func(key, id string) string {
		return fmt.Sprintf("$%d\r\n%s\r\n*1\r\n*2\r\n$%d\r\n%s\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", len(key), key, len(id), id)
	}
	for _, proto := range []string{"2", "3"} {
		c, other := x.dial(t), x.dial(t)
		c.do("HELLO", proto)
		head, each, null := "*2\r\n", "*2\r\n", "*-1\r\n"
		if proto == "3" {
			head, each, null = "%2\r\n", "", "_\r\n"
		}
		one := strings.Replace(head, "2", "1", 1)
		other.want("$3\r\n1-1\r\n", "XADD", a, "1-1", "f", "v")
		other.want("$3\r\n1-2\r\n", "XADD", b, "1-2", "f", "v")
		c.want(head+each+stream(a, "1-1")+each+stream(b, "1-2"), "XREAD", "STREAMS", a, b, "0", "0")
		c.want(head+each+stream(b, "1-2")+each+stream(a, "1-1"), "XREAD", "BLOCK", "0", "STREAMS", b, a, "0", "0")
		c.want(one+each+stream(b, "1-2"), "XREAD", "COUNT", "1", "STREAMS", a, b, "1-1", "0")
		c.want(null, "XREAD", "STREAMS", a, b, "9", "9")
		c.want(null, "XREAD", "BLOCK", "20", "STREAMS", a, b, "$", "$")
		c.request("XREAD", "BLOCK", "0", "STREAMS", a, b, "$", "$")
		x.awaitBlocked(t, 1)
		testbed.Eventually(t, func() error { // Both ends are known once both servers were asked for a slice.
			known := false
			x.onEachLoop(t.Context(), func(l *loop) {
				for w := range l.blocked {
					known = known || w.d.sink.(*crossGroup).pass > 0
				}
			})
			if !known {
				return fmt.Errorf("in the first pass")
			}
			return nil
		}, replyWait)
		other.want("$3\r\n2-1\r\n", "XADD", b, "2-1", "f", "v")
		c.wantReply(one + each + stream(b, "2-1"))

		for _, key := range []string{a, b} {
			other.want("+OK\r\n", "XGROUP", "CREATE", key, "g", "0")
		}
		got := c.do("XREADGROUP", "GROUP", "g", "me", "COUNT", "1", "BLOCK", "0", "STREAMS", a, b, ">", ">")
		if want := head + each + stream(a, "1-1") + each + stream(b, "1-2"); got != want {
			t.Errorf("XREADGROUP: %q, want %q", got, want)
		}
		if got := other.do("XPENDING", b, "g"); !strings.HasPrefix(got, "*4\r\n:1\r\n") {
			t.Errorf("pending: %q", got)
		}
		c.want("-ERR timeout is not an integer or out of range\r\n", "XREAD", "BLOCK", "1e1", "STREAMS", a, b, "0", "0")

		// What a group has given already is not lost by an error of another one.
		other.want("$3\r\n3-1\r\n", "XADD", a, "3-1", "f", "v")
		other.want(":1\r\n", "XGROUP", "DESTROY", b, "g")
		c.want(one+each+strings.Replace(stream(a, "2-1"), "2-1", "3-1", 1), "XREADGROUP", "GROUP", "g", "me", "NOACK", "STREAMS", a, b, ">", ">")
		if got := c.do("XREADGROUP", "GROUP", "g", "me", "NOACK", "STREAMS", a, b, ">", ">"); !strings.HasPrefix(got, "-NOGROUP ") {
			t.Errorf("a group that is not there: %q", got)
		}
		c.want("-ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.\r\n", "XREAD", "STREAMS", a, b, "0")
		other.want(":2\r\n", "DEL", a, b)
		c.Close()
		other.Close()
	}
}

// The first look waits nowhere, and what comes behind the command is seen though another server is silent.
func TestTheFirstLookDoesNotWait(t *testing.T) {
	x := startCrossGroup(t)
	a, b := x.key(t, 0), x.key(t, 1)
	c, other := x.dial(t), x.dial(t)
	other.want(":2\r\n", "RPUSH", b, "1", "2")
	c.want(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$1\r\n1\r\n", len(b), b), "BLPOP", a, b, "0")
	for _, s := range x.servers[:2] {
		// And one that asks for MULTI.
		if stats := s.Do("INFO", "commandstats").String(); !strings.Contains(stats, "cmdstat_multi:calls=2,") {
			t.Errorf("%s: %s", s.Addr(), stats)
		}
	}
	other.want(":1\r\n", "DEL", b)

	stopServer(t, x.servers[0])
	c.request("XREAD", "BLOCK", "0", "STREAMS", a, b, "$", "$")
	testbed.Eventually(t, func() error { // The end of the stream that can be asked for is known.
		if stats := x.servers[1].Do("INFO", "commandstats").String(); !strings.Contains(stats, "cmdstat_xrevrange:") {
			return errors.New(stats)
		}
		return nil
	}, replyWait)
	other.want("$3\r\n1-1\r\n", "XADD", b, "1-1", "f", "v")
	contServer(t, x.servers[0])
	if got := c.reply(); !strings.Contains(got, "1-1") {
		t.Errorf("XREAD: %q", got)
	}
}

// Without being asked for, and for what no server can do in one piece, it stays as it is.
func TestWhatDoesNotCross(t *testing.T) {
	x := startCrossGroup(t)
	a, b := x.key(t, 0), x.key(t, 1)
	c := x.dial(t)
	for _, request := range []string{"BLMOVE %s %s LEFT LEFT 0", "BRPOPLPUSH %s %s 0", "SUNION %s %s", "RENAME %s %s", "LMPOP 2 %s %s LEFT", "PFCOUNT %s %s"} {
		got := c.do(strings.Fields(fmt.Sprintf(request, a, b))...)
		if !strings.HasPrefix(got, "-CROSSSLOT ") {
			t.Errorf("%s: %q", request, got)
		}
	}
	many := []string{"BLPOP", a, b}
	for i := range maxCrossGroupKeys {
		many = append(many, fmt.Sprint("k", i))
	}
	c.want("-ERR 'blpop' may have 1000 keys of several groups at most, and has 1002\r\n", append(many, "0")...)
	c.want("+OK\r\n", "MULTI")
	c.request("BLPOP", a, b, "0")
	c.wantPrefix("-CROSSSLOT ")
	c.request("EXEC")
	c.wantPrefix("-EXECABORT")
	s := *x.pool.Settings()
	s.CrossGroup = false
	x.pool.SetSettings(s)
	c.request("BLPOP", a, b, "0")
	c.wantPrefix("-CROSSSLOT ")
	c.request("XREAD", "STREAMS", a, b, "0", "0")
	c.wantPrefix("-CROSSSLOT ")
}

// While a slot is locked the other groups go on being asked, and what moves is found where it is.
func TestCrossGroupWhileSlotsMove(t *testing.T) {
	x := startCrossGroup(t)
	a, b := x.key(t, 0), x.key(t, 1)
	c, other := x.dial(t), x.dial(t)
	c.request("BLPOP", a, b, "0")
	x.awaitBlocked(t, 1)
	x.setTable(t, x.specs, lock(codisModel, a))
	other.want(":1\r\n", "RPUSH", b, "1")
	c.wantReply(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$1\r\n1\r\n", len(b), b))

	// All are locked, and then one group has everything.
	c.request("BLPOP", a, b, "0")
	x.awaitBlocked(t, 1)
	both := lock(codisModel, a)
	both.Slots = append(both.Slots, lock(codisModel, b).Slots...)
	x.setTable(t, x.specs, both)
	x.awaitHeld(t, 1)
	moved := evenly(codisModel, x.servers[2].Addr())
	x.setTable(t, moved)
	x.awaitBlocked(t, 1)
	other.want(":1\r\n", "RPUSH", a, "2")
	c.wantReply(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$1\r\n2\r\n", len(a), a))
	if got := x.servers[2].Do("LLEN", a).String(); got != "0" {
		t.Errorf("%s elements are left", got)
	}
}

// CLIENT UNBLOCK and a client that goes end it; nothing is taken for who has gone.
func TestCrossGroupEnd(t *testing.T) {
	x := startCrossGroup(t)
	a, b := x.key(t, 0), x.key(t, 1)
	c, other := x.dial(t), x.dial(t)
	id := strings.TrimSpace(c.do("CLIENT", "ID")[1:])
	for how, want := range map[string]string{"TIMEOUT": "*-1\r\n", "ERROR": "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"} {
		c.request("BLPOP", a, b, "0")
		x.awaitBlocked(t, 1)
		other.awaitReply(":1\r\n", "CLIENT", "UNBLOCK", id, how) // Between two turns it waits nowhere.
		c.wantReply(want)
	}
	c.request("BLPOP", a, b, "0")
	x.awaitBlocked(t, 1)
	c.Close()
	x.awaitBlocked(t, 0)
	other.want(":1\r\n", "RPUSH", a, "1")
	other.want(":1\r\n", "RPUSH", b, "1")
	other.want(":1\r\n", "LLEN", a)
	other.want(":1\r\n", "LLEN", b)
}

// Whoever shuts down its sending side while it waits gets what its turn has taken.
func TestCrossGroupOfClientsThatHalfClose(t *testing.T) {
	x := startCrossGroup(t)
	a, b := x.key(t, 0), x.key(t, 1)
	producer := x.dial(t)
	const pushed = 300
	got, taken := make(map[string]bool), 0
	for i := range pushed {
		c := x.dial(t)
		c.request("BLPOP", a, b, "0")
		producer.request("RPUSH", []string{a, b}[i%2], strconv.Itoa(i))
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		producer.wantPrefix(":")
		if reply, err := c.tryReply(); err == nil && strings.HasPrefix(reply, "*2\r\n") {
			got[strings.Split(reply, "\r\n")[4]] = true
			taken++
		}
		c.Close()
	}
	for _, key := range []string{a, b} {
		for _, e := range elements(t, producer.do("LRANGE", key, "0", "-1")) {
			got[e] = true
		}
	}
	if len(got) != pushed {
		t.Errorf("%d of %d elements are left, %d were taken", len(got), pushed, taken)
	}
	x.awaitBlocked(t, 0)
}

// Many workers at the queues of three groups get every element once.
func TestCrossGroupTakeEachElementOnce(t *testing.T) {
	t.Parallel()
	x := startCrossGroup(t)
	queues := []string{x.key(t, 0), x.key(t, 1), x.key(t, 2)}
	const workers, elements = 16, 1200
	got := make(chan string, 2*elements)
	var work sync.WaitGroup
	for range workers {
		c := x.dial(t)
		work.Go(func() {
			for {
				c.request(append(append([]string{"BLPOP"}, queues...), "1")...)
				reply, err := c.tryReply()
				if err != nil || reply == "*-1\r\n" {
					return
				}
				fields := strings.Split(reply, "\r\n")
				got <- fields[4]
			}
		})
	}
	producer := x.dial(t)
	for i := range elements {
		producer.request("RPUSH", queues[i%3], strconv.Itoa(i))
		producer.wantPrefix(":")
	}
	work.Wait()
	close(got)
	seen := make(map[string]int)
	for e := range got {
		seen[e]++
	}
	for i := range elements {
		if n := seen[strconv.Itoa(i)]; n != 1 {
			t.Errorf("element %d was taken %d times", i, n)
		}
	}
}

// In a cluster the slots count.
func TestCrossGroupInACluster(t *testing.T) {
	top := clusterTopology(t)
	s := *top.pool.Settings()
	s.CrossGroup = true
	top.pool.SetSettings(s)
	c, other := top.dial(t), top.dial(t)
	keys := keysApart(clusterModel, 6)
	other.want(":1\r\n", "RPUSH", keys[4], "x")
	c.want(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$1\r\nx\r\n", len(keys[4]), keys[4]), append(append([]string{"BLPOP"}, keys...), "0")...)
	c.request(append(append([]string{"BLPOP"}, keys...), "0")...)
	other.want(":1\r\n", "RPUSH", keys[2], "y")
	c.wantReply(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$1\r\ny\r\n", len(keys[2]), keys[2]))
	started := time.Now()
	c.want("*-1\r\n", append(append([]string{"BLPOP"}, keys...), "0.05")...)
	if waited := time.Since(started); waited < 50*time.Millisecond {
		t.Errorf("nothing came for %s", waited)
	}
}
