package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed/fakecodis"
	"sluice/proxy/resp"
	"sluice/router"
)

// fillList makes a list of n elements at the source.
func (x *keyMigrationTest) fillList(key string, n int) {
	x.Helper()
	args := []string{"RPUSH", key}
	for i := range n {
		args = append(args, fmt.Sprint(i))
	}
	if got := dial(x, "tcp", x.source.Addr()).do(args...); got != fmt.Sprintf(":%d\r\n", n) {
		x.Fatalf("RPUSH of %d elements: %q", n, got)
	}
}

// wantList checks that the target has the n elements, in their order, and one more.
func (x *keyMigrationTest) wantList(key string, n int) {
	x.Helper()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	got := dial(x, "tcp", x.target.Addr()).do("LRANGE", key, "0", "-1")
	if all := string(resp.AppendCommand(nil, append(want, "x")...)); got != all {
		x.Errorf("the list has %.60q, want %d elements", got, n+1)
	}
}

// A target that takes long over a part of a key does not get the key once more meanwhile, whoever asks for it; who has
// waited for long enough is told what takes so long.
func TestKeyIsNotMovedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []fakecodis.Kind{fakecodis.Pika35, fakecodis.Pika40} {
		t.Run(kind.String(), func(t *testing.T) {
			x := startKeyMigration(t, kind, router.Sync, time.Second, func(_ *Config, pool *PoolConfig) {
				pool.Backend.RequestTimeout = 500 * time.Millisecond
			})
			const n = 2000
			x.fillList("{t}list", n)
			part := x.target.Faults.HoldNext(fakecodis.Command, "RPUSH")
			defer part.Release()
			for i := range 3 {
				reply := x.p.dial(t).do("RPUSH", "{t}list", "x")
				if !strings.HasPrefix(reply, fmt.Sprintf("-TRYAGAIN slot %d is moving ", x.slot)) {
					t.Fatalf("%q", reply)
				}
				if says := `the key "{t}list", a list of 2000 elements for`; i == 0 && !strings.Contains(reply, says) {
					t.Errorf("%q, want %s", reply, says)
				}
			}
			if moves := x.source.Calls("SLOTSMGRTTAGONE").Seen; moves != 1 {
				t.Errorf("%d SLOTSMGRTTAGONE, want 1", moves)
			}
			part.Release()
			for c := x.p.dial(t); ; {
				reply := c.do("RPUSH", "{t}list", "x")
				if !strings.HasPrefix(reply, "-TRYAGAIN ") {
					break
				}
			}
			x.wantList("{t}list", n)
		})
	}
}

// A key whose move has failed is not moved again before its size at the target has stayed the same for a while.
func TestTargetIsLookedAtAfterAFailedMove(t *testing.T) {
	t.Parallel()
	x := startKeyMigration(t, fakecodis.Pika40, router.Sync, never)
	x.fillList("{t}list", 10)
	x.source.Faults.Answer("SLOTSMGRTTAGONE", "-ERR Connect slots target, Recv error: Timeout: \r\n", 1)
	x.p.dial(t).want(":11\r\n", "RPUSH", "{t}list", "x")
	if looks := x.target.Calls("LLEN").Seen; looks < 3 {
		t.Errorf("%d looks at the target, want %d", looks, 3)
	}
	x.wantList("{t}list", 10)
	x.source.Faults.Answer("SLOTSMGRTTAGONE", fakecodis.PikaConnectError, 1)
	x.source.Do("SET", "{t}s", "v")
	x.p.dial(t).want("$1\r\nv\r\n", "GETSET", "{t}s", "w")
}
