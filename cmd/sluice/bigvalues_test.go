package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/bench/check"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
	"sluice/internal/testbed/fakecodis"
)

// bigMove is a move of slots with large keys, of which each has a client that reads it and adds to it all the time, and
// judges every reply.
type bigMove struct {
	*testing.T
	client *redis.Client
	ctx    context.Context
	bytes  int // of the string
	size   int // elements of hash, set and sorted set, and of one list
	long   int // elements of the other list
}

func TestBigValuesMove(t *testing.T) {
	t.Parallel()
	for _, kind := range []fakecodis.Kind{fakecodis.Pika35, fakecodis.Pika40} {
		for _, method := range []dashboard.Method{dashboard.SemiAsync, dashboard.Sync} {
			t.Run(fmt.Sprintf("%s %s", kind, method), func(t *testing.T) {
				x := &bigMove{T: t, bytes: 1 << 20, size: 5_000, long: 20_000}
				if testbed.Soak() {
					x.size, x.long = 100_000, 1_000_000
				}
				x.run(kind, method)
			})
		}
	}
}

func (x *bigMove) run(kind fakecodis.Kind, method dashboard.Method) {
	source, target := fakecodis.StartPika(x, kind, fakecodis.Options{}), fakecodis.StartPika(x, kind, fakecodis.Options{})
	admin := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(x))
	s := serve(x.T, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
dialect = "pika"
[pool.discovery]
kind = "codis"
admin = %q
product = "codis-demo"
[pool.backend]
request_timeout = "30s"
[pool.hold]
max_wait = "2m"
max_move_wait = "5m"
`, admin))
	d := dashboard.Start(dashboard.Options{Product: "codis-demo", Pika: true},
		dashboard.Group{ID: 1, Servers: []string{source.Addr()}}, dashboard.Group{ID: 2, Servers: []string{target.Addr()}})
	x.Cleanup(d.Close)
	ctx, cancel := context.WithTimeout(x.Context(), 10*time.Minute)
	defer cancel()
	x.ctx = ctx
	if err := d.Assign(ctx, 1, dashboard.Slots(0, 1023)...); err != nil {
		x.Fatal(err)
	}
	if err := d.Online(ctx, admin); err != nil {
		x.Fatal(err)
	}
	x.client = redis.NewClient(&redis.Options{Addr: s.addr, ReadTimeout: 5 * time.Minute, MaxRetries: -1, Protocol: 2})
	defer x.client.Close()

	owners := map[string]func(key string, n int, done <-chan struct{}){
		"string": x.ownString, "list": x.ownList, "long list": x.ownList, "hash": x.ownHash, "set": x.ownSet, "zset": x.ownZset,
	}
	var slots []int
	var work sync.WaitGroup
	var ready sync.WaitGroup
	done := make(chan struct{})
	for name, own := range owners {
		slots = append(slots, check.CodisSlot([]byte(name)))
		size := map[string]int{"string": x.bytes, "long list": x.long}[name]
		if size == 0 {
			size = x.size
		}
		ready.Add(1)
		work.Go(func() {
			x.fill(name, size)
			ready.Done()
			own(name, size, done)
		})
	}
	ready.Wait()
	start := time.Now()
	moved, err := d.Migrate(ctx, slots, 2, method)
	x.Logf("%d slots in %s, errors of the dashboard: %.200q", moved.Slots, time.Since(start), moved.Errors)
	if err != nil {
		x.Error(err)
	}
	close(done)
	work.Wait()
	if left := source.Keys(); len(left) > 0 {
		x.Errorf("%q are still at the source", left)
	}
	if all := target.Do("LRANGE", "long list", "0", "-1").Array(); !x.Failed() {
		for i, e := range all {
			if e.String() != strconv.Itoa(i) {
				x.Fatalf("element %d of %d is %s", i, len(all), e)
			}
		}
	}
}

// fill makes the key with n elements, or bytes.
func (x *bigMove) fill(key string, n int) {
	const part = 5000
	for from := 0; from < n && key != "string"; from += part {
		var plain, pairs []any
		var scored []redis.Z
		for i := from; i < min(n, from+part); i++ {
			e := strconv.Itoa(i)
			plain, pairs, scored = append(plain, e), append(pairs, e, e), append(scored, redis.Z{Score: float64(i), Member: e})
		}
		var err error
		switch key {
		case "hash":
			err = x.client.HSet(x.ctx, key, pairs...).Err()
		case "set":
			err = x.client.SAdd(x.ctx, key, plain...).Err()
		case "zset":
			err = x.client.ZAdd(x.ctx, key, scored...).Err()
		default:
			err = x.client.RPush(x.ctx, key, plain...).Err()
		}
		if err != nil {
			x.Errorf("fill %s: %v", key, err)
			return
		}
	}
}

// until runs step with n, n+1 ... until done, or the test has failed.
func (x *bigMove) until(done <-chan struct{}, n int, step func(i int)) {
	for i := n; !x.Failed(); i++ {
		step(i)
		select {
		case <-done:
			return
		default:
		}
	}
}

func (x *bigMove) want(what string, got any, err error, want any) {
	if err != nil || got != want {
		x.Errorf("%s: %.100v %v, want %.100v", what, got, err, want)
	}
}

func (x *bigMove) ownString(key string, n int, done <-chan struct{}) {
	x.until(done, 0, func(i int) {
		value := strings.Repeat(string(rune('a'+i%26)), n)
		got, err := x.client.Set(x.ctx, key, value, 0).Result()
		x.want("SET", got, err, "OK")
		got, err = x.client.Get(x.ctx, key).Result()
		x.want("GET", got, err, value)
	})
}

func (x *bigMove) ownList(key string, n int, done <-chan struct{}) {
	x.until(done, n, func(i int) {
		length, err := x.client.RPush(x.ctx, key, i).Result()
		x.want("RPUSH", length, err, int64(i+1))
		for _, at := range []int{i, rand.IntN(i)} {
			e, err := x.client.LIndex(x.ctx, key, int64(at)).Result()
			x.want("LINDEX", e, err, strconv.Itoa(at))
		}
	})
}

func (x *bigMove) ownHash(key string, n int, done <-chan struct{}) {
	x.until(done, n, func(i int) {
		added, err := x.client.HSet(x.ctx, key, i, i).Result()
		x.want("HSET", added, err, int64(1))
		at := strconv.Itoa(rand.IntN(i))
		e, err := x.client.HGet(x.ctx, key, at).Result()
		x.want("HGET", e, err, at)
		length, err := x.client.HLen(x.ctx, key).Result()
		x.want("HLEN", length, err, int64(i+1))
	})
}

func (x *bigMove) ownSet(key string, n int, done <-chan struct{}) {
	x.until(done, n, func(i int) {
		added, err := x.client.SAdd(x.ctx, key, i).Result()
		x.want("SADD", added, err, int64(1))
		is, err := x.client.SIsMember(x.ctx, key, rand.IntN(i)).Result()
		x.want("SISMEMBER", is, err, true)
		length, err := x.client.SCard(x.ctx, key).Result()
		x.want("SCARD", length, err, int64(i+1))
	})
}

func (x *bigMove) ownZset(key string, n int, done <-chan struct{}) {
	x.until(done, n, func(i int) {
		added, err := x.client.ZAdd(x.ctx, key, redis.Z{Score: float64(i), Member: i}).Result()
		x.want("ZADD", added, err, int64(1))
		at := rand.IntN(i)
		score, err := x.client.ZScore(x.ctx, key, strconv.Itoa(at)).Result()
		x.want("ZSCORE", score, err, float64(at))
		length, err := x.client.ZCard(x.ctx, key).Result()
		x.want("ZCARD", length, err, int64(i+1))
	})
}
