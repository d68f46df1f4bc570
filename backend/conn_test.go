package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"sluice/internal/bufpool"
	"sluice/internal/clock"
)

// testLoop stands in for the owner of an event loop: what has to run on the loop runs on the
// test's goroutine, in step. Connections that are enrolled are kept for the test to read.
type testLoop struct {
	t        testing.TB
	tasks    chan func()
	enrolled net.Conn
	sockets  []net.Conn
	hungUp   []gnet.Conn
}

func newTestLoop(t testing.TB) *testLoop {
	l := &testLoop{t: t, tasks: make(chan func(), 100)} // Nobody queues more.
	t.Cleanup(func() {
		for _, s := range l.sockets {
			_ = s.Close()
		}
	})
	return l
}

// Run implements Home.
func (l *testLoop) Run(f func()) { l.tasks <- f }

// HangUp implements Home.
func (l *testLoop) HangUp(gc gnet.Conn) { l.hungUp = append(l.hungUp, gc) }

// Enroll implements Home.
func (l *testLoop) Enroll(_ context.Context, nc net.Conn, peer any) error {
	done := make(chan struct{})
	l.tasks <- func() {
		l.enrolled = nc
		l.sockets = append(l.sockets, nc)
		peer.(*Dial).Opened(&testSocket{write: nc.Write}, clock.Now())
		close(done)
	}
	<-done
	return nil
}

// step runs the next task.
func (l *testLoop) step() {
	l.t.Helper()
	select {
	case f := <-l.tasks:
		f()
	case <-time.After(testWait):
		l.t.Fatal("nothing happens on the loop")
	}
}

// testWait is longer than anything takes that works.
const testWait = 2 * time.Minute

// testSocket is a gnet.Conn that writes where the test wants.
type testSocket struct {
	gnet.Conn // nil

	write    func([]byte) (int, error)
	buffered int
	linger   int // what SetLinger was told
}

func (s *testSocket) SetLinger(n int) error       { s.linger = n; return nil }
func (s *testSocket) Write(p []byte) (int, error) { return s.write(p) }
func (s *testSocket) OutboundBuffered() int       { return s.buffered }
func (*testSocket) Fd() int                       { return -1 }

// testOptions are far from what a test reaches, unless it says so.
func testOptions() Options {
	return Options{
		DialTimeout: testWait, RequestTimeout: time.Second, ReconnectMin: 10 * time.Millisecond, ReconnectMax: 35 * time.Millisecond,
		ProbeInterval: time.Hour, BreakerFailures: 5, BreakerOpen: time.Hour, MaxQueued: 1 << 20,
	}
}

// connOn returns a Conn that is connected to a socket that collects what is written.
func connOn(t testing.TB, opts Options) (*Conn, *testSocket, *bytes.Buffer) {
	t.Helper()
	n := NewNode(0, "192.0.2.1:6379", &opts)
	t.Cleanup(n.Retire)
	c := newConn(n, 2, 0, bufpool.New(1<<20), newTestLoop(t))
	var wire bytes.Buffer
	socket := &testSocket{write: wire.Write}
	open(t, c, socket)
	return c, socket, &wire
}

// open connects c to a socket of the test.
func open(t testing.TB, c *Conn, socket gnet.Conn) {
	t.Helper()
	c.underway, c.state = &Dial{conn: c}, stateDialing
	if c.underway.Opened(socket, 1) != c {
		t.Fatal("not opened")
	}
}

// recorder notes the outcomes of requests in words.
type recorder struct{ events []string }

func (r *recorder) Reply(tag uint32, reply Reply) {
	e := fmt.Sprintf("%d: %q", tag, reply.Data)
	if reply.First {
		e += fmt.Sprintf(" of %q", reply.Request)
	}
	if !reply.Last {
		e += " ..."
	}
	r.events = append(r.events, e)
}

func (r *recorder) Fail(tag uint32, f Failure) {
	r.events = append(r.events, fmt.Sprintf("%d: %v sent=%v cut=%v %q", tag, f.Err, f.Sent, f.Cut, f.Request))
}

// want checks the events since the last call.
func (r *recorder) want(t testing.TB, events ...string) {
	t.Helper()
	if !slices.Equal(r.events, events) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(r.events, "\n\t"), strings.Join(events, "\n\t"))
	}
	r.events = nil
}

func mustSend(t testing.TB, c *Conn, o Owner, now int64, requests ...string) {
	t.Helper()
	for i, r := range requests {
		if err := c.Send([]byte(r), o, uint32(i), now); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnGivesRepliesToTheirOwners(t *testing.T) {
	c, _, wire := connOn(t, testOptions())
	var r recorder
	mustSend(t, c, &r, 1, "req0", "req1", "req2")
	mustSend(t, c, nil, 1, "nobody's")
	c.Flush()
	if wire.String() != "req0req1req2nobody's" {
		t.Fatalf("written: %q", wire)
	}
	if n := c.InFlight(); n != 4 {
		t.Errorf("%d in flight", n)
	}
	for _, part := range []string{"+O", "K\r\n$5\r\nhe", "llo\r\n*2\r\n:1\r\n$", "1\r\nx\r\n", "+for nobody\r\n"} {
		if err := c.Receive([]byte(part), 2); err != nil {
			t.Fatal(err)
		}
	}
	r.want(t, `0: "+OK\r\n" of "req0"`, `1: "$5\r\nhe" of "req1" ...`, `1: "llo\r\n"`,
		`2: "*2\r\n:1\r\n" of "req2" ...`, `2: "$1\r\nx\r\n"`)
	if c.InFlight() != 0 || c.Queued() != 0 || c.Unsent() != 0 {
		t.Errorf("left: %d in flight, %d queued, %d unsent", c.InFlight(), c.Queued(), c.Unsent())
	}
}

func TestConnRefusesRepliesThatNobodyAskedFor(t *testing.T) {
	c, _, _ := connOn(t, testOptions())
	if err := c.Receive([]byte("+OK\r\n"), 2); err == nil || err.Error() != "reply without a request" {
		t.Errorf("without a request: %v", err)
	}
	c, socket, _ := connOn(t, testOptions())
	var r recorder
	socket.buffered = 1 // Nothing is taken off.
	mustSend(t, c, &r, 1, "req")
	c.Flush()
	if err := c.Receive([]byte("+OK\r\n"), 2); err == nil || err.Error() != "reply before its request was sent" {
		t.Errorf("before its request: %v", err)
	}
	r.want(t)
	c, _, _ = connOn(t, testOptions())
	if err := c.Receive([]byte(">1\r\n+pushed\r\n"), 2); err != nil {
		t.Errorf("a push: %v", err)
	}
}

func TestConnTimeouts(t *testing.T) {
	c, _, _ := connOn(t, testOptions())
	second := int64(time.Second)
	var r recorder
	mustSend(t, c, &r, 1*second, "req0", "req1")
	mustSend(t, c, &r, 3*second, "req2")
	c.Flush()
	if !c.Tick(2 * second) {
		t.Error("given up")
	}
	r.want(t)
	if err := c.Receive([]byte("$5\r\nhe"), 2*second); err != nil {
		t.Fatal(err)
	}
	r.want(t, `0: "$5\r\nhe" of "req0" ...`)
	// While a reply is on its way the requests wait in line for it.
	if !c.Tick(3 * second) {
		t.Error("given up")
	}
	r.want(t)
	if !c.Tick(3*second + 1) {
		t.Error("given up")
	}
	r.want(t, `0: no reply in time sent=true cut=true "req0"`, `1: no reply in time sent=true cut=false "req1"`)
	if n := c.InFlight(); n != 1 {
		t.Errorf("%d in flight, want 1", n)
	}
	// The late replies are swallowed; the request behind them gets its own.
	if err := c.Receive([]byte("llo\r\n+late\r\n+mine\r\n"), 3*second); err != nil {
		t.Fatal(err)
	}
	r.want(t, `0: "+mine\r\n" of "req2"`)
	if !c.Tick(4 * second) {
		t.Error("given up")
	}
	r.want(t)
}

// While replies keep coming, however slowly, no request behind them expires: each has its time from when it is the
// oldest.
func TestDeepPipelineIntoASlowServer(t *testing.T) {
	c, _, _ := connOn(t, testOptions())
	second := int64(time.Second)
	var r recorder
	mustSend(t, c, &r, 1*second, "req0", "req1", "req2", "req3")
	c.Flush()
	for i := range 3 {
		now := second + int64(i+1)*second*9/10
		if err := c.Receive([]byte("+OK\r\n"), now); err != nil {
			t.Fatal(err)
		}
		r.want(t, fmt.Sprintf(`%d: "+OK\r\n" of "req%d"`, i, i))
		if !c.Tick(now + second*9/10) {
			t.Error("given up")
		}
		r.want(t)
	}
	if !c.Tick(c.lastReply + second + 1) {
		t.Error("given up")
	}
	r.want(t, `3: no reply in time sent=true cut=false "req3"`)
}

// What never left is told so, and can be asked for; what left is not.
func TestConnCloseFailsEachRequestOnce(t *testing.T) {
	c, socket, _ := connOn(t, testOptions())
	var r recorder
	mustSend(t, c, &r, 1, "req0", "req1", "req2")
	c.Flush()
	socket.buffered = 1
	mustSend(t, c, &r, 1, "req3")
	c.Flush()
	if err := c.Receive([]byte("+OK\r\n$9\r\nhe"), 2); err != nil {
		t.Fatal(err)
	}
	r.want(t, `0: "+OK\r\n" of "req0"`, `1: "$9\r\nhe" of "req1" ...`)
	lost := errors.New("lost")
	c.Close(lost)
	c.Close(lost)
	r.want(t, `1: lost sent=true cut=true "req1"`, `2: lost sent=true cut=false "req2"`, `0: lost sent=false cut=false "req3"`)
	if !c.Closed() || c.Up() || c.Node.Conns() != 0 {
		t.Errorf("closed %v, up %v, the node counts %d", c.Closed(), c.Up(), c.Node.Conns())
	}
}

func TestConnHungAfter(t *testing.T) {
	opts := testOptions()
	c, _, _ := connOn(t, opts)
	var r recorder
	hung := int64(opts.HungAfter())
	mustSend(t, c, &r, 1, "req0", "req1")
	c.Flush()
	if !c.Tick(hung) {
		t.Error("given up too early")
	}
	if err := c.Receive([]byte("+late\r\n"), hung); err != nil { // A sign of life.
		t.Fatal(err)
	}
	if !c.Tick(2*hung - 1) {
		t.Error("given up though it has answered")
	}
	if c.Tick(2 * hung) {
		t.Error("not given up")
	}
	c, _, _ = connOn(t, opts)
	if !c.Tick(100 * hung) {
		t.Error("an idle connection was given up")
	}

	// A server that is paused by a migration may be silent for longer, and not for ever.
	c, _, _ = connOn(t, opts)
	c.Node.SetPatient(true)
	mustSend(t, c, &r, 1, "req0")
	c.Flush()
	if !c.Tick(hung+1) || !c.Tick(int64(maxPause)) || c.Tick(int64(maxPause)+1) {
		t.Error("a paused server: given up at another time than maxPause")
	}
}

func TestConnFlushLeavesTheRestToItself(t *testing.T) {
	c, socket, wire := connOn(t, testOptions())
	big := strings.Repeat("x", chunkSize)
	socket.write = func(p []byte) (int, error) {
		socket.buffered = len(p) / 2 // gnet keeps what the kernel does not take.
		return wire.Write(p)
	}
	mustSend(t, c, nil, 1, big, big, big)
	c.Flush()
	c.Flush()
	if wire.Len() != chunkSize || c.Unsent() != 2*chunkSize {
		t.Errorf("%d written, %d unsent", wire.Len(), c.Unsent())
	}
	socket.buffered = 0
	c.Flush()
	if wire.Len() != 2*chunkSize || c.Unsent() != chunkSize {
		t.Errorf("%d written, %d unsent", wire.Len(), c.Unsent())
	}
}

// A write that fails may have sent a part, so what was in it counts as sent; the rest does not.
func TestConnFailingWriteCountsAsSent(t *testing.T) {
	c, socket, _ := connOn(t, testOptions())
	broken := errors.New("broken pipe")
	socket.write = func([]byte) (int, error) {
		c.Close(broken) // As gnet does: OnClose comes before Write returns.
		return 0, broken
	}
	var r recorder
	mustSend(t, c, &r, 1, "req0", strings.Repeat("x", chunkSize))
	c.Flush()
	if len(r.events) != 2 || r.events[0] != `0: broken pipe sent=true cut=false "req0"` ||
		!strings.HasPrefix(r.events[1], `1: broken pipe sent=false cut=false "xxx`) {
		t.Errorf("%.200q", r.events)
	}
}

func TestConnRefusesMoreThanMaxQueued(t *testing.T) {
	opts := testOptions()
	opts.MaxQueued = 8
	c, _, _ := connOn(t, opts)
	mustSend(t, c, nil, 1, "1234", "56789")
	if err := c.Send([]byte("x"), nil, 0, 1); !errors.Is(err, ErrQueueFull) {
		t.Errorf("%v, want ErrQueueFull", err)
	}
	c.Flush()
	if err := c.Receive([]byte("+OK\r\n"), 1); err != nil {
		t.Fatal(err)
	}
	mustSend(t, c, nil, 1, "x")
}
