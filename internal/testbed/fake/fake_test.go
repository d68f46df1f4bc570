package fake

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/testbed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers the words of a request on one line.
func echo(_ context.Context, c *Client, args []string) error {
	c.Write(Simple(strings.Join(args, " ")))
	return nil
}

func start(t *testing.T) *Host {
	t.Helper()
	h := NewHost(2, echo)
	if err := h.Begin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Kill)
	return h
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, bufio.NewReader(conn)
}

func ask(t *testing.T, addr, line string) string {
	t.Helper()
	conn, rd := dial(t, addr)
	if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	reply, err := rd.ReadString('\n')
	if err != nil {
		return "EOF"
	}
	return strings.TrimSpace(reply)
}

func TestHostComesBackOnItsPorts(t *testing.T) {
	h := start(t)
	first, second := h.Addr(0), h.Addr(1)
	if h.Port(1) != h.Port(0)+doorGap {
		t.Errorf("ports %d and %d", h.Port(0), h.Port(1))
	}
	for range 2 {
		for _, addr := range []string{first, second} {
			if got := ask(t, addr, "a b"); got != "+a b" {
				t.Errorf("%q", got)
			}
		}
		h.Kill()
		if conn, err := net.Dial("tcp", first); err == nil {
			_ = conn.Close()
			t.Error("a dead server takes connections")
		}
		if h.Go(func(context.Context) {}) {
			t.Error("a dead server works in the background")
		}
		if err := h.Begin(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaults(t *testing.T) {
	h := start(t)
	h.Faults.Answer("get", "-NO\r\n", 1)
	if a, b := ask(t, h.Addr(0), "GET a"), ask(t, h.Addr(0), "GET a"); a != "-NO" || b != "+GET a" {
		t.Errorf("%q, %q", a, b)
	}
	hold := h.Faults.Hold(Command, "SET")
	conn, rd := dial(t, h.Addr(0))
	if _, err := io.WriteString(conn, "GET a\r\nSET a\r\n"); err != nil {
		t.Fatal(err)
	}
	<-hold.Arrived()
	if reply, err := rd.ReadString('\n'); err != nil || reply != "+GET a\r\n" {
		t.Errorf("what was answered before the hold: %q %v", reply, err)
	}
	if n := h.Calls("set").Running; n != 1 {
		t.Errorf("%d run", n)
	}
	hold.Release()
	if reply, err := rd.ReadString('\n'); err != nil || reply != "+SET a\r\n" {
		t.Errorf("%q %v", reply, err)
	}

	h.Faults.Freeze()
	conn, rd = dial(t, h.Addr(1))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, func() error {
		if h.Calls("PING").Running != 1 {
			return errors.New("not arrived")
		}
		return nil
	}, 10*time.Second)
	if rd.Buffered() > 0 {
		t.Error("a frozen server answers")
	}
	h.Faults.Thaw()
	if reply, err := rd.ReadString('\n'); err != nil || reply != "+PING\r\n" {
		t.Errorf("%q %v", reply, err)
	}

	if err := h.Faults.RefuseConnections(true); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", h.Addr(0)); err == nil {
		_ = c.Close()
		t.Error("not refused")
	}
	if err := h.Faults.RefuseConnections(false); err != nil {
		t.Fatal(err)
	}
	next := h.Faults.HoldNext(Reply, "set")
	conn, rd = dial(t, h.Addr(0))
	if _, err := io.WriteString(conn, "SET a\r\n"); err != nil {
		t.Fatal(err)
	}
	<-next.Arrived()
	if got := ask(t, h.Addr(0), "SET b"); got != "+SET b" {
		t.Errorf("%q", got)
	}
	next.Release()
	if reply, err := rd.ReadString('\n'); err != nil || reply != "+SET a\r\n" {
		t.Errorf("%q %v", reply, err)
	}
	h.Faults.Stall(Command, time.Microsecond)()
	h.Faults.Answer("GET", "-NO\r\n", -1)
	h.Faults.Answer("get", "", 0)
	if n := h.Faults.active.Load(); n != 0 {
		t.Errorf("%d faults left", n)
	}
	h.Faults.Die(Reply, "DEL")
	if got := ask(t, h.Addr(0), "DEL a"); got != "EOF" {
		t.Errorf("%q", got)
	}
}

func TestEndOfARequest(t *testing.T) {
	for _, hangUp := range []bool{true, false} {
		h := NewHost(1, echo)
		h.HangUpAtEmpty = hangUp
		after := make(chan int, 1)
		h.After = func(*Client) { after <- h.Calls("GET").Running }
		if err := h.Begin(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Kill)
		hold := h.Faults.Hold(Reply)
		conn, rd := dial(t, h.Addr(0))
		if _, err := io.WriteString(conn, "GET a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-hold.Arrived()
		if len(after) > 0 {
			t.Error("it is over before its Reply step")
		}
		hold.Release()
		if n := <-after; n != 1 {
			t.Errorf("%d run", n)
		}
		if reply, err := rd.ReadString('\n'); err != nil || reply != "+GET a\r\n" {
			t.Errorf("%q %v", reply, err)
		}
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil && !hangUp {
			t.Error(err)
		}
		if reply, err := rd.ReadString('\n'); (err != nil) != hangUp {
			t.Errorf("an empty line hangs up: %t, %q %v", hangUp, reply, err)
		}
	}
}
