package proxy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// rueidisLibrary is rueidis, which finds out by itself whether it is connected to a cluster.
type rueidisLibrary struct {
	rueidis.Client
}

var _ cachingLibrary = rueidisLibrary{}

func openRueidis(_ context.Context, addr string) (library, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	return rueidisLibrary{c}, err
}

func openRueidisWithoutCache(_ context.Context, addr string) (library, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	return rueidisLibrary{c}, err
}

func (c rueidisLibrary) close() { c.Close() }

// missing replaces the library's nil.
func (rueidisLibrary) missing(err error) error {
	if rueidis.IsRedisNil(err) {
		return errMissing
	}
	return err
}

func (c rueidisLibrary) ping(ctx context.Context) error {
	return c.Do(ctx, c.B().Ping().Build()).Error()
}

func (c rueidisLibrary) get(ctx context.Context, key string) (string, error) {
	value, err := c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
	return value, c.missing(err)
}

func (c rueidisLibrary) cachedGet(ctx context.Context, key string) (string, error) {
	return c.DoCache(ctx, c.B().Get().Key(key).Cache(), time.Hour).ToString()
}

func (c rueidisLibrary) set(ctx context.Context, key, value string) error {
	return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error()
}

func (c rueidisLibrary) mset(ctx context.Context, values map[string]string) error {
	return firstError(rueidis.MSet(c.Client, ctx, values))
}

func (c rueidisLibrary) mget(ctx context.Context, keys ...string) ([]string, error) {
	found, err := rueidis.MGet(c.Client, ctx, keys)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(keys))
	for i, key := range keys {
		message := found[key]
		if message.IsNil() {
			continue
		}
		if values[i], err = message.ToString(); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (c rueidisLibrary) del(ctx context.Context, keys ...string) error {
	return firstError(rueidis.MDel(c.Client, ctx, keys))
}

// firstError is one of the errors of a request for many keys.
func firstError(byKey map[string]error) error {
	for key, err := range byKey {
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func (c rueidisLibrary) countUp(ctx context.Context, start int, keys []string) ([]int64, error) {
	var batch rueidis.Commands
	for _, key := range keys {
		batch = append(batch, c.B().Set().Key(key).Value(strconv.Itoa(start)).Build(), c.B().Incr().Key(key).Build())
	}
	var increments []int64
	for i, r := range c.DoMulti(ctx, batch...) {
		if i%2 == 0 {
			if err := r.Error(); err != nil {
				return nil, err
			}
			continue
		}
		n, err := r.AsInt64()
		if err != nil {
			return nil, err
		}
		increments = append(increments, n)
	}
	return increments, nil
}

func (c rueidisLibrary) transaction(ctx context.Context, key string) ([]int64, error) {
	var results []int64
	err := c.Dedicated(func(c rueidis.DedicatedClient) error {
		replies := c.DoMulti(ctx, c.B().Multi().Build(),
			c.B().Incr().Key(key).Build(), c.B().Incr().Key(key).Build(), c.B().Exec().Build())
		var err error
		results, err = replies[len(replies)-1].AsIntSlice()
		return err
	})
	return results, err
}

func (c rueidisLibrary) increment(ctx context.Context, first, second string, race func()) (attempts int, err error) {
	attempt := func(c rueidis.DedicatedClient) error {
		if err := c.Do(ctx, c.B().Watch().Key(first).Build()).Error(); err != nil {
			return err
		}
		n, err := c.Do(ctx, c.B().Get().Key(first).Build()).AsInt64()
		if err != nil {
			return err
		}
		race()
		replies := c.DoMulti(ctx, c.B().Multi().Build(), c.B().Set().Key(first).Value(strconv.FormatInt(n+1, 10)).Build(),
			c.B().Incr().Key(second).Build(), c.B().Exec().Build())
		return replies[len(replies)-1].Error()
	}
	for attempts = 1; ; attempts++ {
		if err := c.Dedicated(attempt); !rueidis.IsRedisNil(err) {
			return attempts, err
		}
	}
}

// rueidisSubscription shares the connection of client with all other requests.
type rueidisSubscription struct {
	delivered
	client      rueidis.Client
	unsubscribe rueidis.Completed
	ended       chan error // what Receive has returned
}

// subscribe takes one node of a cluster for a channel: the library would take any, and another one for the end.
func (c rueidisLibrary) subscribe(ctx context.Context, kind subscribeKind, name string) (librarySubscription, error) {
	nodes := c.Nodes()
	node := nodes[slices.Min(slices.Collect(maps.Keys(nodes)))]
	s := rueidisSubscription{delivered: newDelivered(), client: node, ended: make(chan error, 1)}
	var command rueidis.Completed
	switch kind {
	case byChannel:
		command, s.unsubscribe = node.B().Subscribe().Channel(name).Build(), node.B().Unsubscribe().Channel(name).Build()
	case byPattern:
		command, s.unsubscribe = node.B().Psubscribe().Pattern(name).Build(), node.B().Punsubscribe().Pattern(name).Build()
	case byShard:
		s.client = c.Client // It knows the node.
		command, s.unsubscribe = c.B().Ssubscribe().Channel(name).Build(), c.B().Sunsubscribe().Channel(name).Build()
	}
	confirmed := make(chan struct{}, 2) // The second is of the end.
	ctx = rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { confirmed <- struct{}{} })
	go func() {
		s.ended <- s.client.Receive(ctx, command, func(m rueidis.PubSubMessage) { s.delivered <- delivery{m.Channel, m.Message} })
	}()
	select {
	case <-confirmed:
		return s, nil
	case err := <-s.ended:
		return nil, fmt.Errorf("not subscribed: %w", err)
	}
}

func (s rueidisSubscription) end(ctx context.Context) error {
	if err := s.client.Do(ctx, s.unsubscribe).Error(); err != nil {
		return err
	}
	return <-s.ended
}

func (c rueidisLibrary) publish(ctx context.Context, kind subscribeKind, channel, message string) error {
	if kind == byShard {
		return c.Do(ctx, c.B().Spublish().Channel(channel).Message(message).Build()).Error()
	}
	return c.Do(ctx, c.B().Publish().Channel(channel).Message(message).Build()).Error()
}

func (c rueidisLibrary) push(ctx context.Context, key, value string) error {
	return c.Do(ctx, c.B().Rpush().Key(key).Element(value).Build()).Error()
}

func (c rueidisLibrary) blpop(ctx context.Context, key string, timeout time.Duration) (string, error) {
	popped, err := c.Do(ctx, c.B().Blpop().Key(key).Timeout(timeout.Seconds()).Build()).AsStrSlice()
	if err != nil {
		return "", c.missing(err)
	}
	return popped[1], nil
}

func (c rueidisLibrary) blmove(ctx context.Context, from, to string) (string, error) {
	return c.Do(ctx, c.B().Blmove().Source(from).Destination(to).Left().Right().Timeout(scenarioWait.Seconds()).Build()).ToString()
}

func (c rueidisLibrary) xadd(ctx context.Context, stream, value string) error {
	return c.Do(ctx, c.B().Xadd().Key(stream).Id("*").FieldValue().FieldValue("field", value).Build()).Error()
}

func (c rueidisLibrary) xread(ctx context.Context, stream string, block time.Duration) (string, error) {
	entries, err := c.Do(ctx, c.B().Xread().Block(block.Milliseconds()).Streams().Key(stream).Id("$").Build()).AsXRead()
	if err != nil {
		return "", c.missing(err)
	}
	return entries[stream][0].FieldValues["field"], nil
}

func (c rueidisLibrary) runScript(ctx context.Context, source, key, arg string) (int64, error) {
	return rueidis.NewLuaScript(source).Exec(ctx, c.Client, []string{key}, []string{arg}).AsInt64()
}

// loadScript goes to every node that the library knows: one request goes to one node.
func (c rueidisLibrary) loadScript(ctx context.Context, source string) (sha string, err error) {
	for _, node := range c.Nodes() {
		if sha, err = node.Do(ctx, node.B().ScriptLoad().Script(source).Build()).ToString(); err != nil {
			return "", err
		}
	}
	return sha, nil
}

func (c rueidisLibrary) haveScripts(ctx context.Context, shas ...string) ([]bool, error) {
	return c.Do(ctx, c.B().ScriptExists().Sha1(shas...).Build()).AsBoolSlice()
}

func (c rueidisLibrary) runLoaded(ctx context.Context, sha, key, arg string) (int64, error) {
	return c.Do(ctx, c.B().Evalsha().Sha1(sha).Numkeys(1).Key(key).Arg(arg).Build()).AsInt64()
}

func (c rueidisLibrary) scan(ctx context.Context, pattern string) ([]string, error) {
	var keys []string
	for _, node := range c.Nodes() {
		list := rueidis.NewScanner(func(cursor uint64) (rueidis.ScanEntry, error) {
			return node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Build()).AsScanEntry()
		})
		for key := range list.Iter() {
			keys = append(keys, key)
		}
		if err := list.Err(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
