package keymove

import (
	"fmt"
	"testing"
)

func TestMoves(t *testing.T) {
	var k Moves
	key, other := Key{0, "k"}, Key{1, "k"}
	want := func(key Key, want moveStart) {
		t.Helper()
		if got := k.begin(key); got != want {
			t.Errorf("begin says %d, want %d", got, want)
		}
	}
	want(key, moveBegun)
	want(key, moveRunning)
	want(other, moveBegun)
	k.end(key, true)
	want(key, moveBegun)
	k.end(key, false)
	now := int64(1)
	look := func(size string, then moveStart) {
		t.Helper()
		k.look(key, size, now)
		now += quietPause
		want(key, then)
	}
	look("10", moveFailed)
	look("10", moveFailed)
	look("11", moveFailed) // It is at work.
	look("11", moveFailed)
	now -= quietPause / 2
	look("11", moveFailed) // Too early to say anything.
	look("11", moveBegun)
	k.end(key, false)
	for i := range 2 * maxFailedMoves {
		failed := Key{0, fmt.Sprint(i)}
		want(failed, moveBegun)
		k.end(failed, false)
	}
	if len(k.moves) > maxFailedMoves+1 {
		t.Errorf("%d keys are remembered", len(k.moves))
	}
	want(other, moveRunning)
}
