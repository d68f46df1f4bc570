package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/internal/testbed"
	"sluice/proxy/pubsub"
)

// subscriberScripts are what one client says. Where an order is up to the server's hash table only one channel is left.
var subscriberScripts = []string{
	`SUBSCRIBE a a b; PSUBSCRIBE a* b* a*; UNSUBSCRIBE b; UNSUBSCRIBE; UNSUBSCRIBE; PUNSUBSCRIBE x; PUNSUBSCRIBE; PUNSUBSCRIBE; UNSUBSCRIBE a b`,
	`UNSUBSCRIBE; PUNSUBSCRIBE; SUNSUBSCRIBE; UNSUBSCRIBE a a; SUNSUBSCRIBE a; PUNSUBSCRIBE a; PING; GET x`,
	`SSUBSCRIBE {s}1; SSUBSCRIBE {s}1 {s}2; SUBSCRIBE c; SUNSUBSCRIBE {s}1; SUNSUBSCRIBE; UNSUBSCRIBE; GET x`,
	`SUBSCRIBE c; GET x; SET x; NOSUCH a; CLIENT SETNAME a; HELLO 3; AUTH a; ECHO a; SELECT 0; PING a b; PING hi; PUBLISH c; UNSUBSCRIBE; GET x`,
	`SUBSCRIBE; PSUBSCRIBE; SSUBSCRIBE; PUBLISH a; PUBSUB NUMPAT x; PUBSUB NOSUCH; PUBSUB; PUBSUB CHANNELS a b; PUBSUB HELP; PUBSUB NUMSUB; PUBSUB SHARDNUMSUB`,
	`PSUBSCRIBE a; RESET; GET x; UNSUBSCRIBE; SUBSCRIBE a; QUIT`,
	`HELLO 2; PSUBSCRIBE a; MULTI; EXEC; DISCARD; WATCH; EVAL x 0; UNSUBSCRIBE a; PUNSUBSCRIBE`,
	`HELLO 3; SUBSCRIBE a; PSUBSCRIBE b*; SSUBSCRIBE {s}; HELLO 2; GET x; PING; UNSUBSCRIBE a; SUNSUBSCRIBE; GET x; PUNSUBSCRIBE; GET x; HELLO 3; UNSUBSCRIBE`,
}

// Every byte that a client gets for (un)subscribing is what a Redis would send.
func TestSubscribingAnswersAsRedis(t *testing.T) {
	alone := testbed.Redis(t)
	onEachTopology(t, func(t *testing.T, top *topology) {
		for _, script := range subscriberScripts {
			for _, proto := range []string{"2", "3"} {
				want, got := runScript(t, alone.Addr(), proto, script), runScript(t, top.addr, proto, script)
				for i := range want {
					if want[i] != got[i] {
						t.Errorf("RESP%s, %s: statement %d\n got %q\nwant %q", proto, script, i+1, got[i], want[i])
					}
				}
			}
		}
	})
}

// runScript returns what came back for each statement: all that comes before the answer to a PING behind it.
func runScript(t *testing.T, addr, proto, script string) []string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	c.do("HELLO", proto)
	var all []string
	for i, s := range strings.Split(script, ";") {
		args := strings.Fields(s)
		mark := fmt.Sprint("mark", i)
		c.request(args...)
		if args[0] == "QUIT" {
			return append(all, c.reply())
		}
		c.request("PING", mark)
		var came strings.Builder
		for {
			frame := c.reply()
			if strings.HasSuffix(frame, bulkReply(mark)) {
				break
			}
			if args[0] == "HELLO" && frame[0] != '-' {
				frame = frame[:3]
			}
			came.WriteString(frame)
		}
		all = append(all, came.String())
	}
	return all
}

// codisOfThree is a Codis pool of three servers.
func codisOfThree(t *testing.T, change ...func(*Config, *PoolConfig)) *topology {
	t.Helper()
	nodes := []*testbed.Server{testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)}
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	p := startProxy(t, codisModel, evenly(codisModel, addrs...), append([]func(*Config, *PoolConfig){patient}, change...)...)
	return &topology{testProxy: p, model: codisModel, nodes: nodes}
}

// onEachPubSub runs a test in front of a Codis pool of three and a cluster of three, with two event loops where that is
// easy to have.
func onEachPubSub(t *testing.T, f func(t *testing.T, top *topology)) {
	t.Run("codis", func(t *testing.T) { f(t, codisOfThree(t, twoLoops)) })
	t.Run("cluster", func(t *testing.T) { f(t, clusterTopology(t)) })
}

func twoLoops(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 }

// subscriber is a client that collects messages.
type subscriber struct {
	*testClient
	proto int
}

func (top *topology) subscriber(t *testing.T, proto int) *subscriber {
	t.Helper()
	c := top.dial(t)
	c.do("HELLO", fmt.Sprint(proto))
	return &subscriber{c, proto}
}

// to subscribes and reads the acknowledgements.
func (s *subscriber) to(command string, names ...string) {
	s.t.Helper()
	s.request(append([]string{command}, names...)...)
	for _, name := range names {
		if got := s.reply(); !strings.Contains(got, bulkReply(strings.ToLower(command))+bulkReply(name)) {
			s.t.Fatalf("%s %s: %q", command, name, got)
		}
	}
}

// push is a message as it is written to the subscriber.
func (s *subscriber) push(parts ...string) string {
	header := map[int]string{2: "*", 3: ">"}[s.proto]
	out := fmt.Sprintf("%s%d\r\n", header, len(parts))
	for _, p := range parts {
		out += bulkReply(p)
	}
	return out
}

// fenced collects all messages up to now: from every node a message is sent over every node that may tell it, and what
// was told before comes before it.
func (s *subscriber) fenced(top *topology) []string {
	s.t.Helper()
	channels := top.keysOnEveryNode("fence", 1)
	s.request(append([]string{"SUBSCRIBE"}, channels...)...)
	var got []string
	for left := len(channels); left > 0; {
		if m := s.reply(); strings.Contains(m, bulkReply("subscribe")) {
			left--
		} else {
			got = append(got, m)
		}
	}
	for i, node := range top.nodes {
		for _, channel := range channels {
			if err := node.Do("PUBLISH", channel, fmt.Sprint("from", i)).Error(); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	for left := len(channels) * len(top.nodes); left > 0; {
		if m := s.reply(); strings.Contains(m, "fence") {
			left--
		} else {
			got = append(got, m)
		}
	}
	return got
}

// Each message reaches each subscriber once, in both protocols, on both loops, with overlapping patterns, whoever
// publishes where: clients, scripts and transactions at any group, somebody at a server.
func TestEachSubscriberIsToldOnce(t *testing.T) {
	onEachPubSub(t, func(t *testing.T, top *topology) {
		channels := top.keysOnEveryNode("news", 2)
		subs := []*subscriber{top.subscriber(t, 2), top.subscriber(t, 3), top.subscriber(t, 2), top.subscriber(t, 3)}
		for _, s := range subs {
			s.to("SUBSCRIBE", channels...)
			s.to("PSUBSCRIBE", "news*", "n?ws*", "none*")
		}
		other := top.subscriber(t, 3)
		other.to("SUBSCRIBE", channels[0])
		publisher := top.dial(t)
		for i, channel := range channels {
			receivers := len(subs) * 3
			if i == 0 {
				receivers++
			}
			publisher.want(fmt.Sprintf(":%d\r\n", receivers), "PUBLISH", channel, "client")
		}
		for i, node := range top.nodes {
			for _, v := range []struct{ args []string }{
				{[]string{"PUBLISH", channels[0], fmt.Sprint("server", i)}},
				{[]string{"EVAL", "return redis.call('PUBLISH', ARGV[1], ARGV[2])", "0", channels[1], fmt.Sprint("script", i)}},
			} {
				if err := node.Do(v.args...).Error(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, s := range subs {
			got := s.fenced(top)
			counts := make(map[string]int)
			for _, m := range got {
				counts[m]++
			}
			check := func(channel, body string) {
				t.Helper()
				for _, m := range []string{
					s.push("message", channel, body),
					s.push("pmessage", "news*", channel, body), s.push("pmessage", "n?ws*", channel, body),
				} {
					if counts[m] != 1 {
						t.Errorf("RESP%d: %q came %d times", s.proto, m, counts[m])
					}
					delete(counts, m)
				}
			}
			for _, channel := range channels {
				check(channel, "client")
			}
			for i := range top.nodes {
				check(channels[0], fmt.Sprint("server", i))
				check(channels[1], fmt.Sprint("script", i))
			}
			if len(counts) > 0 {
				t.Errorf("RESP%d: not asked for: %v", s.proto, counts)
			}
		}
		if got := other.fenced(top); len(got) != 1+len(top.nodes) {
			t.Errorf("%q, want %d messages", got, 1+len(top.nodes))
		}
	})
}

// What is published after the acknowledgement is received, over and over, by whoever comes first.
// A shard channel lives at the owner of its slot, so a transaction that tells it something runs there, and has no
// key of another slot.
func TestTransactionPublishesAtTheOwnerOfTheShardChannel(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		for _, channel := range top.keysOnEveryNode("ch", 1) {
			sub, c := top.dial(t), top.dial(t)
			sub.want("*3\r\n$10\r\nssubscribe\r\n"+bulkReply(channel)+":1\r\n", "SSUBSCRIBE", channel)
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SPUBLISH", channel, "m")
			c.want("*1\r\n:1\r\n", "EXEC")
			sub.wantReply("*3\r\n$8\r\nsmessage\r\n" + bulkReply(channel) + bulkReply("m"))
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SET", "{"+channel+"}", "v")
			other := top.keysOnEveryNode("other", 1)
			for i := range top.nodes {
				if c.do("SPUBLISH", other[i], "m") != "+QUEUED\r\n" {
					c.want("-"+errExecAborted+"\r\n", "EXEC")
					return
				}
			}
			t.Error("a transaction publishes on every node")
		}
	})
}

func TestWhatIsPublishedAfterTheAcknowledgementComes(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		publisher := top.dial(t)
		for i := range 50 {
			s := top.subscriber(t, 2+i%2)
			channel := fmt.Sprint("fresh", i%7)
			s.request("SUBSCRIBE", channel, "also")
			s.reply()
			s.reply()
			publisher.want(":1\r\n", "PUBLISH", channel, "hello")
			if got := s.reply(); got != s.push("message", channel, "hello") {
				t.Fatalf("round %d: %q", i, got)
			}
			s.request("UNSUBSCRIBE", channel, "also")
			s.reply()
			s.reply()
			s.request("SUBSCRIBE", channel) // The server has not heard of the end yet.
			s.reply()
			publisher.want(":1\r\n", "PUBLISH", channel, "again")
			if got := s.reply(); got != s.push("message", channel, "again") {
				t.Fatalf("round %d: %q", i, got)
			}
			s.Close()
			top.awaitNoSubscribers(t)
		}
	})
}

// awaitNoSubscribers waits until nothing is left of all subscriptions, here and at the servers.
func (top *topology) awaitNoSubscribers(t *testing.T) {
	t.Helper()
	testbed.Eventually(t, func() error {
		left := 0
		top.onEachLoop(t.Context(), func(l *loop) {
			for _, h := range l.hubs {
				size := h.Size()
				left += size.Topics + size.Unready + size.Pending + size.Held
			}
		})
		for _, node := range top.nodes {
			left += len(node.Do("PUBSUB", "CHANNELS").Array()) + node.Do("PUBSUB", "NUMPAT").Integer() + len(node.Do("PUBSUB", "SHARDCHANNELS").Array())
		}
		if left > 0 || top.pool.subscribers.Busy() || top.pool.PubSub() != (pubsub.Counts{}) {
			return fmt.Errorf("%d things are left, %+v", left, top.pool.PubSub())
		}
		return nil
	}, replyWait)
}

// SUBSCRIBE among other requests of a pipeline: everything is answered in order.
func TestSubscribeInAPipeline(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		keys := top.keysOnEveryNode("k", 1)
		c := top.subscriber(t, 3)
		for _, k := range keys {
			c.request("SET", k, "v")
		}
		c.request("SUBSCRIBE", "x", "y")
		for _, k := range keys {
			c.request("GET", k)
		}
		c.request("UNSUBSCRIBE", "x")
		c.request("GET", keys[0])
		for range keys {
			c.wantReply("+OK\r\n")
		}
		c.wantReply(">3\r\n" + bulkReply("subscribe") + bulkReply("x") + ":1\r\n")
		c.wantReply(">3\r\n" + bulkReply("subscribe") + bulkReply("y") + ":2\r\n")
		for range keys {
			c.wantReply(bulkReply("v"))
		}
		c.wantReply(">3\r\n" + bulkReply("unsubscribe") + bulkReply("x") + ":1\r\n")
		c.wantReply(bulkReply("v"))
	})
}

// Shard channels go by their slot.
func TestShardChannels(t *testing.T) {
	onEachPubSub(t, func(t *testing.T, top *topology) {
		channels := top.keysOnEveryNode("shard", 2)
		subs := []*subscriber{top.subscriber(t, 2), top.subscriber(t, 3)}
		for _, s := range subs {
			s.to("SSUBSCRIBE", channels...)
		}
		publisher := top.dial(t)
		for _, channel := range channels {
			publisher.want(":2\r\n", "SPUBLISH", channel, "m")
			publisher.want(":0\r\n", "PUBLISH", channel, "m")
			for _, s := range subs {
				s.wantReply(s.push("smessage", channel, "m"))
			}
		}
		if got := len(elements(t, publisher.do("PUBSUB", "SHARDCHANNELS"))); got != len(channels) {
			t.Errorf("%d shard channels, want %d", got, len(channels))
		}
		publisher.want("*4\r\n"+bulkReply(channels[0])+":2\r\n"+bulkReply("none")+":0\r\n", "PUBSUB", "SHARDNUMSUB", channels[0], "none")
		for _, s := range subs {
			if got := s.fenced(top); len(got) > 0 {
				t.Errorf("more: %q", got)
			}
			s.Close()
		}
		publisher.Close()
		top.awaitNoSubscribers(t)
	})
}

// What counts receivers counts clients, not the loops that are subscribed in their place, and those at servers too.
func TestReceiversAreCounted(t *testing.T) {
	onEachPubSub(t, func(t *testing.T, top *topology) {
		c := top.dial(t)
		c.want(":0\r\n", "PUBLISH", "ch", "m")
		var subs []*subscriber
		for i := range 5 {
			s := top.subscriber(t, 2+i%2)
			s.to("SUBSCRIBE", "ch")
			s.to("PSUBSCRIBE", "c*")
			subs = append(subs, s)
		}
		subs[0].to("PSUBSCRIBE", "other*", "__keyspace*")
		subs[0].to("SUBSCRIBE", "only")
		c.want(":10\r\n", "PUBLISH", "ch", "m")
		c.want(":1\r\n", "PUBLISH", "only", "m")
		c.want(":5\r\n", "PUBLISH", "chx", "m")
		c.want(":0\r\n", "PUBLISH", "CH", "m")

		stranger := dial(t, "tcp", top.owner("ch").Addr())
		stranger.do("SUBSCRIBE", "ch")
		c.want(":11\r\n", "PUBLISH", "ch", "m")
		c.want("*6\r\n"+bulkReply("ch")+":6\r\n"+bulkReply("only")+":1\r\n"+bulkReply("no")+":0\r\n", "PUBSUB", "NUMSUB", "ch", "only", "no")
		c.want("*2\r\n"+bulkReply("ch")+bulkReply("only"), "PUBSUB", "CHANNELS")
		c.want("*1\r\n"+bulkReply("only"), "PUBSUB", "CHANNELS", "o[a-z]*")
		c.want(":3\r\n", "PUBSUB", "NUMPAT")
		if got, want := top.pool.PubSub(), (pubsub.Counts{Channels: 2, Patterns: 3, Subscribers: 5}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		for _, s := range subs[1:] {
			s.request("UNSUBSCRIBE")
			for !strings.Contains(s.reply(), "unsubscribe") {
			}
		}
		stranger.Close()
		testbed.Eventually(t, func() error {
			if got := c.do("PUBLISH", "ch", "m"); got != ":6\r\n" {
				return errors.New(got)
			}
			return nil
		}, replyWait)
	})
}

// Notifications of changes of keys are told by the server that has the key, in a cluster too.
func TestKeyspaceNotifications(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		for _, n := range top.nodes {
			if err := n.Do("CONFIG", "SET", "notify-keyspace-events", "KA").Error(); err != nil {
				t.Fatal(err)
			}
		}
		keys := top.keysOnEveryNode("key", 1)
		s := top.subscriber(t, 2)
		s.to("PSUBSCRIBE", "__keyspace@0__:*")
		c := top.dial(t)
		for _, k := range keys {
			c.want("+OK\r\n", "SET", k, "v")
			s.wantReply(s.push("pmessage", "__keyspace@0__:*", "__keyspace@0__:"+k, "set"))
		}
	})
}

// A message never lands in a reply that is still coming, and large ones come whole.
func TestMessagesBetweenLargeReplies(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		big := strings.Repeat("v", 4<<20)
		c, publisher := top.subscriber(t, 3), top.dial(t)
		publisher.want("+OK\r\n", "SET", "big", big)
		c.to("SUBSCRIBE", "ch")
		const n = 30
		body := strings.Repeat("m", 300<<10)
		go func() {
			for range n {
				c.request("GET", "big")
			}
		}()
		for range n {
			publisher.request("PUBLISH", "ch", body)
		}
		gets, messages := 0, 0
		value, message := bulkReply(big), c.push("message", "ch", body)
		for gets+messages < 2*n {
			switch got := c.reply(); got {
			case value:
				gets++
			case message:
				messages++
			default:
				t.Fatalf("%.60q ... (%d bytes) after %d replies and %d messages", got, len(got), gets, messages)
			}
		}
		if gets != n {
			t.Errorf("%d replies", gets)
		}
	})
}

// A message that is held back while a reply is under way comes right behind it.
func TestMessageInTheMiddleOfAReply(t *testing.T) {
	goOn := make(chan struct{})
	subscribed := make(chan *scriptedConn, 1)
	reply := bulkReply(strings.Repeat("v", 3*streamFrom))
	back := startFake(t, func(c *scriptedConn, args []string) {
		switch args[0] {
		case "subscribe":
			c.reply("*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n")
			subscribed <- c
		case "GET":
			c.reply(reply[:2*streamFrom])
			c.wait(goOn)
			c.reply(reply[2*streamFrom:])
		}
	}, func(f *fakeBackend) { f.greetings["HELLO"] = resp3Greeting })
	p := startProxy(t, codisModel, evenly(codisModel, back.addr()), patient)
	c := (&topology{testProxy: p}).subscriber(t, 3)
	c.to("SUBSCRIBE", "ch")
	c.request("GET", "k")
	c.request("PING")
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	message := (&subscriber{proto: 2}).push("message", "ch", "m")
	server := <-subscribed
	for i := range message { // In as many parts as there can be.
		server.reply(message[i : i+1])
	}
	testbed.Eventually(t, func() error {
		if p.Stats().Messages == 0 {
			return errors.New("no message came")
		}
		return nil
	}, replyWait)
	close(goOn)
	c.wantReply(reply)
	c.wantReply(c.push("message", "ch", "m"))
	c.wantReply("+PONG\r\n")
}

// A client that does not read its messages is closed; others get theirs.
func TestSlowSubscriberIsClosed(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		limits := testLimits
		limits.PubSubOutput = 4 << 20
		settings := *top.settings.Load()
		settings.Limits = limits
		top.SetSettings(settings)
		slow, good, publisher := top.subscriber(t, 3), top.subscriber(t, 3), top.dial(t)
		slow.to("SUBSCRIBE", "ch")
		good.to("SUBSCRIBE", "ch")
		body := strings.Repeat("m", 1<<20)
		closed := func() bool { return top.Stats().Overflows[OverflowPubSub] > 0 }
		sent := 0
		for ; !closed(); sent++ {
			if sent > 1000 {
				t.Fatal("nobody was closed")
			}
			publisher.request("PUBLISH", "ch", body)
			good.wantReply(good.push("message", "ch", body))
			publisher.reply()
		}
		publisher.want(":1\r\n", "PUBLISH", "ch", "last")
		good.wantReply(good.push("message", "ch", "last"))
		if !strings.Contains(top.logs.String(), "does not read its replies") {
			t.Error("no line in the log")
		}
		if s := top.Stats(); s.Overflows[OverflowPubSub] != 1 || s.Overflows[OverflowOutput] != 0 {
			t.Errorf("overflows %v", s.Overflows)
		}
	})
}

// Clients that vanish leave nothing, whatever they were about.
func TestVanishedSubscribersLeaveNothing(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		for i := range 30 {
			s := top.subscriber(t, 2+i%2)
			switch i % 3 {
			case 0:
				s.request("SUBSCRIBE", "a", fmt.Sprint("b", i)) // Gone before the answer, perhaps.
			case 1:
				s.to("PSUBSCRIBE", "a*", fmt.Sprint("b", i))
				s.request("QUIT")
			case 2:
				s.to("SSUBSCRIBE", "s")
				s.to("SUBSCRIBE", "a")
				s.request("RESET")
				s.reply()
			}
			s.Close()
		}
		top.awaitNoSubscribers(t)
		top.dial(t).want(":0\r\n", "PUBLISH", "a", "m")
	})
}

// A client library subscribes, resubscribes and publishes as at a Redis.
func TestGoRedisSubscribes(t *testing.T) {
	t.Parallel()
	onEachPubSub(t, func(t *testing.T, top *topology) {
		for _, proto := range []int{2, 3} {
			db := redis.NewClient(&redis.Options{Addr: top.addr, Protocol: proto})
			sub := db.Subscribe(t.Context(), "a", "b")
			if err := sub.PSubscribe(t.Context(), "c*"); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := sub.Receive(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := sub.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, channel := range []string{"a", "b", "cx"} {
				if n, err := db.Publish(t.Context(), channel, "hello").Result(); n != 1 || err != nil {
					t.Errorf("RESP%d: PUBLISH %s: %d, %v", proto, channel, n, err)
				}
				if m, err := sub.ReceiveMessage(t.Context()); err != nil || m.Channel != channel || m.Payload != "hello" {
					t.Errorf("RESP%d: %v, %v", proto, m, err)
				}
			}
			_ = sub.Close()
			_ = db.Close()
			top.awaitNoSubscribers(t)
		}
	})
}
