package check

import (
	"cmp"
	"slices"
	"time"
)

// vain is a command that waited for data and came back with nothing.
type vain struct{ call, ret time.Duration }

// span is the time in which something was there for whoever asked: from the acknowledgement of its writer to the call of
// the command that got it.
type span struct {
	from, to time.Duration
	name     string
}

// inVain finds commands that came back with nothing although something was there from before they were sent until they
// were over.
func inVain(there []span, empty []vain, find func(verdict)) {
	slices.SortFunc(there, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(there); i++ { // Each gets the latest end of all up to it.
		if there[i-1].to > there[i].to {
			there[i].to, there[i].name = there[i-1].to, there[i-1].name
		}
	}
	for _, v := range empty {
		n, _ := slices.BinarySearchFunc(there, v.call, func(s span, call time.Duration) int { return cmp.Compare(s.from, call) })
		if n > 0 && there[n-1].to > v.ret {
			find(object(Stale, "nothing came from %s to %s, and %s was there", rounded(v.call), rounded(v.ret), there[n-1].name))
		}
	}
}

// early is how much sooner than asked for a block time may end: servers and the checker have different clocks.
const early = 20 * time.Millisecond

// inTime judges when a blocking command came back with nothing, for which only the end of its block time is a reason.
func (s *session) inTime(kind stepKind, key string) {
	block := s.cfg.Sessions.BlockTime
	if took := s.ret - s.call; took < block-early {
		s.find(object(Untimely, "%s for %s came back with nothing after %s", stepNames[kind], block, rounded(took)), key)
	}
}
