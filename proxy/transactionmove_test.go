package proxy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/internal/testbed"
	"sluice/router"
)

// Transactions, WATCH and blocking commands while slots move between the nodes of a real cluster.
func TestExclusiveRequestsInAReshard(t *testing.T) {
	cluster := testbed.Cluster(t, 3, 0)
	slot := int(clusterModel.Slot([]byte("{r}")))
	from := cluster.NodeOf(slot)
	to := cluster.Nodes()[(slices.Index(cluster.Nodes(), from)+1)%3]
	p := startProxy(t, clusterModel, specsOf(t, cluster), faultOptions(nil), holding(never))
	c, waits, watches := p.dial(t), p.dial(t), p.dial(t)
	for _, key := range []string{"{r}gone", "{r}here", "{r}watched"} {
		c.want("+OK\r\n", "SET", key, "1")
	}
	watches.want("+OK\r\n", "WATCH", "{r}watched")
	waits.request("BLPOP", "{r}list", "0")
	p.awaitBlocked(t, from, 1)
	if err := cluster.BeginMove(slot, to); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"{r}gone", "{r}watched"} {
		if v := from.Do("MIGRATE", "127.0.0.1", fmt.Sprint(to.Port()), key, "0", "5000"); v.Error() != nil {
			t.Fatal(v)
		}
	}
	if got := c.transact("INCR", "{r}here"); got != "*1\r\n:2\r\n" {
		t.Errorf("at the source: %q", got)
	}
	if got := c.transact("INCR", "{r}gone"); got != "*1\r\n:2\r\n" {
		t.Errorf("at the target: %q", got)
	}
	if got := c.transact("INCR", "{r}new"); got != "*1\r\n:1\r\n" {
		t.Errorf("a new key: %q", got)
	}
	if n := to.Do("CLUSTER", "COUNTKEYSINSLOT", fmt.Sprint(slot)).Integer(); n != 3 {
		t.Errorf("the target has %d keys, want those that were moved and the new one", n)
	}
	if got := watches.transact("INCR", "{r}watched"); got != execChanged {
		t.Errorf("a key that was watched and has moved: %q", got)
	}
	// Keys on both sides: the transaction waits for the end of the move.
	c.request("MULTI")
	c.request("INCR", "{r}here")
	c.request("INCR", "{r}gone")
	c.request("EXEC")
	p.awaitHeld(t, 1)
	if err := cluster.FinishMove(slot); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:3\r\n:3\r\n"} {
		c.wantReply(want)
	}
	p.awaitBlocked(t, to, 1) // The source has sent it away.
	c.want(":1\r\n", "RPUSH", "{r}list", "v")
	waits.wantReply("*2\r\n$7\r\n{r}list\r\n$1\r\nv\r\n")
	p.setTable(t, specsOf(t, cluster))
	watches.want("+OK\r\n", "WATCH", "{r}watched")
	if got := watches.transact("INCR", "{r}watched"); got != "*1\r\n:2\r\n" {
		t.Errorf("after the move: %q", got)
	}
	p.wantNothingBound(t)
}

// A counter that several clients read and write with WATCH, while its slot is locked and handed over: nobody's
// increment is lost.
func TestOptimisticLocking(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, faultOptions(nil), holding(never), func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	const clients, each = 6, 40
	var work, locks sync.WaitGroup
	turn := make(chan struct{})
	locks.Go(func() {
		for range turn {
			p.setTable(t, specs, lock(codisModel, "n"))
			p.wantBarrier(t, server.Addr())
			p.setTable(t, specs)
		}
	})
	for range clients {
		c := p.dial(t)
		work.Go(func() {
			for done := 0; done < each && !t.Failed(); {
				c.want("+OK\r\n", "WATCH", "n")
				n := 0
				if v, ok := bulkValue(c.do("GET", "n")); ok {
					_, _ = fmt.Sscan(v, &n)
				}
				switch got := c.transact("SET", "n", fmt.Sprint(n+1)); got {
				case "*1\r\n+OK\r\n":
					done++
				case execChanged:
				default:
					t.Errorf("EXEC: %q", got)
				}
				select {
				case turn <- struct{}{}:
				default:
				}
			}
		})
	}
	work.Wait()
	close(turn)
	locks.Wait()
	p.dial(t).want(bulkReply(fmt.Sprint(clients*each)), "GET", "n")
	p.wantNothingBound(t)
}

func TestTransactionsAreBounded(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil), limited(func(l *Limits) {
		l.MaxUnparsed, l.MaxPipeline = 10000, 3
	}))
	c := p.dial(t)
	for range 2 {
		c.want("+OK\r\n", "MULTI")
		value := strings.Repeat("x", 3000)
		for range 3 {
			c.want("+QUEUED\r\n", "SET", "k", value)
		}
		c.want("-ERR the transaction is larger than max_unparsed, 10000 bytes\r\n", "SET", "k", value)
		c.want("-"+errExecAborted+"\r\n", "EXEC")
		c.want("$-1\r\n", "GET", "k")
	}
	// Transactions behind more requests than may be in flight.
	var requests [][]string
	for range 20 {
		requests = append(requests, []string{"INCR", "n"}, []string{"MULTI"}, []string{"INCR", "n"}, []string{"EXEC"})
	}
	go func() {
		for _, r := range requests {
			c.request(r...)
		}
	}()
	for i := range 20 {
		for _, want := range []string{fmt.Sprintf(":%d\r\n", 2*i+1), "+OK\r\n", "+QUEUED\r\n", fmt.Sprintf("*1\r\n:%d\r\n", 2*i+2)} {
			c.wantReply(want)
		}
	}
	p.wantNothingBound(t)
	p.onEachLoop(t.Context(), func(l *loop) {
		for _, c := range l.clients {
			if c.tx.queue != nil || c.tx.sizes != nil || c.tx.keys != nil {
				t.Error("a transaction is kept")
			}
		}
	})
}

// A transaction without keys runs somewhere, and one whose slot nobody owns does not.
func TestTransactionWithoutAnOwner(t *testing.T) {
	server := testbed.Redis(t)
	key := "k"
	slot := testModel.Slot([]byte(key))
	p := startProxy(t, testModel, []router.GroupSpec{{ID: "1", Master: server.Addr(), Slots: []router.Range{{From: 0, To: slot - 1}}}}, faultOptions(nil))
	c := p.dial(t)
	if got := c.transact("GET", key); got != "-"+errSlotUnserved+"\r\n" {
		t.Errorf("%q", got)
	}
	c.want("-"+errSlotUnserved+"\r\n", "BLPOP", key, "0")
	c.want("-"+errSlotUnserved+"\r\n", "WATCH", key)
	p.wantNothingBound(t)
}

// Connections that are killed at any time: what was answered has run once, what is unknown at most once, and an element
// is popped for nobody else.
func TestExclusiveRequestsRunAtMostOnce(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil), holding(never))
	const clients, each = 6, 100
	var run, unknown, popped, lost atomic.Int64
	var work, kills sync.WaitGroup
	turn := make(chan struct{})
	kills.Go(func() {
		for range turn {
			server.Do("CLIENT", "KILL", "TYPE", "normal")
		}
	})
	for i := range clients {
		c := p.dial(t)
		work.Go(func() {
			for range each {
				switch got := c.transact("INCR", "n"); {
				case strings.HasPrefix(got, "*1\r\n:"):
					run.Add(1)
				case strings.HasPrefix(got, "-ERR outcome unknown: "):
					unknown.Add(1)
				default:
					t.Errorf("EXEC: %q", got)
				}
				c.request("BLPOP", fmt.Sprint("list", i), "0.01")
				switch got := c.reply(); {
				case got == "*-1\r\n":
				case strings.HasPrefix(got, "*2\r\n"):
					popped.Add(1)
				case strings.HasPrefix(got, "-ERR outcome unknown: "):
					lost.Add(1)
				default:
					t.Errorf("BLPOP: %q", got)
				}
				c.request("RPUSH", fmt.Sprint("list", (i+1)%clients), "v")
				c.reply() // Its outcome may be unknown as well.
				select {
				case turn <- struct{}{}:
				default:
				}
			}
		})
	}
	work.Wait()
	close(turn)
	kills.Wait()
	n := int64(0)
	_, _ = fmt.Sscan(server.Do("GET", "n").String(), &n)
	if n < run.Load() || n > run.Load()+unknown.Load() {
		t.Errorf("run %d times; %d were answered, and of %d the outcome is unknown", n, run.Load(), unknown.Load())
	}
	left := int64(0)
	for i := range clients {
		left += int64(server.Do("LLEN", fmt.Sprint("list", i)).Integer())
	}
	t.Logf("transactions: %d run, %d unknown; pops: %d popped, %d unknown, %d elements left", run.Load(), unknown.Load(), popped.Load(), lost.Load(), left)
	p.wantNothingBound(t)
	p.wantPanics(t, 0)
}
