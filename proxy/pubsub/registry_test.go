package pubsub

import (
	"testing"

	"sluice/backend"
)

// testNodes makes nodes that are never dialled.
func testNodes(t testing.TB, count int) []*backend.Node {
	t.Helper()
	nodes := make([]*backend.Node, count)
	for i := range nodes {
		nodes[i] = backend.NewNode(i, "192.0.2.1:1", &backend.Options{BreakerFailures: 1})
		t.Cleanup(nodes[i].Retire)
	}
	return nodes
}

// The registry is busy while anybody is subscribed, or a loop is at a server, and forgets what nobody wants.
func TestRegistryCounts(t *testing.T) {
	var s Registry
	node := testNodes(t, 1)[0]
	f := func(want Counts, busy bool) {
		t.Helper()
		if got := s.Counts(); got != want || s.Busy() != busy {
			t.Errorf("%+v, busy %t, want %+v, busy %t", got, s.Busy(), want, busy)
		}
	}
	f(Counts{}, false)
	s.countSubscriber(1)
	s.countClient(Channel, "a", 1)
	s.countClient(Channel, "a", 1)
	s.countClient(Pattern, "a", 1)
	s.countClient(Shard, "b", 1)
	f(Counts{Channels: 1, Patterns: 1, ShardChannels: 1, Subscribers: 1}, true)
	s.countLoop(Channel, "a", node, 1)
	s.countLoop(Channel, "a", node, 1)
	if clients, loops := s.Of(Channel, "a", node); clients != 2 || loops != 2 {
		t.Errorf("%d clients, %d loops", clients, loops)
	}
	s.countClient(Channel, "a", -2)
	s.countClient(Pattern, "a", -1)
	s.countClient(Shard, "b", -1)
	s.countSubscriber(-1)
	f(Counts{}, true) // Two loops are about to leave.
	s.countLoop(Channel, "a", node, -1)
	f(Counts{}, true)
	s.countLoop(Channel, "a", node, -1)
	f(Counts{}, false)
	for kind := range s.topics {
		if len(s.topics[kind]) > 0 {
			t.Errorf("kept of kind %d: %v", kind, s.topics[kind])
		}
	}
}

// Three clients of two loops are subscribed to "news", and one to "n*" through the first of them.
func TestReceiversAreClients(t *testing.T) {
	nodes := testNodes(t, 2)
	f := func(want int64, cluster bool, kind Kind, channel string, counted int64, change func(s *Registry)) {
		t.Helper()
		var s Registry
		s.countClient(Channel, "news", 3)
		s.countLoop(Channel, "news", nodes[0], 2)
		s.countClient(Pattern, "n*", 1)
		s.countLoop(Pattern, "n*", nodes[0], 1)
		s.countClient(Shard, "news", 5)
		s.countLoop(Shard, "news", nodes[0], 1)
		change(&s)
		r := s.Receivers(kind, channel, nodes[0], cluster)
		if got := r.Count(nodes[0], counted); got != want {
			t.Errorf("%d receivers, want %d", got, want)
		}
	}
	same := func(*Registry) {}
	f(4, false, Channel, "news", 3, same)
	f(6, false, Channel, "news", 5, same) // Two are the server's own.
	f(1, false, Channel, "note", 1, same)
	f(0, false, Channel, "else", 0, same)
	f(7, false, Channel, "else", 7, same)
	f(5, false, Shard, "news", 1, same)
	f(0, false, Shard, "note", 0, same)   // A pattern hears no shard channel.
	f(0, false, Channel, "news", 0, same) // The connections are lost.
	elsewhere := func(s *Registry) {
		s.countLoop(Channel, "news", nodes[0], -2)
		s.countLoop(Channel, "news", nodes[1], 2)
	}
	f(1, false, Channel, "news", 1, elsewhere) // Those clients are subscribed where it was not published.
	f(4, true, Channel, "news", 1, elsewhere)  // The other node of the cluster has told them.
	f(1, true, Channel, "news", 1, func(s *Registry) { s.countLoop(Channel, "news", nodes[0], -2) })
}

// A loop that leaves a channel may have been counted by the server, and its leaving acknowledged, before the reply
// of PUBLISH is read.
func TestReceiversWhileALoopLeaves(t *testing.T) {
	var s Registry
	node := testNodes(t, 1)[0]
	f := func(kind Kind, name string) {
		t.Helper()
		s.countClient(kind, name, 1)
		s.countLoop(kind, name, node, 1)
		r := s.Receivers(Channel, "news", node, false)
		s.countClient(kind, name, -1)
		s.countLoop(kind, name, node, -1)
		if got := r.Count(node, 1); r.before != 1 || got != 0 {
			t.Errorf("%s: %d of %d loops are taken for clients", name, got, r.before)
		}
		if got := r.Count(node, 2); got != 1 {
			t.Errorf("%s: %d clients of the server itself", name, got)
		}
	}
	f(Channel, "news")
	f(Pattern, "n*")
}

// Counting the receivers of a message makes no garbage.
func TestReceiversDoNotAllocate(t *testing.T) {
	var s Registry
	node := testNodes(t, 1)[0]
	s.countClient(Channel, "news", 1)
	s.countLoop(Channel, "news", node, 1)
	got := testing.AllocsPerRun(100, func() {
		r := s.Receivers(Channel, "news", node, false)
		r.Count(node, 1)
	})
	if got > 0 {
		t.Errorf("%v allocations", got)
	}
}
