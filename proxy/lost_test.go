package proxy

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/proxy/resp"
)

// brokenConn is a connection whose peer has gone: gnet closes it before a write that fails returns.
type brokenConn struct {
	handConn
	client *client
	broken bool
	writes int // that have failed
}

func (b *brokenConn) Write(p []byte) (int, error) {
	if !b.broken {
		return b.handConn.Write(p)
	}
	b.writes++
	b.client.onClose(unix.EPIPE)
	return 0, unix.EPIPE
}

// A write that fails gives its client up. What is at work on the client finds all that it has until the turn ends, nothing
// more is written or parsed, and then the client is closed and all of it counted off.
func TestFailingWriteClosesAtTheEndOfTheTurn(t *testing.T) {
	big := resp.AppendBulk(nil, string(bytes.Repeat([]byte("x"), bigReply)))
	small := []byte("$1\r\nv\r\n")
	for _, x := range []struct {
		name    string
		replies [][]byte // one for each of three GETs, in one turn
	}{
		{"the first reply", [][]byte{big, small, small}},
		{"all of them", [][]byte{big, big, big}},
		{"at the end of the turn", [][]byte{small, small, small}},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := newDataPath(t)
			l, c := d.loop, d.client
			conn := &brokenConn{client: c}
			c.conn = conn
			d.request([]byte("GET x\r\nGET y\r\nGET z\r\n"))
			conn.broken = true
			l.begin()
			for i, reply := range x.replies {
				if err := l.backendTraffic(d.server, reply); err != nil {
					t.Fatal(err)
				}
				if c.closed || c.pipe.len() != len(x.replies)-i-1 {
					t.Fatalf("after reply %d: closed %v, %d requests in flight", i, c.closed, c.pipe.len())
				}
			}
			if c.lost {
				c.traffic([]byte("GET a\r\n")) // Nobody would hear the answer.
			}
			if c.pipe.len() != 0 {
				t.Error("a request of a client that was given up was begun")
			}
			l.flush()
			got := fmt.Sprint(c.closed, conn.writes, len(l.clients), len(l.lost), l.stats.ClientsClosed, l.stats.InFlight, l.stats.HeldReplies)
			if want := fmt.Sprint(true, 1, 0, 0, 1, 0, 0); got != want {
				t.Errorf("closed, failed writes, clients, lost, closed clients, in flight, held: %s, want %s", got, want)
			}
		})
	}
}

// The end of a connection may be heard of between the moment that its client is given up and the end of the turn.
func TestGivenUpClientEndsWithinTheTurn(t *testing.T) {
	d := newDataPath(t)
	l, c := d.loop, d.client
	d.request([]byte("GET x\r\n"))
	l.begin()
	c.close()
	c.onClose(io.EOF)
	l.flush()
	if !c.closed || len(l.lost) != 0 || l.stats.ClientsClosed != 1 || l.stats.Panics != 0 {
		t.Errorf("closed %t, %d lost, %d clients closed, %d panics", c.closed, len(l.lost), l.stats.ClientsClosed, l.stats.Panics)
	}
}
