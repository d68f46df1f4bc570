package fakedragonfly

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
)

// The slots that move in these tests, and the rest of their owner's.
var (
	moving = []Range{{7000, 7999}}
	left   = []Range{{0, 8191}}
	right  = []Range{{8192, 16383}}
	stays  = []Range{{0, 6999}, {8000, 8191}}
	grown  = []Range{{7000, 7999}, {8192, 16383}}
)

// pair is two masters, a owns the lower half.
type pair struct{ a, b *Server }

func startPair(t *testing.T, opts Options) pair {
	t.Helper()
	optsB := opts
	opts.ID, optsB.ID = "n1", "n2"
	p := pair{Start(t, opts), Start(t, optsB)}
	p.push(t, p.two())
	return p
}

// two is the configuration at rest, move that with the migration, moved the closing one.
func (p pair) two() string {
	return JSON(Shard{Slots: left, Master: p.a.Node()}, Shard{Slots: right, Master: p.b.Node()})
}

func (p pair) move() string {
	return JSON(Shard{Slots: left, Master: p.a.Node(), Migrations: []Move{p.b.MoveTo(moving...)}}, Shard{Slots: right, Master: p.b.Node()})
}

func (p pair) moved() string {
	return JSON(Shard{Slots: stays, Master: p.a.Node()}, Shard{Slots: grown, Master: p.b.Node()})
}

// push gives both the configuration, the target first.
func (p pair) push(t *testing.T, config string) {
	t.Helper()
	for _, s := range []*Server{p.b, p.a} {
		connect(t, s.AdminAddr()).expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", config)
	}
}

// movingKeys returns n keys in the moving slots.
func movingKeys(n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprintf("k%d{t%d}", len(keys), i); contains(moving, fake.SlotOf(key)) {
			keys = append(keys, key)
		}
	}
	return keys
}

func fill(s *Server, keys []string) {
	for i, key := range keys {
		s.Do("SET", key, "v"+strconv.Itoa(i))
	}
}

// client reads replies as they are.
type client struct {
	conn net.Conn
	rd   *bufio.Reader
}

func connect(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn: conn, rd: bufio.NewReader(conn)}
}

func (c *client) send(args ...string) error {
	_, err := c.conn.Write([]byte(fake.Bulks(args...)))
	return err
}

func (c *client) reply() (string, error) {
	line, err := c.rd.ReadString('\n')
	if err != nil {
		return "", io.EOF
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(c.rd, body); err != nil {
			return "", io.EOF
		}
		return line + string(body), nil
	case '*', '%':
		if line[0] == '%' {
			n *= 2
		}
		for range n {
			part, err := c.reply()
			if err != nil {
				return "", err
			}
			line += part
		}
	}
	return line, nil
}

// ask sends a request and returns its raw reply.
func (c *client) ask(t *testing.T, args ...string) string {
	t.Helper()
	if err := errors.Join(c.conn.SetDeadline(time.Now().Add(20*time.Second)), c.send(args...)); err != nil {
		t.Fatal(err)
	}
	reply, err := c.reply()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

func (c *client) expect(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := c.ask(t, args...); got != want {
		t.Errorf("%s: %q, want %q", strings.Join(args, " "), got, want)
	}
}

// becomes asks until the reply has all the parts.
func becomes(t *testing.T, s *Server, args []string, parts ...string) {
	t.Helper()
	c := connect(t, s.AdminAddr())
	testbed.Eventually(t, func() error {
		reply := c.ask(t, args...)
		for _, part := range parts {
			if !strings.Contains(reply, part) {
				return fmt.Errorf("%q has no %q", reply, part)
			}
		}
		return nil
	}, 20*time.Second)
}

var statusCommand = []string{"DFLYCLUSTER", "SLOT-MIGRATION-STATUS"}

func arrived(t *testing.T, h *fake.Hold) {
	t.Helper()
	select {
	case <-h.Arrived():
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came to the hold")
	}
}

// later sends a request; the channel gets its reply.
func later(t *testing.T, addr string, args ...string) <-chan string {
	t.Helper()
	c := connect(t, addr)
	if err := c.send(args...); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		reply, err := c.reply()
		if err != nil {
			reply = "EOF"
		}
		got <- reply
	}()
	return got
}

// waits checks that a request is waiting and has no reply.
func waits(t *testing.T, s *Server, command string, replies ...<-chan string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if n := s.Calls(command).Running; n < len(replies) {
			return fmt.Errorf("%d of %s wait", n, command)
		}
		return nil
	}, 20*time.Second)
	for _, r := range replies {
		select {
		case got := <-r:
			t.Errorf("%s was answered %q", command, got)
		default:
		}
	}
}

func got(t *testing.T, want string, replies ...<-chan string) {
	t.Helper()
	for _, r := range replies {
		select {
		case reply := <-r:
			if reply != want {
				t.Errorf("%q, want %q", reply, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no reply")
		}
	}
}
