package codis

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestHostileSentinels(t *testing.T) {
	testbed.Survive(t, "SENTINEL", nil, func(ctx context.Context, addr string) error {
		masters, err := askSentinel(ctx, addr, "demo", []int{1, 2})
		if len(masters) > 0 {
			t.Errorf("masters %v", masters)
		}
		return err
	})
}

// Two sentinels in order outvote a hostile one, and without them the masters stay.
func TestHostileSentinelChangesNothing(t *testing.T) {
	liars := []*liar{startLiar(t, map[string]string{"demo-1": addrB}), startLiar(t, map[string]string{"demo-1": addrB})}
	hostile := testbed.Hostile(t, testbed.Attacks()[0], "SENTINEL", nil)
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.SentinelEvery = 10 * time.Millisecond })
	s.fillIn(owned(0, 1, addrA))
	set := func(servers ...any) {
		t.Helper()
		s.api("PUT", "sentinels", "", fmt.Sprintf(`{"servers": [%q, %q, %q]}`, servers...)).is(200, "OK")
	}
	set(liars[0].addr, hostile, hostile)
	liars[0].heard(t, 2)
	s.wants("0-0 1:127.0.0.1:1\n1-1023 offline")
	set(liars[0].addr, liars[1].addr, hostile)
	liars[1].heard(t, 2)
	s.wants("0-0 1:127.0.0.1:2\n1-1023 offline")
}
