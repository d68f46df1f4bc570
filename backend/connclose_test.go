package backend

import (
	"errors"
	"testing"
	"time"

	"sluice/internal/bufpool"
)

// closer closes the Conn when it is told that its request failed, as the owner of a dedicated connection does.
type closer struct {
	recorder
	c *Conn
}

func (o *closer) Fail(tag uint32, f Failure) {
	o.c.Close(errors.New("closed by its owner"))
	o.recorder.Fail(tag, f)
}

// An owner may close the Conn from inside Fail, whatever it was that failed its request: everybody is told once.
func TestOwnerClosesTheConnInFail(t *testing.T) {
	lost := errors.New("lost")
	f := func(what string, fail func(c *Conn), dialing bool) {
		t.Helper()
		opts := testOptions()
		n := NewNode(0, "192.0.2.1:6379", &opts)
		defer n.Retire()
		c := newConn(n, 2, 0, bufpool.New(1<<20), newTestLoop(t))
		c.state, c.underway = stateDialing, &Dial{conn: c}
		if !dialing {
			open(t, c, &testSocket{write: func(p []byte) (int, error) { return len(p), nil }})
		}
		c.Kind, c.Until = Dedicated, 2
		o, other := &closer{c: c}, new(recorder)
		mustSend(t, c, other, 1, "req0")
		mustSend(t, c, o, 1, "req1", "req2")
		mustSend(t, c, other, 1, "req3")
		c.Flush()
		fail(c)
		if !c.Closed() || c.Waiting() || c.Queued() != 0 {
			t.Errorf("%s: closed %v, waiting %v, %d bytes queued", what, c.Closed(), c.Waiting(), c.Queued())
		}
		if got := len(o.events); got != 2 {
			t.Errorf("%s: its owner was told %q", what, o.events)
		}
		if got := len(other.events); got != 2 {
			t.Errorf("%s: the others were told %q", what, other.events)
		}
	}
	f("close", func(c *Conn) { c.Close(lost) }, false)
	f("timeout", func(c *Conn) { c.Tick(int64(time.Hour)) }, false)
	f("close while dialling", func(c *Conn) { c.Close(lost) }, true)
	f("timeout while dialling", func(c *Conn) { c.Tick(int64(time.Minute)) }, true)
	f("no dial", func(c *Conn) { c.dialFailed(ErrGreeting, 2) }, true)
	f("no node", (*Conn).FailQueued, true)
}

// A dedicated Conn takes little memory, and one that nobody uses none but its own.
func TestDedicatedConnKeepsSmallBuffers(t *testing.T) {
	c, _, _ := connOn(t, testOptions())
	c.dedicate(new(Dials))
	var r recorder
	mustSend(t, c, &r, 1, "req")
	c.Flush()
	if n := cap(c.log.chunks[0]); n > smallChunk {
		t.Errorf("a short request takes %d bytes", n)
	}
	if err := c.Receive([]byte("+OK\r\n"), 2); err != nil {
		t.Fatal(err)
	}
	if !c.Tick(3) || len(c.log.chunks) != 0 {
		t.Errorf("%d chunks are kept", len(c.log.chunks))
	}
}

// Requests that must not be parted, and ASKING in front of them.
func TestConnSendsAllOrNone(t *testing.T) {
	opts := testOptions()
	opts.MaxQueued = 10 + len(AskingRequest)
	c, _, wire := connOn(t, opts)
	var r recorder
	send := func(first ...[]byte) error { return c.SendAll(first, []byte("req0req1"), []int{4, 4}, &r, 7, 1) }
	mustSend(t, c, nil, 1, "123456789")
	if err := send(AskingRequest); err != nil { // One byte of room behind ASKING is enough for all.
		t.Fatal(err)
	}
	if err := send(AskingRequest); !errors.Is(err, ErrQueueFull) {
		t.Errorf("without room: %v", err)
	}
	c.Flush()
	if got, want := wire.String(), "123456789"+string(AskingRequest)+"req0req1"; got != want {
		t.Errorf("written: %q, want %q", got, want)
	}
	if err := c.Receive([]byte("+0\r\n+OK\r\n+1\r\n+2\r\n"), 2); err != nil {
		t.Fatal(err)
	}
	r.want(t, `7: "+1\r\n" of "req0"`, `8: "+2\r\n" of "req1"`)
}
