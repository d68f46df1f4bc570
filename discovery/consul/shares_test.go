package consul

import (
	"fmt"
	"testing"
)

func TestSharesOfGroups(t *testing.T) {
	one, two := Assignment{Group: "1", State: Stable}, Assignment{Group: "2", State: Stable}
	moving := Assignment{Group: "1", State: Moving, To: "2"}
	locked := Assignment{Group: "3", State: Locked}
	s := sharesOf([]Assignment{one, one, moving, one, two, moving, moving, locked, one})
	f := func(what string, got, want any) {
		t.Helper()
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			t.Errorf("%s: %s, want %s", what, g, w)
		}
	}
	f("owned", s.owned, "map[1:[0-1 3 8] 2:[2 4-6] 3:[7]]")
	f("needed", s.needed, "map[1:true 2:true 3:true]")
	f("number of moves", len(s.moves), 2)
	f("first move", s.moves[0].slots, "[2 5-6]")
	f("second move", s.moves[1].slots, "[7]")
	f("first move is of", s.moves[0].Assignment == moving && s.moves[1].Assignment == locked, true)
	f("keys of a slot that moves", sharesOf([]Assignment{moving}).needed, "map[1:true 2:true]")
}
