package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/pubsub"
	"sluice/router"
)

// impatient lets a killed server be noticed and come back quickly.
func impatient(_ *Config, pool *PoolConfig) {
	pool.Backend.RequestTimeout = 10 * time.Second
	pool.Hold.MaxWait = replyWait
}

// awaitReceivers publishes until somebody receives it, and returns the message that they get.
func (c *testClient) awaitReceivers(n int, command, channel string) {
	c.t.Helper()
	testbed.Eventually(c.t, func() error {
		if got := c.do(command, channel, "probe"); got != fmt.Sprintf(":%d\r\n", n) {
			return errors.New(got)
		}
		return nil
	}, replyWait)
}

// skipProbes returns the first message that is not from awaitReceivers.
func (s *subscriber) skipProbes() string {
	s.t.Helper()
	for {
		if m := s.reply(); !strings.HasSuffix(m, bulkReply("probe")) {
			return m
		}
	}
}

// A server that is killed and comes back: clients stay subscribed, at the others all the time, and at it again.
func TestSubscriptionsSurviveTheirServer(t *testing.T) {
	top := codisOfThree(t, twoLoops, impatient)
	channels := top.keysOnEveryNode("news", 1)
	subs := []*subscriber{top.subscriber(t, 2), top.subscriber(t, 3), top.subscriber(t, 3)}
	for _, s := range subs {
		s.to("SUBSCRIBE", channels...)
		s.to("PSUBSCRIBE", "other*")
		s.to("SSUBSCRIBE", channels...)
	}
	if err := top.nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	publisher := top.dial(t)
	publisher.want(":3\r\n", "PUBLISH", channels[1], "while away")
	publisher.want(":3\r\n", "SPUBLISH", channels[2], "while away")
	for _, s := range subs {
		s.wantReply(s.push("message", channels[1], "while away"))
		s.wantReply(s.push("smessage", channels[2], "while away"))
	}
	if err := top.nodes[0].Restart(); err != nil {
		t.Fatal(err)
	}
	awaitSubscribed(t, top, top.nodes[0], channels[0])
	publisher.want(":3\r\n", "PUBLISH", channels[0], "again")
	publisher.want(":3\r\n", "SPUBLISH", channels[0], "again")
	for _, s := range subs {
		s.wantReply(s.push("message", channels[0], "again"))
		s.wantReply(s.push("smessage", channels[0], "again"))
		if got := s.fenced(top); len(got) > 0 {
			t.Errorf("more: %q", got)
		}
	}
	if top.Stats().Resubscriptions == 0 {
		t.Error("no resubscription was counted")
	}
}

// awaitSubscribed waits until every loop is subscribed at node to a channel, and to the shard channel of that name.
func awaitSubscribed(t *testing.T, top *topology, node *testbed.Server, channel string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		n := top.pool.Node(node.Addr())
		for _, kind := range []pubsub.Kind{pubsub.Channel, pubsub.Shard} {
			if _, loops := top.pool.subscribers.Of(kind, channel, n); int(loops) != len(top.loops) {
				return fmt.Errorf("%d loops are subscribed", loops)
			}
		}
		return nil
	}, replyWait)
}

// A master of a cluster dies: channels that had their home there move to another one, others notice nothing.
func TestChannelsLeaveADeadHome(t *testing.T) {
	t.Parallel()
	top := clusterTopology(t)
	settings := *top.pool.Settings()
	settings.Backend.RequestTimeout = 2 * time.Second
	top.pool.SetSettings(settings)
	channels := top.keysOnEveryNode("news", 1)
	s := top.subscriber(t, 3)
	s.to("SUBSCRIBE", channels...)
	s.to("PSUBSCRIBE", "p*", "q*", "r*", "s*")
	for _, n := range top.nodes { // It has to serve what is left.
		if err := n.Do("CONFIG", "SET", "cluster-require-full-coverage", "no").Error(); err != nil {
			t.Fatal(err)
		}
	}
	if err := top.nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, func() error {
		for _, pattern := range []string{"p*", "q*", "r*", "s*", channels[0]} {
			kind := pubsub.Pattern
			if pattern == channels[0] {
				kind = pubsub.Channel
			}
			at := int64(0)
			for _, n := range top.nodes[1:] {
				_, loops := top.pool.subscribers.Of(kind, pattern, top.pool.Node(n.Addr()))
				at += loops
			}
			if at != 1 {
				return fmt.Errorf("%s has %d homes", pattern, at)
			}
		}
		return nil
	}, replyWait)
	for i, n := range top.nodes[1:] {
		if err := n.Do("PUBLISH", channels[0], fmt.Sprint("from", i)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	got := []string{s.reply(), s.reply()}
	slices.Sort(got)
	if want := []string{s.push("message", channels[0], "from0"), s.push("message", channels[0], "from1")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The slot of a shard channel moves in a cluster that nobody tells Sluice about: its old owner ends the subscription,
// and the new one is found by MOVED.
func TestShardChannelFollowsItsSlot(t *testing.T) {
	t.Parallel()
	c := testbed.Cluster(t, 3, 0)
	top := &topology{testProxy: startProxy(t, clusterModel, specsOf(t, c), patient, twoLoops), model: clusterModel, nodes: c.Nodes()}
	channel := top.keysOnEveryNode("shard", 1)[0]
	slot := int(clusterModel.Slot([]byte(channel)))
	subs := []*subscriber{top.subscriber(t, 2), top.subscriber(t, 3)}
	for _, s := range subs {
		s.to("SSUBSCRIBE", channel)
		s.to("SUBSCRIBE", channel)
	}
	publisher := top.dial(t)
	loops := func(at *testbed.Server) int { return at.Do("PUBSUB", "SHARDNUMSUB", channel).Array()[1].Integer() }
	all := loops(top.nodes[0])
	for _, to := range []*testbed.Server{top.nodes[1], top.nodes[2], top.nodes[0]} {
		if err := c.MoveSlot(slot, to); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, func() error { // The clients of all loops are counted when one loop is there.
			if n := loops(to); n != all {
				return fmt.Errorf("%d loops are subscribed, want %d", n, all)
			}
			return nil
		}, replyWait)
		publisher.awaitReceivers(len(subs), "SPUBLISH", channel)
		publisher.want(":2\r\n", "SPUBLISH", channel, "at "+to.Addr())
		for _, s := range subs {
			if got, want := s.skipProbes(), s.push("smessage", channel, "at "+to.Addr()); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		publisher.want(":2\r\n", "PUBLISH", channel, "everywhere") // The channel stays where it is, and is told by all.
		for _, s := range subs {
			s.wantReply(s.push("message", channel, "everywhere"))
		}
	}
	late := top.subscriber(t, 3)
	late.to("SSUBSCRIBE", channel)
	for _, s := range append(subs, late) {
		s.request("SUNSUBSCRIBE")
		if got := s.skipProbes(); !strings.Contains(got, "sunsubscribe") {
			t.Errorf("%q", got)
		}
		s.Close()
	}
	top.awaitNoSubscribers(t)
}

// A topology comes into force: what is new is subscribed, what is no master any more is left, and tells nothing twice.
func TestSubscriptionsFollowTheTopology(t *testing.T) {
	top := codisOfThree(t, twoLoops)
	two := evenly(codisModel, top.nodes[0].Addr(), top.nodes[1].Addr())
	three := evenly(codisModel, top.nodes[0].Addr(), top.nodes[1].Addr(), top.nodes[2].Addr())
	top.setTable(t, two)
	s := top.subscriber(t, 3)
	s.to("SUBSCRIBE", "ch")
	s.to("SSUBSCRIBE", "{ch}shard")
	publisher := top.dial(t)
	for round := range 4 {
		table, nodes := two, top.nodes[:2]
		if round%2 == 0 {
			table, nodes = three, top.nodes
		}
		top.setTable(t, table)
		top.onEachLoop(t.Context(), func(l *loop) {
			for b := range l.conns.All() {
				if b.Kind == backend.Subscription && !slices.Contains(top.pool.view.Load().masters, b.Node) {
					t.Errorf("round %d: %s, which is no master, is not left at once", round, b.Node.Addr)
				}
			}
		})
		testbed.Eventually(t, func() error {
			for i, n := range top.nodes {
				got := n.Do("PUBSUB", "NUMSUB", "ch").Array()[1].Integer()
				if want := min(len(nodes)/(i+1), 1); got != want {
					return fmt.Errorf("round %d: %d subscribers at node %d, want %d", round, got, i, want)
				}
			}
			return nil
		}, replyWait)
		owner := top.owner("{ch}shard")
		testbed.Eventually(t, func() error {
			if got := owner.Do("PUBSUB", "SHARDNUMSUB", "{ch}shard").Array()[1].Integer(); got != 1 {
				return fmt.Errorf("round %d: %d", round, got)
			}
			return nil
		}, replyWait)
		body := fmt.Sprint("round", round)
		publisher.want(":1\r\n", "PUBLISH", "ch", body)
		s.wantReply(s.push("message", "ch", body))
		publisher.want(":1\r\n", "SPUBLISH", "{ch}shard", body)
		s.wantReply(s.push("smessage", "{ch}shard", body))
		for i, n := range nodes {
			if err := n.Do("PUBLISH", "ch", fmt.Sprint(body, "at", i)).Error(); err != nil {
				t.Fatal(err)
			}
			s.wantReply(s.push("message", "ch", fmt.Sprint(body, "at", i)))
		}
	}
}

// A channel whose server can't be reached: the client waits as long as a request would be held, then gets an error, and
// is subscribed to nothing.
func TestSubscribeWithoutAServer(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{0, 300 * time.Millisecond} {
		top := codisOfThree(t, holding(wait))
		channels := top.keysOnEveryNode("news", 1)
		if err := top.nodes[0].Kill(); err != nil {
			t.Fatal(err)
		}
		node := top.pool.Node(top.nodes[0].Addr())
		testbed.Eventually(t, func() error {
			if node.Available() {
				return errors.New("its breaker is closed")
			}
			return nil
		}, replyWait)
		s, publisher := top.subscriber(t, 2), top.dial(t)
		s.request("SUBSCRIBE", channels[1], channels[0])
		s.wantPrefix("-ERR backend " + top.nodes[0].Addr() + " is unavailable: ")
		publisher.want(":0\r\n", "PUBLISH", channels[1], "m")
		s.want("$-1\r\n", "GET", channels[1])
		s.to("SUBSCRIBE", channels[1]) // Its own server lives.
		s.to("PSUBSCRIBE", "x*")
		publisher.want(":1\r\n", "PUBLISH", channels[1], "m")
		s.wantReply(s.push("message", channels[1], "m"))
	}
}

// Somebody who waits for a server that comes back is subscribed then.
func TestSubscribeWaitsForItsServer(t *testing.T) {
	top := codisOfThree(t, holding(never))
	channel := top.keysOnEveryNode("news", 1)[0]
	if err := top.nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	s, publisher := top.subscriber(t, 3), top.dial(t)
	s.request("SUBSCRIBE", "x", channel, "y")
	s.request("PING")
	testbed.Eventually(t, func() error {
		waiting := 0
		top.onEachLoop(t.Context(), func(l *loop) { waiting += l.hubOf(top.pool).Size().Pending })
		if waiting != 1 {
			return errors.New("nobody waits")
		}
		return nil
	}, replyWait)
	if err := top.nodes[0].Restart(); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"x", channel, "y"} {
		s.wantReply(">3\r\n" + bulkReply("subscribe") + bulkReply(name) + fmt.Sprintf(":%d\r\n", i+1))
	}
	s.wantReply("+PONG\r\n")
	publisher.want(":1\r\n", "PUBLISH", channel, "m")
	s.wantReply(s.push("message", channel, "m"))
}

// A server that does not let Sluice subscribe: its error is the answer, and nothing is left of the attempt.
func TestServerRefusesASubscription(t *testing.T) {
	server := testbed.Redis(t)
	if err := server.Do("ACL", "SETUSER", "proxy", "on", ">secret", "~*", "+@all", "resetchannels", "&open*", "&later").Error(); err != nil {
		t.Fatal(err)
	}
	p := startProxyTo(t, server, func(_ *Config, pool *PoolConfig) {
		pool.Backend.User, pool.Backend.Password = "proxy", "secret"
	})
	top := &topology{testProxy: p, model: codisModel, nodes: []*testbed.Server{server}}
	s := top.subscriber(t, 3)
	s.request("SUBSCRIBE", "open1", "shut", "open2")
	s.wantPrefix("-NOPERM ")
	s.request("PSUBSCRIBE", "*")
	s.wantPrefix("-NOPERM ")
	top.awaitNoSubscribers(t)
	s.to("SUBSCRIBE", "open1")
	top.dial(t).want(":1\r\n", "PUBLISH", "open1", "m")
	s.wantReply(s.push("message", "open1", "m"))

	// It closes the connection of whoever is subscribed to what is shut. The others are subscribed again.
	s.to("SUBSCRIBE", "later", "open3")
	if err := server.Do("ACL", "SETUSER", "proxy", "resetchannels", "&open*").Error(); err != nil {
		t.Fatal(err)
	}
	top.dial(t).awaitReceivers(1, "PUBLISH", "open3")
	if got := s.reply(); got != s.push("message", "open3", "probe") {
		t.Errorf("%q", got)
	}
}

// In a slot that is locked or moves PUBLISH is not held, and tries to move no key.
func TestPublishInAMovingSlot(t *testing.T) {
	top := codisOfThree(t, holding(never), ofFamily("codis"))
	channel := top.keysOnEveryNode("news", 1)[0]
	slot := codisModel.Slot([]byte(channel))
	s, publisher := top.subscriber(t, 2), top.dial(t)
	s.to("SUBSCRIBE", channel)
	for _, phase := range []router.Phase{router.Locked, router.Moving} {
		moving := []router.Range{{From: slot, To: slot}}
		specs := evenly(codisModel, top.nodes[0].Addr(), top.nodes[1].Addr(), top.nodes[2].Addr())
		to := router.GroupSpec{ID: "9", Master: top.nodes[1].Addr(), Slots: moving}
		specs[0].Slots = []router.Range{{From: 0, To: slot - 1}, {From: slot + 1, To: specs[0].Slots[0].To}}
		specs[1].Slots = append(specs[1].Slots, to.Slots...)
		top.setTable(t, specs, router.MoveSpec{Slots: moving, Phase: phase, From: top.nodes[0].Addr(), FromID: "1"})
		publisher.want(":1\r\n", "PUBLISH", channel, phase.String())
		s.wantReply(s.push("message", channel, phase.String()))
	}
	ran := commandsRun(top.nodes)
	if slices.ContainsFunc(ran, func(name string) bool { return strings.HasPrefix(name, "slots") }) {
		t.Errorf("servers ran %q", ran)
	}
}

// A silent subscription connection is asked whether its server lives, and given up when that stays unanswered.
func TestSilentServerIsNoticed(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, impatient)
	top := &topology{testProxy: p, model: codisModel, nodes: []*testbed.Server{server}}
	s := top.subscriber(t, 3)
	s.to("SUBSCRIBE", "ch")
	s.to("SSUBSCRIBE", "ch")
	const silence = int64(10 * time.Second)
	look := func(f func(l *loop, h *pubsub.Hub, b *backend.Conn)) {
		p.onEachLoop(t.Context(), func(l *loop) {
			for _, b := range l.connsTo(p.pool.Node(server.Addr()), backend.Subscription) {
				f(l, l.hubOf(p.pool), b)
			}
		})
	}
	asked := 0
	later := func(d int64) {
		look(func(l *loop, h *pubsub.Hub, b *backend.Conn) {
			l.now += d
			h.Tick()
			asked = b.InFlight()
		})
	}
	if later(0); asked != 0 {
		t.Errorf("%d requests before the time", asked)
	}
	if later(silence); asked != 1 {
		t.Errorf("%d requests at the time", asked)
	}
	testbed.Eventually(t, func() error {
		look(func(_ *loop, _ *pubsub.Hub, b *backend.Conn) { asked = b.InFlight() })
		if asked > 0 {
			return errors.New("the PING has no answer")
		}
		return nil
	}, replyWait)
	if pings := server.Do("CLIENT", "LIST", "TYPE", "pubsub").String(); !strings.Contains(pings, "cmd=ping") {
		t.Errorf("no PING: %s", pings)
	}

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	later(2 * silence)
	var conn *backend.Conn
	look(func(_ *loop, _ *pubsub.Hub, b *backend.Conn) { conn = b })
	later(2*silence + int64(p.pool.Settings().Backend.HungAfter()))
	p.onEachLoop(t.Context(), func(*loop) {
		if !conn.Closed() {
			t.Error("the connection to a server that is silent is kept")
		}
	})
	if err := server.Cont(); err != nil {
		t.Fatal(err)
	}
	awaitSubscribed(t, top, server, "ch")
	top.dial(t).want(":1\r\n", "PUBLISH", "ch", "m")
	s.wantReply(s.push("message", "ch", "m"))
}

// A message that is longer than any client may be sent is not kept; its receivers are closed, and nobody else.
func TestMessageBeyondTheLimit(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, func(cfg *Config, _ *PoolConfig) { cfg.Limits.PubSubOutput = 1 << 20 })
	top := &topology{testProxy: p, model: codisModel, nodes: []*testbed.Server{server}}
	s, other, publisher := top.subscriber(t, 3), top.subscriber(t, 2), top.dial(t)
	s.to("SUBSCRIBE", "ch")
	other.to("SUBSCRIBE", "other")
	publisher.want(":1\r\n", "PUBLISH", "ch", strings.Repeat("m", 8<<20))
	s.wantClosed()
	publisher.want(":1\r\n", "PUBLISH", "other", "m")
	other.wantReply(other.push("message", "other", "m"))
	testbed.Eventually(t, func() error {
		if got := publisher.do("PUBLISH", "ch", "m"); got != ":0\r\n" {
			return errors.New(got)
		}
		return nil
	}, replyWait)
}
