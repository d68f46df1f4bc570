package pubsub

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/bufpool"
	"sluice/router"
)

// testClient is a Subscriber that keeps what it gets.
type testClient struct {
	subscriptions Subscriptions
	got           []string // messages; "cut" for one that was too long
	answers       []string // acknowledgements
	refusals      []Refusal
	onTell        func()
}

func (c *testClient) Subscriptions() *Subscriptions { return &c.subscriptions }
func (c *testClient) Acknowledge(reply []byte)      { c.answers = append(c.answers, string(reply)) }
func (c *testClient) Refuse(r Refusal)              { c.refusals = append(c.refusals, r) }
func (c *testClient) Overflow()                     { c.got = append(c.got, "cut") }
func (c *testClient) Tell(frame []byte) {
	c.got = append(c.got, string(frame))
	if c.onTell != nil {
		c.onTell()
	}
}

// loneHost is the loop and the pool of a hub that has no topology, and so nobody to ask.
type loneHost struct {
	Loop // nil
	Pool // nil
}

func (loneHost) Now() int64             { return 0 }
func (loneHost) Wake()                  {}
func (loneHost) MaxWait() time.Duration { return time.Hour }
func (loneHost) Topology() Topology     { return nil }

// loneHub is the hub of a loneHost: it keeps what clients are subscribed to.
func loneHub() *Hub {
	return New(Config{
		Loop: loneHost{}, Pool: loneHost{}, Model: router.ClusterModel(), Registry: new(Registry),
		Buffers: bufpool.New(1 << 20),
	})
}

// Subscriptions come and go in any order; each client that is left is told once, and nobody else. Some leave while they
// are told.
func TestTopicTellsThoseWhoAreLeft(t *testing.T) {
	h := loneHub()
	clients := make([]*testClient, 6)
	for i := range clients {
		clients[i] = new(testClient)
		h.subscribe(clients[i], h.topic(Channel, "ch"))
		h.subscribe(clients[i], h.topic(Channel, "ch")) // Asked for twice, there once.
	}
	h.unsubscribe(&clients[0].subscriptions, Channel, "ch")
	h.unsubscribe(&clients[5].subscriptions, Channel, "ch")
	h.unsubscribe(&clients[5].subscriptions, Channel, "ch")
	for _, i := range []int{1, 4} {
		clients[i].onTell = func() { h.Leave(clients[i], true) }
	}
	top := h.topic(Channel, "ch")
	for _, m := range []string{"m", "n"} {
		top.tell([]byte(m), false)
	}
	top.tell([]byte("o"), true)
	for i, want := range []string{"", "m", "m n cut", "m n cut", "m", ""} {
		if got := strings.Join(clients[i].got, " "); got != want {
			t.Errorf("client %d: %q, want %q", i, got, want)
		}
	}
	if got := h.cfg.Registry.Counts(); got != (Counts{Channels: 1, Subscribers: 2}) {
		t.Errorf("%+v", got)
	}
	for _, c := range clients {
		h.Leave(c, true)
	}
	if size := h.Size(); size != (Size{}) || h.cfg.Registry.Busy() {
		t.Errorf("left: %+v, busy %t", size, h.cfg.Registry.Busy())
	}
}

func TestLocalTopics(t *testing.T) {
	f := func(kind Kind, name string, want bool) {
		t.Helper()
		if got := (&topic{kind: kind, name: name}).local(); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	f(Channel, "news", false)
	f(Channel, "__keyspace@0__:k", true)
	f(Channel, "__keyevent@0__:set", true)
	f(Channel, "__key*", false)
	f(Pattern, "__key*", true)
	f(Pattern, "*", false)
}

// Acknowledgements of the end of all subscriptions come in the order in which they were asked for; shard channels are
// counted apart.
func TestUnsubscribingAcknowledges(t *testing.T) {
	h, c := loneHub(), new(testClient)
	for _, name := range []string{"z", "a", "m"} {
		h.subscribe(c, h.topic(Channel, name))
	}
	h.subscribe(c, h.topic(Pattern, "p*"))
	h.subscribe(c, h.topic(Shard, "s"))
	f := func(want string, kind Kind, resp3 bool, names ...string) {
		t.Helper()
		got := h.Unsubscribe(nil, c, kind, names, resp3)
		if got := strings.ReplaceAll(string(got), "\r\n", ","); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f("*3,$12,sunsubscribe,$1,x,:1,", Shard, false, "x")
	f(">3,$12,sunsubscribe,$1,s,:0,", Shard, true)
	f("*3,$12,sunsubscribe,$-1,:0,", Shard, false)
	f(">3,$12,sunsubscribe,_,:0,", Shard, true)
	f("*3,$11,unsubscribe,$1,z,:3,*3,$11,unsubscribe,$1,a,:2,*3,$11,unsubscribe,$1,m,:1,", Channel, false)
	f("*3,$12,punsubscribe,$2,p*,:0,*3,$12,punsubscribe,$2,p*,:0,", Pattern, false, "p*", "p*")
	if c.subscriptions.Any() || h.Size() != (Size{}) {
		t.Errorf("left: %+v", h.Size())
	}
}

// What a client may not hear is looked for among what it has, and what it waits for.
func TestAllSubscriptions(t *testing.T) {
	h, c := loneHub(), new(testClient)
	h.subscribe(c, h.topic(Channel, "a"))
	h.subscribe(c, h.topic(Shard, "b"))
	if _, ready := h.Subscribe(nil, c, Pattern, []string{"c", "d", "c"}, false); ready {
		t.Fatal("subscribed without a server")
	}
	h.Await(c)
	var all []string
	for kind, name := range c.subscriptions.All() {
		all = append(all, kindWords[kind].subscribe+" "+name)
	}
	slices.Sort(all)
	want := []string{"psubscribe c", "psubscribe c", "psubscribe d", "ssubscribe b", "subscribe a"}
	if !slices.Equal(all, want) || !c.subscriptions.Waits() || c.subscriptions.Len(Pattern) != 0 {
		t.Errorf("%q, want %q; %d patterns", all, want, c.subscriptions.Len(Pattern))
	}
	for range c.subscriptions.All() {
		break // It may be ended early.
	}
	h.Leave(c, false)
	if len(c.refusals) != 1 || c.refusals[0].Cause != Leaving || h.Size() != (Size{}) {
		t.Errorf("refused with %+v, left: %+v", c.refusals, h.Size())
	}
	h.Subscribe(nil, c, Channel, []string{"a"}, false)
	h.Await(c)
	h.Leave(c, true)
	if len(c.refusals) != 1 || h.Size() != (Size{}) {
		t.Errorf("one that is gone was refused with %+v, left: %+v", c.refusals, h.Size())
	}
}
