package proxy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/proxy/keymove"
	"sluice/router"
)

var firstNumber = regexp.MustCompile(`\d+`)

// A request may wait beyond max_wait while the source has fewer and fewer keys of the slot.
func TestHoldGoesOnWhileKeysGo(t *testing.T) {
	t.Parallel()
	const wait, keys = 3 * time.Second, 100
	x := startKeyMigration(t, fakecodis.Pika40, router.SemiAsync, wait, func(_ *Config, pool *PoolConfig) {
		pool.Hold.MaxMoveWait = never
	})
	for i := range keys {
		x.source.Do("SET", fmt.Sprintf("{t}%d", i), "old")
	}
	x.source.Do("SET", "{t}last", "old")
	x.source.Faults.RefuseMigration(true) // A round moves nothing.
	c := x.p.dial(x)
	c.request("GETSET", "{t}last", "new")
	in := keymove.In{Move: x.p.pool.view.Load().table.Move(x.slot)}
	left := func() (left int) {
		words := x.p.pool.progress.Describe(in, 0, &x.p.pool.Settings().Hold)
		left, _ = strconv.Atoi(firstNumber.FindString(words)) // 0 while nothing was said.
		return left
	}
	held := func() (held time.Duration) {
		x.p.onEachLoop(x.Context(), func(l *loop) {
			for _, c := range l.clients {
				if len(c.retries) > 0 {
					held = max(held, time.Duration(l.now-c.retries[0].hold.since))
				}
			}
		})
		return held
	}
	for i := 0; i < keys && held() < wait+wait/2; i++ {
		x.source.Do("DEL", fmt.Sprintf("{t}%d", i)) // As the background does behind a copy.
		testbed.Eventually(t, func() error {
			if n := left(); n == 0 || n > keys-i {
				return fmt.Errorf("%d keys are left, want %d", n, keys-i)
			}
			return nil
		}, replyWait)
	}
	x.target.Do("SET", "{t}last", "old")
	x.source.Do("DEL", "{t}last")
	c.wantReply(bulkReply("old"))
}

// One that is not moved at all is answered after max_wait, with how far the move is.
func TestHoldEndsWhenNoKeyGoes(t *testing.T) {
	t.Parallel()
	x := startKeyMigration(t, fakecodis.Pika40, router.SemiAsync, time.Second/2, func(_ *Config, pool *PoolConfig) {
		pool.Hold.MaxMoveWait = never
	})
	for i := range 5 {
		x.source.Do("SET", fmt.Sprintf("{t}%d", i), "old")
	}
	x.source.Faults.RefuseMigration(true) // A round moves nothing.
	reply := x.p.dial(x).do("SET", "{t}1", "new")
	if want := ", none of its 5 keys has gone meanwhile, see hold.max_wait (held "; !strings.Contains(reply, want) {
		t.Errorf("%q, want %q", reply, want)
	}
}
