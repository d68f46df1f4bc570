package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// goRedis is go-redis in one of its forms.
type goRedis struct{ redis.UniversalClient }

var _ library = goRedis{}

func openGoRedis(_ context.Context, addr string) (library, error) {
	return goRedis{redis.NewClient(&redis.Options{Addr: addr})}, nil
}

func openGoRedisRESP2(_ context.Context, addr string) (library, error) {
	return goRedis{redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})}, nil
}

func openGoRedisCluster(_ context.Context, addr string) (library, error) {
	return goRedisCluster{goRedis{redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}})}}, nil
}

func (c goRedis) close() { c.Close() }

// missing replaces the library's nil.
func (goRedis) missing(err error) error {
	if errors.Is(err, redis.Nil) {
		return errMissing
	}
	return err
}

func (c goRedis) ping(ctx context.Context) error { return c.Ping(ctx).Err() }

func (c goRedis) get(ctx context.Context, key string) (string, error) {
	value, err := c.Get(ctx, key).Result()
	return value, c.missing(err)
}

func (c goRedis) set(ctx context.Context, key, value string) error {
	return c.Set(ctx, key, value, 0).Err()
}

func (c goRedis) mset(ctx context.Context, values map[string]string) error {
	return c.MSet(ctx, values).Err()
}

func (c goRedis) mget(ctx context.Context, keys ...string) ([]string, error) {
	found, err := c.MGet(ctx, keys...).Result()
	values := make([]string, len(found))
	for i, value := range found {
		values[i], _ = value.(string)
	}
	return values, err
}

func (c goRedis) del(ctx context.Context, keys ...string) error {
	n, err := c.Del(ctx, keys...).Result()
	if err == nil && n != int64(len(keys)) {
		return fmt.Errorf("DEL has deleted %d of %d keys", n, len(keys))
	}
	return err
}

// goRedisCluster sends requests for many keys in a pipeline of single ones: those of the library go to one node.
type goRedisCluster struct{ goRedis }

func (c goRedisCluster) mset(ctx context.Context, values map[string]string) error {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for key, value := range values {
			p.Set(ctx, key, value, 0)
		}
		return nil
	})
	return err
}

func (c goRedisCluster) mget(ctx context.Context, keys ...string) ([]string, error) {
	replies, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var values []string
	for _, reply := range replies {
		values = append(values, reply.(*redis.StringCmd).Val())
	}
	return values, nil
}

func (c goRedisCluster) del(ctx context.Context, keys ...string) error {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Del(ctx, key)
		}
		return nil
	})
	return err
}

func (c goRedis) countUp(ctx context.Context, start int, keys []string) ([]int64, error) {
	var increments []*redis.IntCmd
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Set(ctx, key, start, 0)
			increments = append(increments, p.Incr(ctx, key))
		}
		return nil
	})
	return results(increments), err
}

func (c goRedis) transaction(ctx context.Context, key string) ([]int64, error) {
	var increments []*redis.IntCmd
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		increments = append(increments, p.Incr(ctx, key), p.Incr(ctx, key))
		return nil
	})
	return results(increments), err
}

func results(commands []*redis.IntCmd) []int64 {
	var values []int64
	for _, command := range commands {
		values = append(values, command.Val())
	}
	return values
}

func (c goRedis) increment(ctx context.Context, first, second string, race func()) (int, error) {
	attempt := func(tx *redis.Tx) error {
		n, err := tx.Get(ctx, first).Int()
		if err != nil {
			return err
		}
		race()
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, first, n+1, 0)
			p.Incr(ctx, second)
			return nil
		})
		return err
	}
	for attempts := 1; ; attempts++ {
		if err := c.Watch(ctx, attempt, first); !errors.Is(err, redis.TxFailedErr) {
			return attempts, err
		}
	}
}

// goRedisSubscription has a connection of its own.
type goRedisSubscription struct {
	*redis.PubSub
	kind subscribeKind
}

func (c goRedis) subscribe(ctx context.Context, kind subscribeKind, name string) (librarySubscription, error) {
	var s goRedisSubscription
	switch kind {
	case byChannel:
		s = goRedisSubscription{c.Subscribe(ctx, name), kind}
	case byPattern:
		s = goRedisSubscription{c.PSubscribe(ctx, name), kind}
	case byShard:
		s = goRedisSubscription{c.SSubscribe(ctx, name), kind}
	}
	return s, s.confirm(ctx)
}

// confirm waits for the answer to what was sent.
func (s goRedisSubscription) confirm(ctx context.Context) error {
	got, err := s.Receive(ctx)
	if _, confirmed := got.(*redis.Subscription); err == nil && !confirmed {
		return fmt.Errorf("received %v, want a confirmation", got)
	}
	return err
}

func (s goRedisSubscription) next(ctx context.Context) (delivery, error) {
	m, err := s.ReceiveMessage(ctx)
	if err != nil {
		return delivery{}, err
	}
	return delivery{m.Channel, m.Payload}, nil
}

func (s goRedisSubscription) end(ctx context.Context) error {
	defer s.Close()
	var err error
	switch s.kind {
	case byChannel:
		err = s.Unsubscribe(ctx)
	case byPattern:
		err = s.PUnsubscribe(ctx)
	case byShard:
		err = s.SUnsubscribe(ctx)
	}
	if err != nil {
		return err
	}
	return s.confirm(ctx)
}

func (c goRedis) publish(ctx context.Context, kind subscribeKind, channel, message string) error {
	if kind == byShard {
		return c.SPublish(ctx, channel, message).Err()
	}
	return c.Publish(ctx, channel, message).Err()
}

func (c goRedis) push(ctx context.Context, key, value string) error {
	return c.RPush(ctx, key, value).Err()
}

func (c goRedis) blpop(ctx context.Context, key string, timeout time.Duration) (string, error) {
	popped, err := c.BLPop(ctx, max(timeout, time.Second), key).Result() // The library has no fractions of a second.
	if err != nil {
		return "", c.missing(err)
	}
	return popped[1], nil
}

func (c goRedis) blmove(ctx context.Context, from, to string) (string, error) {
	return c.BLMove(ctx, from, to, "LEFT", "RIGHT", scenarioWait).Result()
}

func (c goRedis) xadd(ctx context.Context, stream, value string) error {
	return c.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{"field", value}}).Err()
}

func (c goRedis) xread(ctx context.Context, stream string, block time.Duration) (string, error) {
	streams, err := c.XRead(ctx, &redis.XReadArgs{Streams: []string{stream, "$"}, Block: block}).Result()
	if err != nil {
		return "", c.missing(err)
	}
	return fmt.Sprint(streams[0].Messages[0].Values["field"]), nil
}

func (c goRedis) runScript(ctx context.Context, source, key, arg string) (int64, error) {
	return redis.NewScript(source).Run(ctx, c, []string{key}, arg).Int64()
}

func (c goRedis) loadScript(ctx context.Context, source string) (string, error) {
	return c.ScriptLoad(ctx, source).Result()
}

func (c goRedis) haveScripts(ctx context.Context, shas ...string) ([]bool, error) {
	return c.ScriptExists(ctx, shas...).Result()
}

func (c goRedis) runLoaded(ctx context.Context, sha, key, arg string) (int64, error) {
	return c.EvalSha(ctx, sha, []string{key}, arg).Int64()
}

func (c goRedis) scan(ctx context.Context, pattern string) ([]string, error) {
	cluster, ok := c.UniversalClient.(*redis.ClusterClient)
	if !ok {
		return c.scanOne(ctx, c, pattern)
	}
	var mu sync.Mutex
	var all []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		keys, err := c.scanOne(ctx, node, pattern)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, keys...)
		return err
	})
	return all, err
}

func (goRedis) scanOne(ctx context.Context, node redis.Cmdable, pattern string) ([]string, error) {
	var keys []string
	list := node.Scan(ctx, 0, pattern, 0).Iterator()
	for list.Next(ctx) {
		keys = append(keys, list.Val())
	}
	return keys, list.Err()
}
