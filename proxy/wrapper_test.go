package proxy

import (
	"sync/atomic"
	"testing"

	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// An answer of the wrapper that breaks off is forgotten before the command is sent again.
func TestWrapperThatBreaksOff(t *testing.T) {
	var cut atomic.Bool
	source := startFake(t, func(c *scriptedConn, _ []string) {
		c.reply("*2\r\n:2\r\n")
		if cut.CompareAndSwap(false, true) {
			c.hangUp()
			return
		}
		c.reply(bulkReply("hello"))
	})
	p := startMove(t, "k", source, startFake(t, echoValue))
	p.dial(t).want(bulkReply("hello"), "GET", "k")
	if n := len(source.seen()); n != 2 {
		t.Errorf("the source was asked %d times, want 2: %v", n, source.seen())
	}
}

// An answer that no wrapper gives says nothing about where the key is.
func TestWrapperThatAnswersNothing(t *testing.T) {
	for _, answer := range []string{"*0\r\n", "*-1\r\n"} {
		x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, never)
		key := x.keys(1)[0]
		x.source.Do("SET", key, "5")
		x.source.Faults.Answer("SLOTSMGRT-EXEC-WRAPPER", answer, 1)
		c := x.p.dial(x)
		c.want(":6\r\n", "INCR", key)
		c.want(bulkReply("6"), "GET", key)
	}
}
