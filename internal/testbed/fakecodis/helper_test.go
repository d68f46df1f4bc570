package fakecodis

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

const host = "127.0.0.1"

func port(s *Server) string { return strconv.Itoa(s.Port()) }

// connect opens a connection that closes with the test.
func connect(t *testing.T, s *Server) *rawConn {
	t.Helper()
	c := dialRaw(t, s.Addr())
	t.Cleanup(func() { _ = c.conn.Close() })
	return c
}

// mustAsk sends a request and returns its raw reply.
func (c *rawConn) mustAsk(t *testing.T, args ...string) string {
	t.Helper()
	reply, err := c.ask(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// expect sends a request and compares its raw reply.
func (c *rawConn) expect(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := c.mustAsk(t, args...); got != want {
		t.Fatalf("%s: got %q, want %q", strings.Join(args, " "), got, want)
	}
}

// later sends a request now; the returned function gives its reply, "EOF" if the connection ended instead.
func later(t *testing.T, s *Server, args ...string) (reply func() string) {
	t.Helper()
	c := connect(t, s)
	if err := c.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := c.send(args...); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		reply, err := c.reply()
		if err != nil {
			return "EOF"
		}
		return reply
	}
}

// has waits until a key of a server is a string of this value; "" stands for no key.
func has(t *testing.T, do func(args ...string) fmt.Stringer, key, want string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if got := do("GET", key).String(); got != want {
			return fmt.Errorf("%s is %q, want %q", key, got, want)
		}
		return nil
	}, 10*time.Second)
}

func of(s *Server) func(args ...string) fmt.Stringer {
	return func(args ...string) fmt.Stringer { return s.Do(args...) }
}

// arrived waits until something stands at a hold.
func arrived(t *testing.T, h *Hold) {
	t.Helper()
	select {
	case <-h.Arrived():
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came to the hold")
	}
}

// running waits until n of a command have arrived and are not answered.
func running(t *testing.T, s *Server, command string, n int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if got := s.Calls(command).Running; got != n {
			return fmt.Errorf("%d of %s run, want %d", got, command, n)
		}
		return nil
	}, 10*time.Second)
}

func refused(t *testing.T, s *Server) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err == nil {
		_ = conn.Close()
		t.Fatalf("%s accepts connections", s.Addr())
	}
}

// batchOf is the request for a round of Pika or a batch of codis-server.
func batchOf(s, target *Server, key string, numkeys int) []string {
	return []string{
		"SLOTSMGRTTAGSLOT-ASYNC", host, port(target), "5000", "200", "1000000",
		strconv.Itoa(s.SlotOf(key)), strconv.Itoa(numkeys),
	}
}

func tagOne(target *Server, timeoutMS int, key string) []string {
	return []string{"SLOTSMGRTTAGONE", host, port(target), strconv.Itoa(timeoutMS), key}
}

func wrapped(key string, command ...string) []string {
	return append([]string{"SLOTSMGRT-EXEC-WRAPPER", key}, command...)
}
