package keymove

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/hold"
	"sluice/router"
)

func TestProgress(t *testing.T) {
	const ms = int64(time.Millisecond)
	p, in := new(Progress), In{Move: new(router.Move)}
	s := &hold.Settings{MaxWait: 2 * time.Second, MaxMoveWait: 10 * time.Second}
	want := func(deadline int64, words string) {
		t.Helper()
		if got := p.Deadline(in, 0, s); got != deadline*ms {
			t.Errorf("it ends at %d ms, want %d", got/ms, deadline)
		}
		if got := p.Describe(in, 3*time.Second, s); got != words {
			t.Errorf("%q, want %q", got, words)
		}
	}
	want(2000, ", see hold.max_wait")
	due := func(at int64, want bool) {
		t.Helper()
		if got := p.Ask(in, nil, at*ms); got != want {
			t.Errorf("due at %d ms: %v", at, got)
		}
	}
	due(100, true)
	due(200, false)
	due(350, true)
	note := func(left int, at int64, want bool) {
		t.Helper()
		if got := p.Note(in, left, at*ms, s.MaxMoveWait); got != want {
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
	if got := p.Describe(in, 10*time.Second, s); !strings.HasSuffix(got, "see hold.max_move_wait") {
		t.Errorf("%q", got)
	}
	if got := p.Deadline(in, 0, new(hold.Settings)); got != 0 {
		t.Errorf("where nothing is held it ends at %d", got)
	}
}
