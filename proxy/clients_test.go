package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"sluice/internal/testbed"
	"sluice/router"
)

// go-redis connects with nothing set but the address.
func TestGoRedis(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		useGoRedis(t, redis.NewClient(&redis.Options{Addr: top.addr}), top.keysOnEveryNode("go", 3))
		useGoRedis(t, redis.NewClient(&redis.Options{Addr: top.addr, Protocol: 2}), top.keysOnEveryNode("go2", 3))
		top.checkOwners(t)
		if s := top.Stats(); s.Unknown > 0 || s.ProtocolErrors > 0 {
			t.Errorf("%d unknown commands, %d protocol errors", s.Unknown, s.ProtocolErrors)
		}
	})
}

func useGoRedis(t *testing.T, db *redis.Client, keys []string) {
	t.Helper()
	ctx := t.Context()
	defer db.Close()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(db.Ping(ctx).Err())
	pipe := db.Pipeline()
	for i, key := range keys {
		pipe.Set(ctx, key, i, time.Hour)
		pipe.IncrBy(ctx, key, 10)
		pipe.HSet(ctx, "h"+key, "f", i, "g", "x")
	}
	_, err := pipe.Exec(ctx)
	check(err)
	values, err := db.MGet(ctx, append(keys, "none")...).Result()
	check(err)
	for i := range keys {
		if values[i] != fmt.Sprint(i+10) {
			t.Errorf("MGET: %v is %v", keys[i], values[i])
		}
	}
	if values[len(keys)] != nil {
		t.Errorf("MGET: a missing key is %v", values[len(keys)])
	}
	if hash := db.HGetAll(ctx, "h"+keys[0]).Val(); hash["f"] != "0" || hash["g"] != "x" || len(hash) != 2 {
		t.Errorf("HGETALL: %v", hash)
	}
	check(db.ZAdd(ctx, "z", redis.Z{Score: 1.5, Member: "m"}).Err())
	if z := db.ZRangeWithScores(ctx, "z", 0, -1).Val(); len(z) != 1 || z[0].Score != 1.5 {
		t.Errorf("ZRANGE: %v", z)
	}
	if err := db.Get(ctx, "none").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET of a missing key: %v", err)
	}
	if n := db.Del(ctx, append(keys, "z")...).Val(); n != int64(len(keys)+1) {
		t.Errorf("DEL: %d", n)
	}
	check(db.Ping(ctx).Err())
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			key := fmt.Sprint("many", i)
			if err := db.Set(ctx, key, i, 0).Err(); err != nil || db.Get(ctx, key).Val() != fmt.Sprint(i) {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	clients.Wait()
}

// rueidis connects with nothing set but the address.
func TestRueidis(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // rueidis itself tries for ever.
		defer cancel()
		db, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{top.addr}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		keys := top.keysOnEveryNode("ru", 3)
		var batch rueidis.Commands
		for i, key := range keys {
			batch = append(batch, db.B().Set().Key(key).Value(fmt.Sprint(i)).Build(), db.B().Incr().Key(key).Build())
		}
		for i, r := range db.DoMulti(ctx, batch...) {
			if err := r.Error(); err != nil {
				t.Errorf("%v: %v", batch[i].Commands(), err)
			}
		}
		values, err := db.Do(ctx, db.B().Mget().Key(keys...).Key("none").Build()).ToArray()
		if err != nil || len(values) != len(keys)+1 || !values[len(keys)].IsNil() {
			t.Fatalf("MGET: %v, %v", values, err)
		}
		for i := range keys {
			if s, err := values[i].ToString(); err != nil || s != fmt.Sprint(i+1) {
				t.Errorf("MGET: %s is %q, %v", keys[i], s, err)
			}
		}
		if err := db.Do(ctx, db.B().Hset().Key("h").FieldValue().FieldValue("f", "v").Build()).Error(); err != nil {
			t.Error(err)
		}
		if m, err := db.Do(ctx, db.B().Hgetall().Key("h").Build()).AsStrMap(); err != nil || m["f"] != "v" {
			t.Errorf("HGETALL: %v, %v", m, err)
		}
		if n, err := db.Do(ctx, db.B().Del().Key(keys...).Build()).AsInt64(); err != nil || n != int64(len(keys)) {
			t.Errorf("DEL: %d, %v", n, err)
		}
		var clients sync.WaitGroup // rueidis puts them on one pipelined connection.
		for i := range 50 {
			clients.Go(func() {
				key := fmt.Sprint("many", i)
				db.Do(ctx, db.B().Set().Key(key).Value(key).Build())
				if got, err := db.Do(ctx, db.B().Get().Key(key).Build()).ToString(); err != nil || got != key {
					t.Errorf("%s: %q, %v", key, got, err)
				}
			})
		}
		clients.Wait()
		// Client-side caching is refused: an error, and the connection goes on.
		cached := db.DoCache(ctx, db.B().Get().Key("many1").Cache(), time.Minute)
		if err := cached.Error(); err == nil {
			t.Error("a cached read should be refused")
		}
		if err := db.Do(ctx, db.B().Ping().Build()).Error(); err != nil {
			t.Error(err)
		}
		top.checkOwners(t)
	})
}

// run runs a program of Redis and returns what it prints.
func run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func TestRedisCLI(t *testing.T) {
	top := codisTopology(t)
	_, port, _ := net.SplitHostPort(top.addr)
	f := func(want, stdin string, args ...string) {
		t.Helper()
		if got := run(t, stdin, append([]string{"redis-cli", "-p", port}, args...)...); got != want {
			t.Errorf("redis-cli %q: %q, want %q", args, got, want)
		}
	}
	f("OK\n", "", "set", "k", "a b")
	f("a b\n", "", "get", "k")
	f("\"a b\"\n", "", "--no-raw", "get", "k")
	f("(nil)\n", "", "--no-raw", "get", "none")
	f("1) \"a b\"\n2) (nil)\n", "", "--no-raw", "mget", "k", "none")
	f("2\n", "", "hset", "h", "f", "1", "g", "2")
	f("1) \"f\"\n2) \"1\"\n3) \"g\"\n4) \"2\"\n", "", "--no-raw", "hgetall", "h")
	f("1# \"f\" => \"1\"\n2# \"g\" => \"2\"\n", "", "-3", "--no-raw", "hgetall", "h")
	f("OK\n", "", "-n", "3", "set", "k", "three")
	f("three\n", "", "-n", "3", "get", "k")
	f("ERR wrong number of arguments for 'get' command\n\n", "", "get")
	f("OK\nx\n1\n", "SET typed x\nGET typed\nDEL typed\n")
	f("x\n", "x", "-x", "echo")
	f("a b\n", "", "-u", "redis://127.0.0.1:"+port+"/0", "get", "k")
	if got := run(t, "", "redis-cli", "-p", port, "info", "proxy"); !strings.Contains(got, "sluice_version:test") {
		t.Errorf("INFO: %s", got)
	}
	var mass strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&mass, "SET mass%d %d\n", i, i)
	}
	if got := run(t, mass.String(), "redis-cli", "-p", port, "--pipe"); !strings.Contains(got, "errors: 0, replies: 1000") {
		t.Errorf("--pipe: %s", got)
	}
	f("999\n", "", "get", "mass999")
}

func TestRedisCLIWithPassword(t *testing.T) {
	top := codisTopology(t, withUsers)
	_, port, _ := net.SplitHostPort(top.addr)
	cli := []string{"redis-cli", "-p", port, "--no-auth-warning"}
	if got := run(t, "", append(cli, "get", "k")...); !strings.HasPrefix(got, "NOAUTH") {
		t.Errorf("without a password: %q", got)
	}
	for _, login := range [][]string{{"-a", "secret"}, {"--user", "alice", "-a", "wonder"}, {"-3", "--user", "alice", "-a", "wonder"}, {"-3", "-a", "second"}} {
		if got := run(t, "", append(append(cli, login...), "set", "k", "v")...); got != "OK\n" {
			t.Errorf("%q: %q", login, got)
		}
	}
}

func TestRedisBenchmark(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		_, port, _ := net.SplitHostPort(top.addr)
		for _, args := range []string{"-n 2000 -P 16 -q", "-n 500 -q -3 -t set,get,incr,mset", "-n 2000 -c 50 -P 100 -r 1000 -d 1000 -q -t set,get,lpush,lpop,hset,zadd,mset"} {
			out := run(t, "", append([]string{"redis-benchmark", "-p", port}, strings.Fields(args)...)...)
			if !strings.Contains(out, "SET: ") || !strings.Contains(out, "requests per second") || strings.Contains(strings.ToUpper(out), "ERR") {
				t.Errorf("redis-benchmark %s:\n%s", args, out)
			}
		}
		if s := top.Stats(); s.Errors > 0 || s.Requests < 40000 {
			t.Errorf("%d errors in %d requests", s.Errors, s.Requests)
		}
		top.checkOwners(t)
	})
}

// Several listeners of all kinds lead to one pool, and pools are kept apart.
func TestListenersAndPools(t *testing.T) {
	first, second := testbed.Redis(t), testbed.Redis(t)
	socket := filepath.Join(t.TempDir(), "sluice.sock")
	p := startProxyTo(t, first, func(_ *Config, pool *PoolConfig) {
		pool.Listen = []Listen{
			{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "tcp", Address: "[::1]:0"}, {Network: "tcp", Address: "127.0.0.1:0"},
			{Network: "unix", Address: socket, Mode: 0o600},
		}
	})
	addrs := p.pool.Addrs()
	if len(addrs) != 4 {
		t.Fatalf("listening on %v", addrs)
	}
	for i, addr := range addrs {
		c := dial(t, addr.Network(), addr.String())
		c.want("+OK\r\n", "SET", fmt.Sprint("k", i), fmt.Sprint(i))
		for j := range i + 1 {
			c.want(fmt.Sprintf("$1\r\n%d\r\n", j), "GET", fmt.Sprint("k", j))
		}
		if own := clientLines(t, c.do("CLIENT", "INFO"))[0]; own["laddr"] != addr.String() {
			t.Errorf("laddr=%s on %s", own["laddr"], addr)
		}
	}
	if got := run(t, "", "redis-cli", "-s", socket, "get", "k0"); got != "0\n" {
		t.Errorf("redis-cli -s: %q", got)
	}

	s := New(Config{ID: "two", Version: "test", Loops: 2, Log: slog.New(slog.DiscardHandler), Settings: Settings{MaxClients: 100, Limits: testLimits, Drain: time.Second}})
	for i, server := range []*testbed.Server{first, second} {
		pool := s.AddPool(PoolConfig{
			Name: fmt.Sprint("pool", i), Model: codisModel, Listen: []Listen{{Network: "tcp", Address: "127.0.0.1:0"}},
			PoolSettings: PoolSettings{Databases: 16, Backend: testBackend},
		})
		table, err := router.NewBuilder(codisModel).Build(router.Spec{Groups: evenly(codisModel, server.Addr())})
		if err != nil {
			t.Fatal(err)
		}
		pool.SetTable(table)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	one, two := dial(t, "tcp", s.Pools()[0].Addrs()[0].String()), dial(t, "tcp", s.Pools()[1].Addrs()[0].String())
	one.want("$1\r\n0\r\n", "GET", "k0")
	two.want("$-1\r\n", "GET", "k0")
	two.want("+OK\r\n", "SET", "k0", "second")
	one.want("$1\r\n0\r\n", "GET", "k0")
	if got := second.Do("GET", "k0").String(); got != "second" {
		t.Errorf("the second server has %q", got)
	}
	if lines := clientLines(t, one.do("CLIENT", "LIST")); len(lines) != 1 || lines[0]["pool"] != "pool0" {
		t.Errorf("clients of the first pool: %v", lines)
	}
}
