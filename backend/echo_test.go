package backend

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/internal/control"
)

// tickAfter lets time pass on a Conn.
func tickAfter(c *Conn, now *int64, d time.Duration) bool {
	*now += int64(d)
	return c.Tick(*now)
}

// A connection that is used is checked once a second with an ECHO, one that is not used not at all; the right answer
// changes nothing and costs its clients nothing.
func TestEchoChecksTheOrder(t *testing.T) {
	c, _, wire := connOn(t, testOptions())
	c.echo.on = true
	now := int64(1)
	var r recorder
	tickAfter(c, &now, 2*time.Second)
	mustSend(t, c, &r, now, "req")
	c.Flush()
	c.echo.askedAt = now
	if tickAfter(c, &now, time.Millisecond); c.Unsent() != 0 || wire.String() != "req" {
		t.Errorf("sent %q", wire)
	}
	if err := c.Receive([]byte("+1\r\n"), now); err != nil {
		t.Fatal(err)
	}
	for range 3 { // Nothing is sent meanwhile.
		tickAfter(c, &now, 600*time.Millisecond)
		c.Flush()
	}
	first := appendEcho([]byte("req"), c.echo.base)
	if wire.String() != string(first) || c.InFlight() != 0 || !c.Waiting() {
		t.Fatalf("sent %q, %d in flight", wire, c.InFlight())
	}
	for _, b := range appendEchoed(nil, c.echo.base) {
		if err := c.Receive([]byte{b}, now); err != nil {
			t.Fatal(err)
		}
	}
	if c.Waiting() || c.Queued() != 0 {
		t.Errorf("%d requests, %d bytes are left", c.InFlight(), c.Queued())
	}
	r.want(t, `0: "+1\r\n" of "req"`)
	tickAfter(c, &now, time.Second)
	if c.Unsent() != 0 {
		t.Error("the check is checked")
	}
}

// A stream that is shifted ends the connection, in whatever way: a reply too many, too few, or somebody else's number.
func TestEchoFindsAShiftedStream(t *testing.T) {
	number := func(n uint64) string { return string(appendEchoed(nil, n)) }
	f := func(name string, replies func(base uint64) string, found bool) {
		t.Helper()
		c, _, _ := connOn(t, testOptions())
		c.echo.on = true
		now := int64(1)
		var r recorder
		mustSend(t, c, &r, now, "req0", "req1")
		c.Flush()
		c.echo.wanted = true
		tickAfter(c, &now, time.Millisecond)
		mustSend(t, c, &r, now, "req2")
		c.Flush()
		err := c.Receive([]byte(replies(c.echo.base)), now)
		if errors.Is(err, errShifted) != found {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("right", func(n uint64) string { return "+0\r\n+1\r\n" + number(n) + "+2\r\n" }, false)
	f("one too many", func(n uint64) string { return "+0\r\n+0\r\n+1\r\n" + number(n) + "+2\r\n" }, true)
	f("one too few", func(n uint64) string { return "+1\r\n" + number(n) + "+2\r\n" }, true)
	f("another number", func(n uint64) string { return "+0\r\n+1\r\n" + number(n+1) + "+2\r\n" }, true)
	f("a long reply", func(uint64) string {
		return "+0\r\n+1\r\n*20\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n"
	}, true)
	f("an error", func(uint64) string { return "+0\r\n+1\r\n-LOADING\r\n+2\r\n" }, false)
}

// After a timeout the order is checked at once; dedicated connections and those that subscribe are left alone.
func TestEchoAfterATimeout(t *testing.T) {
	f := func(change func(c *Conn), want bool) {
		t.Helper()
		c, _, _ := connOn(t, testOptions())
		c.echo.on = true
		change(c)
		now := int64(1)
		var r recorder
		mustSend(t, c, &r, now, "req")
		c.Flush()
		c.echo.askedAt = now + int64(time.Hour) // Not because it is time.
		tickAfter(c, &now, testOptions().RequestTimeout+1)
		if got := c.Unsent() > 0; got != want {
			t.Errorf("an ECHO is sent: %v", got)
		}
	}
	f(func(*Conn) {}, true)
	f(func(c *Conn) { c.echo.on = false }, false)
	f(func(c *Conn) { c.Kind, c.Until = Dedicated, 2 }, false)
}

// What the greeting learns of the other end; a server whose answers are shifted is not used.
func TestGreetingLearnsThePeer(t *testing.T) {
	f := func(id, echo string, want peer, wantErr string) {
		t.Helper()
		ours, theirs := net.Pipe()
		n := NewNode(0, "test:1", &Options{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer theirs.Close()
			buf := make([]byte, 4096)
			size, _ := theirs.Read(buf) // INFO server, CLIENT ID and ECHO.
			if echo == "" {
				_, echo, _ = strings.Cut(string(buf[:size]), "ECHO\r\n")
			}
			_, _ = io.WriteString(theirs, "$13\r\nrun_id:12ab\r\n\r\n"+id+echo)
		}()
		var got peer
		c := control.New(ours, "test:1", greetingLimits)
		info, err := greet(t.Context(), c, n.Options(), "", purpose{proto: 2, data: true}, &got)
		if err == nil && info.Text != "run_id:12ab\r\n" {
			t.Errorf("INFO server: %q", info.Text)
		}
		if _, left := c.Release(); err == nil {
			err = left
		}
		_ = ours.Close()
		<-done
		n.Retire()
		if text := fmt.Sprint(err); text != wantErr {
			t.Errorf("%q, %q: %v", id, echo, err)
		}
		if got.id != want.id || got.echoes != want.echoes {
			t.Errorf("%q, %q: %+v, want %+v", id, echo, got, want)
		}
	}
	f(":7\r\n", "", peer{id: 7, echoes: true}, "<nil>")
	f("-ERR Syntax error, try CLIENT (LIST | KILL ip:port)\r\n", "", peer{echoes: true}, "<nil>") // Pika
	f(":7\r\n", "-NOPERM no\r\n", peer{id: 7}, "<nil>")
	const shifted = "test:1: greeting refused: ECHO: replies do not belong to their requests"
	f(":7\r\n", "+OK\r\n", peer{id: 7}, shifted)
	f(":7\r\n:8\r\n", "", peer{id: 7}, shifted)
	f(":7\r\n", "-ERR unknown command\r\n+OK\r\n", peer{id: 7}, "test:1: 5 bytes came that nobody has asked for")
}
