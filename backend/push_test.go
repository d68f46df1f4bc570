package backend

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recordedPushes notes what a Conn tells its PushHandler.
type recordedPushes struct {
	frames []string
	part   string
}

func (f *recordedPushes) Up(*Conn)          {}
func (f *recordedPushes) Down(*Conn, error) { f.frames = append(f.frames, "down") }
func (f *recordedPushes) OnPush(_ *Conn, data []byte, first, last bool) {
	if first {
		f.part = ""
	}
	f.part += string(data)
	if last {
		f.frames = append(f.frames, f.part)
	}
}

// Frames that nobody asked for and replies of PINGs are told apart wherever the stream is cut.
func TestFeedGetsEverythingButPongs(t *testing.T) {
	unasked := []string{
		"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "-NOPERM no\r\n",
		"*3\r\n$7\r\nmessage\r\n$4\r\npong\r\n$14\r\n*2\r\n$4\r\npong\r\n\r\n",
		"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$0\r\n\r\n",
		"*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$100\r\n" + strings.Repeat("x", 100) + "\r\n",
	}
	stream := "+PONG\r\n"
	for _, u := range unasked {
		stream += u + "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
	}
	for size := 1; size <= len(stream); size++ {
		c, _, _ := connOn(t, testOptions())
		pushes := new(recordedPushes)
		c.pushes = pushes
		owner := new(recorder)
		for i := range len(unasked) + 1 {
			if err := c.Send([]byte("*1\r\n$4\r\nPING\r\n"), owner, uint32(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		c.Flush()
		for rest := stream; rest != ""; {
			n := min(size, len(rest))
			if err := c.Receive([]byte(rest[:n]), 0); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if d := cmp.Diff(unasked, pushes.frames); d != "" {
			t.Fatalf("in pieces of %d: %s", size, d)
		}
		if c.InFlight() != 0 {
			t.Fatalf("in pieces of %d: %d requests have no reply", size, c.InFlight())
		}
	}
}

// A request on a connection with a PushHandler outlives its timeout, since a paused server may still answer; it
// ends with the connection, of which the PushHandler is told once.
func TestRequestsOfAFeedDoNotTimeOut(t *testing.T) {
	opts := testOptions()
	c, _, _ := connOn(t, opts)
	pushes, owner := new(recordedPushes), new(recorder)
	c.pushes = pushes
	mustSend(t, c, owner, 0, "*1\r\n$4\r\nPING\r\n")
	c.Flush()
	if hung := int64(opts.HungAfter()); !c.Tick(hung-1) || c.Tick(hung+1) {
		t.Error("given up too early, or not at all")
	}
	owner.want(t)
	c.Close(ErrTimeout)
	c.Close(ErrTimeout)
	if len(owner.events) != 1 || len(pushes.frames) != 1 {
		t.Errorf("owner %q, pushes %q", owner.events, pushes.frames)
	}
}
