package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/proxy/hold"
	"sluice/router"
)

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
	left := func() (left int) {
		x.p.pool.progress.mu.Lock()
		defer x.p.pool.progress.mu.Unlock()
		for _, m := range x.p.pool.progress.moves {
			left = m.left
		}
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

func TestMoveProgress(t *testing.T) {
	const ms = int64(time.Millisecond)
	p, in := new(moveProgress), moveInDB{move: new(router.Move)}
	s := &hold.Settings{MaxWait: 2 * time.Second, MaxMoveWait: 10 * time.Second}
	want := func(deadline int64, words string) {
		t.Helper()
		if got := p.deadline(in, 0, s); got != deadline*ms {
			t.Errorf("it ends at %d ms, want %d", got/ms, deadline)
		}
		if got := p.describe(in, 3*time.Second, s); got != words {
			t.Errorf("%q, want %q", got, words)
		}
	}
	want(2000, ", see hold.max_wait")
	due := func(at int64, want bool) {
		t.Helper()
		if got := p.due(in, nil, at*ms); got != want {
			t.Errorf("due at %d ms: %v", at, got)
		}
	}
	due(100, true)
	due(200, false)
	due(350, true)
	note := func(left int, at int64, want bool) {
		t.Helper()
		if got := p.note(in, left, at*ms, s.MaxMoveWait); got != want {
			t.Errorf("%d keys at %d ms: too slow %v", left, at, got)
		}
	}
	note(100, 400, false)
	want(2000, ", none of its 100 keys has gone meanwhile, see hold.max_wait")
	note(99, 1000, false)
	want(3000, ", 99 of 100 keys are left, see hold.max_wait")
	note(99, 2000, true) // 99 keys more at one in 1.6 s.
	note(98, 2500, false)
	want(4500, ", 98 of 100 keys are left, see hold.max_wait")
	note(50, 9500, false)
	want(10000, ", 50 of 100 keys are left, see hold.max_wait")
	if got := p.describe(in, 10*time.Second, s); !strings.HasSuffix(got, "see hold.max_move_wait") {
		t.Errorf("%q", got)
	}
	if got := p.deadline(in, 0, new(hold.Settings)); got != 0 {
		t.Errorf("where nothing is held it ends at %d", got)
	}
}
