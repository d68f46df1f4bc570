package proxy

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice/internal/testbed"
)

// A script may end with any error it likes after it has run. Only the very words of a server prove that it has not.
func TestErrorOfAScriptIsItsOwn(t *testing.T) {
	redis := testbed.Redis(t)
	c := startProxy(t, codisModel, evenly(codisModel, redis.Addr()), holding(never)).dial(t)
	for i, line := range []string{"TRYAGAIN busy", "LOADING my data", "MASTERDOWN x"} {
		c.want("-"+line+"\r\n", "EVAL", "redis.call('INCR', KEYS[1]); return redis.error_reply(ARGV[1])", "1", "k", line)
		c.want(bulkReply(fmt.Sprint(i+1)), "GET", "k")
	}

	server := startFake(t, func() answerFunc {
		seen := 0
		return func(c *scriptedConn, args []string) {
			if seen++; seen == 1 {
				c.reply("-" + loading + "\r\n")
				return
			}
			echoValue(c, args)
		}
	}())
	c = startProxy(t, codisModel, evenly(codisModel, server.addr()), holding(never)).dial(t)
	c.want("+OK\r\n", "EVAL", "return 'OK'", "1", "k")
	if n := server.count("EVAL return 'OK' 1 k"); n != 2 {
		t.Errorf("EVAL was sent %d times, want 2", n)
	}
}

// A long pipeline of which many requests bounce is answered in order.
func TestManyBouncedRequestsOfAPipeline(t *testing.T) {
	t.Parallel()
	const requests, bounced = 10000, 1000
	seen := 0
	server := startFake(t, func(c *scriptedConn, args []string) {
		if seen++; seen <= bounced {
			c.reply("-" + loading + "\r\n")
			return
		}
		echoValue(c, args)
	})
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(never), faultOptions(nil))
	c := p.dial(t)
	var all strings.Builder
	for i := range requests {
		fmt.Fprintf(&all, "GET {t}%d\r\n", i)
	}
	var sending sync.WaitGroup
	sending.Go(func() { c.send(all.String()) })
	defer sending.Wait()
	for i := range requests {
		c.wantReply(bulkReply(fmt.Sprintf("{t}%d", i)))
	}
	if n := len(server.seen()); n != requests+bounced {
		t.Errorf("%d requests have come, want %d", n, requests+bounced)
	}
}
