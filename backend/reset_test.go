package backend

import (
	"errors"
	"io"
	"slices"
	"testing"

	"sluice/internal/clock"
)

// A connection on which something is owed is reset when it ends, any other is closed; the node remembers those whose server
// may still have something to read.
func TestEndOfAConnection(t *testing.T) {
	lost := errors.New("lost")
	f := func(name string, end func(c *Conn, r *recorder), linger, halfOpen int) {
		t.Helper()
		c, socket, _ := connOn(t, testOptions())
		end(c, new(recorder))
		if socket.linger != linger {
			t.Errorf("%s: linger %d, want %d", name, socket.linger, linger)
		}
		if n := c.Node.HalfOpen(clock.Now(), nil); n != halfOpen {
			t.Errorf("%s: %d half open, want %d", name, n, halfOpen)
		}
	}
	send := func(c *Conn, r *recorder) {
		mustSend(t, c, r, 1, "req")
		c.Flush()
	}
	f("idle", func(c *Conn, _ *recorder) { c.Close(lost) }, -1, 0)
	f("answered", func(c *Conn, r *recorder) { send(c, r); _ = c.Receive([]byte("+OK\r\n"), 2); c.Close(lost) }, -1, 0)
	f("owed", func(c *Conn, r *recorder) { send(c, r); c.Close(lost) }, 0, 1)
	f("not sent", func(c *Conn, r *recorder) { mustSend(t, c, r, 1, "req"); c.Close(lost) }, 0, 0)
	f("timed out", func(c *Conn, r *recorder) { send(c, r); c.Tick(1 << 40); c.Close(lost) }, 0, 1)
	f("panic", func(c *Conn, r *recorder) { send(c, r); c.Abandon(lost) }, 0, 1)
	f("ended by the server, or in between", func(c *Conn, r *recorder) { send(c, r); c.Close(io.EOF) }, 0, 1)
}

// Who waits for connections that were given up waits for those of before, and for those that are told to matter.
func TestHalfOpenOfWhoWaits(t *testing.T) {
	c, _, _ := connOn(t, testOptions())
	var r recorder
	mustSend(t, c, &r, 1, "SET a 1")
	c.Flush()
	before := clock.Now()
	c.part(io.EOF)
	if c.Node.HalfOpen(clock.Now(), nil) != 1 || c.Node.HalfOpen(before-1, nil) != 0 || c.Node.HalfOpen(before-1, map[*Conn]bool{c: true}) != 1 {
		t.Error("not as it should be")
	}
	if got := listOf([]halfOpen{{id: 3}, {id: 5}}); !slices.Equal(got, []string{"CLIENT", "LIST", "ID", "3", "5"}) {
		t.Errorf("%q", got)
	}
	if got := listOf([]halfOpen{{id: 3}, {}}); !slices.Equal(got, []string{"CLIENT", "LIST"}) {
		t.Errorf("%q", got)
	}
}

// The lines of CLIENT LIST that are those of a connection that was given up.
func TestKillOf(t *testing.T) {
	gone := []halfOpen{{id: 7, name: "sluice#4", local: "10.0.0.1:50000"}, {name: "sluice#5", local: "10.0.0.1:50001"}}
	f := func(line string, want ...string) {
		t.Helper()
		if got := killOf(line, gone); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	f("id=7 addr=192.168.0.1:1 fd=8 name=sluice#4 age=100 idle=1\n", "CLIENT", "KILL", "ID", "7") // Addresses are translated.
	f("id=7 addr=10.0.0.1:50000 fd=8 name=sluice#4 age=100\n", "CLIENT", "KILL", "ID", "7")
	f("id=7 addr=10.0.0.1:50000 fd=8 name= age=3\n", "CLIENT", "KILL", "ID", "7") // It refused to be named.
	f("id=7 addr=192.168.0.1:1 fd=8 name= age=3\n")
	f("id=7 addr=192.168.0.1:1 fd=8 name=application\n") // The server was restarted and gave the number out again.
	f("id=7 addr=192.168.0.1:1 fd=8 name=sluice#6\n")    // To us, too.
	f("id=7 addr=10.0.0.1:50000 fd=8 name=sluice#6\n")
	f("id=8 addr=10.0.0.1:50000 fd=8 name=sluice#4\n")
	f("id=9 addr=192.168.0.1:2 fd=8 name=sluice#5\n", "CLIENT", "KILL", "192.168.0.1:2")
	f("addr=10.0.0.1:50001 fd=73 idle=0\n", "CLIENT", "KILL", "10.0.0.1:50001") // Pika
	f("addr=10.0.0.1:50002 fd=73 idle=0\n")
	f("\n")
}
