package pubsub

import (
	"net"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// subscribe makes a client subscribe and wait, as the proxy does. It returns the acknowledgements if there is nothing
// to wait for.
func (l *testHost) subscribe(h *Hub, c *testClient, kind Kind, names ...string) string {
	acks, ready := h.Subscribe(nil, c, kind, names, true)
	if !ready {
		h.Await(c)
	}
	l.flush()
	return string(acks)
}

// subscribers is how many connections are subscribed to a channel of a server.
func subscribers(s *testbed.Server, channel string) int {
	return s.Do("PUBSUB", "NUMSUB", channel).Array()[1].Integer()
}

func twoServers(t *testing.T) (servers []*testbed.Server, addrs []string) {
	for range 2 {
		s := testbed.Redis(t)
		servers, addrs = append(servers, s), append(addrs, s.Addr())
	}
	return servers, addrs
}

// Servers that know nothing of each other: each has one subscription, for three clients, and whatever one of them tells
// reaches each client once. The last client takes the subscription with it.
func TestHubSubscribesOnceForAll(t *testing.T) {
	servers, addrs := twoServers(t)
	h, host := newHub(t, router.CodisModel(1024), testOptions(), addrs...)
	a, b, c := new(testClient), new(testClient), new(testClient)
	host.subscribe(h, a, Channel, "ch", "other", "ch")
	host.subscribe(h, b, Channel, "ch")
	host.until("two clients are subscribed", func() bool { return len(a.answers) == 1 && len(b.answers) == 1 })
	ack := func(name, n string) string { return ">3\r\n$9\r\nsubscribe\r\n" + name + "\r\n:" + n + "\r\n" }
	want := ack("$2\r\nch", "1") + ack("$5\r\nother", "2") + ack("$2\r\nch", "2")
	if a.answers[0] != want {
		t.Errorf("%q, want %q", a.answers[0], want)
	}
	if got, want := host.subscribe(h, c, Channel, "ch"), ack("$2\r\nch", "1"); got != want {
		t.Errorf("%q at once, want %q", got, want)
	}
	for i, s := range servers {
		if n := subscribers(s, "ch"); n != 1 {
			t.Errorf("server %d has %d subscribers", i, n)
		}
		if clients, loops := h.cfg.Registry.Of(Channel, "ch", host.masters[i]); clients != 3 || loops != 1 {
			t.Errorf("server %d: %d clients, %d loops", i, clients, loops)
		}
		s.Do("PUBLISH", "ch", "m")
	}
	message := "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nm\r\n"
	host.until("two messages are told", func() bool { return len(c.got) >= 2 })
	for i, one := range []*testClient{a, b, c} {
		if got := strings.Join(one.got, ""); got != message+message {
			t.Errorf("client %d: %q", i, got)
		}
	}

	h.Unsubscribe(nil, a, Channel, nil, true)
	h.Leave(b, true)
	host.flush()
	if servers[0].Do("PUBLISH", "ch", "m"); h.Size().Topics != 1 {
		t.Errorf("with a client left: %+v", h.Size())
	}
	host.until("the client that is left is told", func() bool { return len(c.got) == 3 })
	if len(a.got)+len(b.got) != 4 {
		t.Errorf("those who have left were told: %q, %q", a.got, b.got)
	}
	h.Leave(c, true)
	host.flush()
	host.until("nothing is subscribed", func() bool { return h.Size().Held == 0 })
	if n := subscribers(servers[0], "ch") + subscribers(servers[1], "ch"); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
	if h.Trim(); h.Size() != (Size{}) || h.cfg.Registry.Busy() {
		t.Errorf("left: %+v, busy %t", h.Size(), h.cfg.Registry.Busy())
	}
}

// Servers of a cluster tell each other: a channel has one home, and another one when that dies; what only one server
// tells is subscribed at all.
func TestHubInACluster(t *testing.T) {
	servers, addrs := twoServers(t)
	opts := testOptions()
	h, host := newHub(t, router.ClusterModel(), opts, addrs...)
	c := new(testClient)
	f := func(kind Kind, name string, want ...int64) {
		t.Helper()
		host.subscribe(h, c, kind, name)
		host.until(name+" is subscribed", func() bool { return !c.subscriptions.Waits() })
		for i, want := range want {
			if _, loops := h.cfg.Registry.Of(kind, name, host.masters[i]); loops != want {
				t.Errorf("%s: subscribed %d times at server %d, want %d", name, loops, i, want)
			}
		}
	}
	f(Channel, "ch", 1, 0)
	f(Pattern, "c*", 1, 0)
	f(Pattern, "__key*", 1, 1)
	f(Channel, "__keyevent@0__:set", 1, 1)
	f(Shard, "s", 1, 0)
	if len(c.refusals) > 0 {
		t.Fatalf("refused: %+v", c.refusals)
	}

	if err := servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	host.until("the loss is noticed", func() bool { return h.Size().Unready > 0 })
	host.until("the channel has another home", func() bool {
		h.Tick()
		host.flush()
		_, loops := h.cfg.Registry.Of(Channel, "ch", host.masters[1])
		return loops == 1
	})
	servers[1].Do("PUBLISH", "ch", "m")
	host.until("a message of the new home", func() bool { return len(c.got) == 2 }) // The channel and the pattern.
	if h.Resubscriptions() == 0 {
		t.Error("no resubscription was counted")
	}
}

// A server that is no master any more is left at once, since it would tell what its master tells; one that is again is
// subscribed to again.
func TestHubFollowsTheTopology(t *testing.T) {
	servers, addrs := twoServers(t)
	h, host := newHub(t, router.CodisModel(1024), testOptions(), addrs...)
	both, c := host.masters, new(testClient)
	host.subscribe(h, c, Channel, "ch")
	host.until("the client is subscribed", func() bool { return len(c.answers) == 1 })
	host.masters = both[:1]
	h.Settle()
	if _, loops := h.cfg.Registry.Of(Channel, "ch", both[1]); h.Size().Conns != 1 || loops != 0 {
		t.Errorf("what is no master is not left: %+v, %d loops", h.Size(), loops)
	}
	servers[1].Do("PUBLISH", "ch", "lost")
	host.masters = both
	h.Settle()
	host.until("the second is subscribed again", func() bool {
		_, loops := h.cfg.Registry.Of(Channel, "ch", both[1])
		return loops == 1
	})
	servers[1].Do("PUBLISH", "ch", "told")
	host.until("a message is told", func() bool { return len(c.got) > 0 })
	if !strings.Contains(c.got[0], "told") || h.Resubscriptions() != 1 {
		t.Errorf("told %q, %d resubscriptions", c.got, h.Resubscriptions())
	}
}

// Why a SUBSCRIBE is refused, and that nothing is left of it.
func TestHubRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // The kernel accepts, and nobody answers.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	silent := l.Addr().String()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	f := func(want Cause, kind Kind, wait time.Duration, prepare func(host *testHost), addrs ...string) {
		t.Helper()
		h, host := newHub(t, router.CodisModel(1024), testOptions(), addrs...)
		prepare(host)
		c := new(testClient)
		host.subscribe(h, c, kind, "ch")
		host.until("the node is known to be away", func() bool {
			h.Tick()
			return want != Away || !host.masters[0].Available()
		})
		host.now += int64(wait) - 1
		if h.Tick(); len(c.refusals) > 0 || h.Size().Pending != 1 {
			t.Errorf("refused before the time: %+v", c.refusals)
		}
		host.now++
		h.Tick()
		size := h.Size()
		if size.Conns = 0; len(c.refusals) != 1 || size != (Size{}) || c.subscriptions.Waits() {
			t.Fatalf("cause %d: refused with %+v, left: %+v", want, c.refusals, size)
		}
		r := c.refusals[0]
		if r.Cause != want || (want == Away || want == Silent) && r.Node != host.masters[0] {
			t.Errorf("refused with %+v, want cause %d", r, want)
		}
		if want == Silent && r.Waited != wait {
			t.Errorf("waited %s, want %s", r.Waited, wait)
		}
	}
	f(NoTopology, Channel, testMaxWait, func(*testHost) {})
	f(Unserved, Shard, testMaxWait, func(host *testHost) { host.owner = nil }, silent)
	f(Away, Channel, testMaxWait, func(*testHost) {}, gone.Addr().String())
	f(Silent, Pattern, testMaxWait, func(*testHost) {}, silent)
}

// A server of a cluster says that a shard channel is elsewhere: a node that the topology names is believed, until they
// send each other round in circles.
func TestRedirectsOfAShardChannel(t *testing.T) {
	h, host := newHub(t, router.ClusterModel(), testOptions(), "192.0.2.1:1", "192.0.2.2:1")
	top := h.topic(Shard, "s")
	f := func(line string, to *backend.Node, troubles int) {
		t.Helper()
		h.refused(top, host.masters[0], []byte(line+"\r\n"), "192.0.2.1")
		if top.redirect != to || len(host.troubles) != troubles {
			t.Errorf("%s: redirected to %v, want %v; %d troubles, want %d", line, top.redirect, to, len(host.troubles),
				troubles)
		}
	}
	for range maxHops {
		f("-MOVED 7 192.0.2.2:1", host.masters[1], 0)
	}
	f("-MOVED 7 192.0.2.2:1", nil, 1)
	f("-MOVED 7 192.0.2.2:1", host.masters[1], 1)
	f("-MOVED 7 192.0.2.3:1", nil, 2)
	f("-CLUSTERDOWN Hash slot not served", nil, 3)
	if len(host.moved) != maxHops+3 || top.retryAt != host.now+redirectPause {
		t.Errorf("redirects: %q; asked again at %d", host.moved, top.retryAt-host.now)
	}

	// Slots of the Codis model are not those of a cluster: there it is an error as any other.
	h, host = newHub(t, router.CodisModel(1024), testOptions(), "192.0.2.1:1")
	c := new(testClient)
	top = h.topic(Shard, "s")
	if _, ready := h.Subscribe(nil, c, Shard, []string{"s"}, false); ready {
		t.Fatal("subscribed without a server")
	}
	h.refused(top, host.masters[0], []byte("-MOVED 7 192.0.2.2:1\r\n"), "192.0.2.1")
	if len(c.refusals) != 1 || c.refusals[0] != (Refusal{Cause: Denied, Text: "MOVED 7 192.0.2.2:1"}) {
		t.Errorf("refused with %+v", c.refusals)
	}
}

// pushed is a link without a connection, at which one client is subscribed to "ch".
func pushed(t *testing.T) (*link, *testHost, *testClient) {
	h, host := newHub(t, router.CodisModel(1024), testOptions())
	c := new(testClient)
	h.subscribe(c, h.topic(Channel, "ch"))
	k := &link{hub: h}
	k.subs[Channel] = map[string]*sub{"ch": {state: subOn}}
	return k, host, c
}

// A message is put together wherever it was cut; of one that is too long nothing is told, and the next one is.
func TestMessagesInParts(t *testing.T) {
	message := "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nm\r\n"
	long := strings.Replace(message, "$1\r\nm", "$100\r\n"+strings.Repeat("m", 100), 1)
	k, host, c := pushed(t)
	host.maxMessage = 100
	push := func(message string, sizes ...int) {
		for at, i := 0, 0; at < len(message); i++ {
			end := min(at+sizes[min(i, len(sizes)-1)], len(message))
			k.OnPush(nil, []byte(message[at:end]), at == 0, end == len(message))
			at = end
		}
	}
	var want []string
	for size := 1; size <= len(message); size++ {
		push(message, size)
		want = append(want, message)
	}
	push(long, 40)
	push(message, 10)
	push(long, len(long)) // It is here as a whole, so nothing of it has to be kept.
	want = append(want, "cut", message, long)
	if got := strings.Join(c.got, "|"); got != strings.Join(want, "|") {
		t.Errorf("%q, want %q", c.got, want)
	}
	k.subs[Channel]["ch"].state = subLeaving
	push(message, len(message))
	push(strings.ReplaceAll(message, "ch", "xx"), len(message))
	if len(c.got) != len(want) {
		t.Errorf("told without a subscription: %q", c.got[len(want):])
	}
}

// Delivering a message makes no garbage.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	k, _, c := pushed(t)
	message := []byte("*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nm\r\n")
	told := 0
	counting := &countingClient{testClient: new(testClient), told: &told}
	k.hub.subscribe(counting, k.hub.topic(Channel, "ch"))
	k.hub.Leave(c, true)
	if got := testing.AllocsPerRun(100, func() { k.OnPush(nil, message, true, true) }); got > 0 || told == 0 {
		t.Errorf("%v allocations for a message, %d were told", got, told)
	}
}

// countingClient keeps nothing of what it is told.
type countingClient struct {
	*testClient

	told *int
}

func (c *countingClient) Tell([]byte) { *c.told++ }
