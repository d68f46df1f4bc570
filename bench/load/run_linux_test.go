package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// store is a server for tests: a map behind enough of the protocol. Safe for
// concurrent use.
type store struct {
	listener net.Listener
	conns    sync.WaitGroup
	// reply may answer in place of the map; nil goes on to the map. n counts the
	// requests of the connection from 1.
	reply func(n int, args []string) []byte

	mu   sync.Mutex
	data map[string]string
}

func newStore(t *testing.T, network, addr string, reply func(int, []string) []byte) *store {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &store{listener: l, reply: reply, data: make(map[string]string)}
	s.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.conns.Wait()
	})
	return s
}

var errHangUp = []byte("hang up")

func (s *store) serve(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	for n := 1; ; n++ {
		args, err := readArgs(in)
		if err != nil {
			return
		}
		var answer []byte
		if s.reply != nil {
			answer = s.reply(n, args)
		}
		if bytes.Equal(answer, errHangUp) {
			return
		}
		if answer == nil {
			answer = s.answer(args)
		}
		out.Write(answer)
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}

func readArgs(in *bufio.Reader) ([]string, error) {
	length := func() (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	count, err := length()
	if err != nil {
		return nil, err
	}
	args := make([]string, count)
	for i := range args {
		size, err := length()
		if err != nil {
			return nil, err
		}
		body := make([]byte, size+2)
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, err
		}
		args[i] = string(body[:size])
	}
	return args, nil
}

func (s *store) answer(args []string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	get := func(dst []byte, key string) []byte {
		if v, ok := s.data[key]; ok {
			return appendBulk(dst, []byte(v))
		}
		return append(dst, "$-1\r\n"...)
	}
	switch args[0] {
	case "GET":
		return get(nil, args[1])
	case "MGET":
		out := arrayHeader(len(args) - 1)
		for _, key := range args[1:] {
			out = get(out, key)
		}
		return out
	case "SET":
		s.data[args[1]] = args[2]
		return []byte("+OK\r\n")
	case "PING":
		return []byte("+PONG\r\n")
	}
	return []byte("-ERR unknown command\r\n")
}

// verifiedLoad is a small run that checks every reply.
func verifiedLoad(addr string) Config {
	cfg := Default()
	cfg.Target = addr
	cfg.Conns, cfg.Depth = 5, 8
	cfg.Keys, cfg.ValueBytes, cfg.MGetKeys = 200, 300, 4
	cfg.Mix = Mix{Get: 4, Set: 3, MGet: 2, Ping: 1}
	cfg.Verify = true
	cfg.Requests = 5000
	cfg.Limit, cfg.DrainLimit = 30*time.Second, 10*time.Second
	return cfg
}

func run(t *testing.T, cfg Config) *Result {
	t.Helper()
	res, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestRunCountsEveryRequest(t *testing.T) {
	tcp := newStore(t, "tcp", "127.0.0.1:0", nil).listener.Addr().String()
	unix := "unix:" + newStore(t, "unix", filepath.Join(t.TempDir(), "s"), nil).listener.Addr().String()
	f := func(target string, change func(*Config)) {
		t.Helper()
		cfg := verifiedLoad(target)
		change(&cfg)
		res := run(t, cfg)
		if res.Requests != cfg.Requests || uint64(res.Latency.TotalCount()) != cfg.Requests || res.Failures() != 0 {
			var b strings.Builder
			_, _ = res.WriteTo(&b)
			t.Errorf("want %d requests without a failure, got:\n%s", cfg.Requests, b.String())
		}
	}
	f(tcp, func(*Config) {})
	f(unix, func(*Config) {})
	f(tcp, func(c *Config) { c.Threads = 3; c.Requests = 5003 })
	f(tcp, func(c *Config) { c.Rate = 50_000 })
	f(tcp, func(c *Config) { c.Rate = 50_000; c.Threads = 2; c.Requests = 2001 })
	f(tcp, func(c *Config) { c.ValueBytes = 200_000; c.Requests = 400 })
	f(tcp, func(c *Config) { c.Dist = DistZipf })
}

func TestPreloadWritesEveryKey(t *testing.T) {
	s := newStore(t, "tcp", "127.0.0.1:0", nil)
	cfg := verifiedLoad(s.listener.Addr().String())
	cfg.Dist, cfg.Mix, cfg.Requests = DistSequential, Mix{Set: 1}, cfg.Keys
	run(t, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := uint64(len(s.data)); got != cfg.Keys {
		t.Errorf("%d keys written, want %d", got, cfg.Keys)
	}
}

func TestRunNoticesWrongReplies(t *testing.T) {
	f := func(reply func(n int, args []string) []byte) {
		t.Helper()
		s := newStore(t, "tcp", "127.0.0.1:0", reply)
		cfg := verifiedLoad(s.listener.Addr().String())
		cfg.Dist, cfg.Mix, cfg.Requests = DistSequential, Mix{Set: 1}, cfg.Keys
		run(t, cfg)
		cfg.Dist, cfg.Mix, cfg.Requests = DistUniform, Mix{Get: 1}, 1000
		res := run(t, cfg)
		if res.Wrong == 0 || res.Requests != cfg.Requests {
			t.Errorf("%d wrong replies of %d", res.Wrong, res.Requests)
		}
	}
	// The value of a neighbour, as when two replies change places.
	s := newStore(t, "tcp", "127.0.0.1:0", nil)
	f(func(n int, args []string) []byte {
		if args[0] == "SET" {
			return s.answer(args)
		}
		if n%10 != 0 {
			return s.answer(args)
		}
		other := "key:000000000000"
		if args[1] == other {
			other = "key:000000000001"
		}
		return s.answer([]string{"GET", other})
	})
	// A reply of the wrong kind.
	f(func(n int, args []string) []byte {
		if args[0] == "GET" && n%7 == 0 {
			return []byte("+OK\r\n")
		}
		return nil
	})
}

func TestRunCountsErrorsByText(t *testing.T) {
	s := newStore(t, "tcp", "127.0.0.1:0", func(n int, _ []string) []byte {
		if n%10 == 0 {
			return []byte("-TRYAGAIN later\r\n")
		}
		return nil
	})
	cfg := verifiedLoad(s.listener.Addr().String())
	cfg.Conns = 1
	cfg.Requests = 4000
	res := run(t, cfg)
	if res.ErrorReplies != 400 || res.Errors["TRYAGAIN later"] != 400 || res.Wrong != 0 {
		t.Errorf("%d error replies, %v", res.ErrorReplies, res.Errors)
	}
}

func TestRunCountsLostConnections(t *testing.T) {
	f := func(last []byte, want string) {
		t.Helper()
		s := newStore(t, "tcp", "127.0.0.1:0", func(n int, _ []string) []byte {
			if n == 21 {
				return last
			}
			return nil
		})
		cfg := verifiedLoad(s.listener.Addr().String())
		res := run(t, cfg)
		if res.Lost != uint64(cfg.Conns) || res.Unanswered == 0 {
			t.Errorf("%d lost connections, %d unanswered", res.Lost, res.Unanswered)
		}
		for _, text := range res.ErrorTexts() {
			if strings.Contains(text, want) {
				return
			}
		}
		t.Errorf("no text with %q in %v", want, res.Errors)
	}
	f(errHangUp, "connection lost: ")
	f([]byte("?garbage\r\n"), "malformed reply")
}

func TestRunRefusesRepliesWithoutARequest(t *testing.T) {
	s := newStore(t, "tcp", "127.0.0.1:0", func(n int, _ []string) []byte {
		if n == 1 {
			return []byte(strings.Repeat("+PONG\r\n", 9)) // one more than the pipeline is deep
		}
		return nil
	})
	cfg := verifiedLoad(s.listener.Addr().String())
	cfg.Conns, cfg.Mix = 1, Mix{Ping: 1}
	if res := run(t, cfg); res.Lost != 1 {
		t.Errorf("lost %d connections, want 1: %v", res.Lost, res.Errors)
	}
}

// A server that answers nothing until it has the first eight requests makes the
// first one wait for the time at which the eighth was due. A generator with
// coordinated omission would not even send the second.
func TestOpenLoopCountsFromTheIntendedTime(t *testing.T) {
	const depth, period = 8, 2 * time.Millisecond
	var held []byte
	s := newStore(t, "tcp", "127.0.0.1:0", func(n int, _ []string) []byte {
		if n < depth {
			held = append(held, "+PONG\r\n"...)
			return []byte{}
		}
		out := append(held, "+PONG\r\n"...)
		held = nil
		return out
	})
	cfg := Default()
	cfg.Target = s.listener.Addr().String()
	cfg.Conns, cfg.Depth = 1, depth
	cfg.Mix, cfg.Rate, cfg.Requests = Mix{Ping: 1}, float64(time.Second/period), depth
	res := run(t, cfg)
	if got := time.Duration(res.Latency.Max()); got < (depth-1)*period*99/100 {
		t.Errorf("largest latency %s, want at least %s", got, (depth-1)*period)
	}
	if got := time.Duration(res.Latency.Min()); got >= time.Duration(res.Latency.Max())-(depth-2)*period {
		t.Errorf("smallest latency %s, largest %s: not spread over the timetable", got, time.Duration(res.Latency.Max()))
	}
	if res.Requests != depth || res.Late.TotalCount() != depth {
		t.Errorf("%d replies, %d entries of lateness, want %d", res.Requests, res.Late.TotalCount(), depth)
	}
}

// silent swallows requests.
func silent(int, []string) []byte { return []byte{} }

func TestRunEndsAtItsLimit(t *testing.T) {
	addr := newStore(t, "tcp", "127.0.0.1:0", silent).listener.Addr().String()
	f := func(rate float64, unanswered uint64) {
		t.Helper()
		cfg := Default()
		cfg.Target = addr
		cfg.Conns, cfg.Depth, cfg.Rate = 2, 3, rate
		cfg.Requests = 50
		cfg.Limit = 300 * time.Millisecond
		res := run(t, cfg)
		if res.Requests != 0 || res.Unanswered != unanswered {
			t.Errorf("%d requests, %d unanswered, want 0 and %d", res.Requests, res.Unanswered, unanswered)
		}
	}
	f(0, 6)
	f(10_000, 50)
}

func TestRunEndsWithItsContext(t *testing.T) {
	addr := newStore(t, "tcp", "127.0.0.1:0", nil).listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Default()
	cfg.Target = addr
	cfg.Warmup, cfg.Duration = 0, time.Minute
	cfg.OnBegin = cancel
	if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestRunMeasuresBetweenItsHooks(t *testing.T) {
	addr := newStore(t, "tcp", "127.0.0.1:0", nil).listener.Addr().String()
	cfg := Default()
	cfg.Target = addr
	cfg.Conns, cfg.Depth = 4, 4
	cfg.Warmup, cfg.Duration = 10*time.Millisecond, 50*time.Millisecond
	var begin, end time.Time
	cfg.OnBegin = func() { begin = time.Now() }
	cfg.OnEnd = func() { end = time.Now() }
	res := run(t, cfg)
	if begin.IsZero() || end.Sub(begin) < cfg.Duration || res.Elapsed < cfg.Duration || res.Requests == 0 {
		t.Errorf("window of %s by the hooks, %s by the result, %d requests", end.Sub(begin), res.Elapsed, res.Requests)
	}
}
