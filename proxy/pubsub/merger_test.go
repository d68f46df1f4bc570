package pubsub

import (
	"strings"
	"testing"
)

// wire reads replies in which "," stands for the end of a line and " | " between two.
func wire(replies string) (list [][]byte) {
	for r := range strings.SplitSeq(replies, " | ") {
		list = append(list, []byte(strings.ReplaceAll(r, ",", "\r\n")))
	}
	return list
}

// Here a, b and the pattern p* have clients, whose loop is subscribed at both masters; c and q* have a loop only, which
// is about to leave.
func TestMergingPubsub(t *testing.T) {
	nodes := testNodes(t, 2)
	f := func(want string, q Query, replies string, later func(s *Registry)) {
		t.Helper()
		var s Registry
		for _, name := range []string{"a", "b"} {
			s.countClient(Channel, name, 3)
		}
		s.countClient(Pattern, "p*", 1)
		for _, node := range nodes {
			for _, name := range []string{"a", "b", "c"} {
				s.countLoop(Channel, name, node, 1)
			}
			s.countLoop(Pattern, "p*", node, 1)
			s.countLoop(Pattern, "q*", node, 1)
		}
		q.Masters = nodes
		m := s.Merger(q)
		if later != nil {
			later(&s)
		}
		if got := strings.ReplaceAll(string(m.Reply(wire(replies))), "\r\n", ","); got != want {
			t.Errorf("%s: %s, want %s", replies, got, want)
		}
	}
	args := func(names ...string) (list [][]byte) {
		for _, name := range names {
			list = append(list, []byte(name))
		}
		return list
	}
	leave := func(s *Registry) {
		for _, node := range nodes {
			s.countLoop(Channel, "c", node, -1)
			s.countLoop(Pattern, "q*", node, -1)
		}
	}

	// Every channel once, sorted; of what only a loop is subscribed to nothing, also when it has left meanwhile.
	channels := Query{Kind: QueryChannels, Of: Channel}
	f("*3,$1,a,$1,b,$1,x,", channels, "*3,$1,x,$1,a,$1,c, | *2,$1,c,$1,x,", nil)
	f("*3,$1,a,$1,b,$1,x,", channels, "*3,$1,x,$1,a,$1,c, | *2,$1,c,$1,x,", leave)
	f("*2,$1,a,$1,b,", channels, "*0, | *0,", nil)
	channels.Names = args("a*")
	f("*2,$1,a,$2,ax,", channels, "*1,$2,ax, | *1,$1,a,", nil)

	// Clients, and what servers have counted beside loops: each of a cluster its own, else all of them the same ones.
	counts := Query{Kind: QueryCounts, Of: Channel, Names: args("a", "c", "x")}
	replies := "*6,$1,a,:3,$1,c,:1,$1,x,:2, | *6,$1,a,:2,$1,c,:1,$1,x,:1,"
	f("*6,$1,a,:5,$1,c,:0,$1,x,:2,", counts, replies, nil)
	f("*6,$1,a,:5,$1,c,:0,$1,x,:2,", counts, replies, leave)
	counts.Cluster = true
	f("*6,$1,a,:6,$1,c,:0,$1,x,:3,", counts, replies, nil)
	f("*6,$1,a,:3,$1,c,:0,$1,x,:0,", counts, "*6,$1,a,:0,$1,c,:0,$1,x,:0, | *6,$1,a,:0,$1,c,:0,$1,x,:0,", nil)
	f("-ERR a backend has not counted every channel,", counts, replies[:len(replies)-len("$1,x,:1,")], nil)
	counts.Of, counts.Cluster, counts.Names = Shard, false, args("s")
	f("*2,$1,s,:3,", counts, "*2,$1,s,:1, | *2,$1,s,:2,", nil) // A shard channel lives at one of them.

	// A pattern of ours is at both; in a cluster that is one copy too many. What only a loop is subscribed to does not
	// count, also when it has left meanwhile, and what clients are subscribed to always does.
	patterns := Query{Kind: QueryPatterns, Of: Pattern}
	f(":5,", patterns, ":6, | :4,", nil)
	f(":5,", patterns, ":6, | :4,", leave)
	f(":1,", patterns, ":1, | :1,", leave)
	patterns.Cluster = true
	f(":7,", patterns, ":6, | :4,", nil)
	f(":7,", patterns, ":6, | :4,", leave)
	f(":0,", patterns, ":0, | :0,", nil)
}
