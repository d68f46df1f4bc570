package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/bufpool"
	"sluice/internal/clock"
	"sluice/internal/control"
	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// receive reads from the connection that was enrolled last until n requests are left on c.
func (l *testLoop) receive(c *Conn, n int) {
	l.t.Helper()
	buf := make([]byte, 64<<10)
	for c.InFlight() > n {
		if err := l.enrolled.SetReadDeadline(time.Now().Add(testWait)); err != nil {
			l.t.Fatal(err)
		}
		got, err := l.enrolled.Read(buf)
		if err == nil {
			err = c.Receive(buf[:got], clock.Now())
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

func command(args ...string) string { return string(resp.AppendCommand(nil, args...)) }

// The whole way with a real server: the first Send dials and greets, what was queued goes out when the
// connection is up.
func TestConnWithARealServer(t *testing.T) {
	s := testbed.Redis(t, "--requirepass", "secret")
	f := func(proto, db int, hash string) {
		t.Helper()
		opts := testOptions()
		opts.Password, opts.Name = "secret", fmt.Sprintf("test:%d:%d", proto, db)
		n := NewNode(0, s.Addr(), &opts)
		defer n.Retire()
		loop := newTestLoop(t)
		c := newConn(n, proto, db, bufpool.New(1<<20), loop)
		var r recorder
		set, get := command("HSET", fmt.Sprint("h", proto), "f", fmt.Sprint(db)), command("HGETALL", fmt.Sprint("h", proto))
		mustSend(t, c, &r, clock.Now(), set, get)
		if c.Up() || c.Unsent() != c.Queued() {
			t.Error("sent before it is connected")
		}
		loop.step()
		c.Flush()
		loop.receive(c, 0)
		r.want(t, fmt.Sprintf(`0: ":1\r\n" of %q`, set), fmt.Sprintf(`1: %q of %q`, hash, get))
		want := fmt.Sprintf("name=%s#", opts.Name)
		list := s.Do("CLIENT", "LIST").String()
		if !strings.Contains(list, want) || n.Conns() != 1 || !n.Available() {
			t.Errorf("%d connections, no %q in\n%s", n.Conns(), want, list)
		}
		c.Close(io.EOF)
	}
	f(2, 0, "*2\r\n$1\r\nf\r\n$1\r\n0\r\n")
	f(2, 7, "*2\r\n$1\r\nf\r\n$1\r\n7\r\n")
	f(3, 0, "%1\r\n$1\r\nf\r\n$1\r\n0\r\n")
	f(3, 7, "%1\r\n$1\r\nf\r\n$1\r\n7\r\n")
}

// The pause between two dials doubles up to its limit; a probe that is answered ends it.
func TestConnDialBackOff(t *testing.T) {
	opts := testOptions()
	opts.BreakerFailures = 1 << 30
	n := NewNode(0, fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)), &opts)
	defer n.Retire()
	loop := newTestLoop(t)
	c := newConn(n, 2, 0, bufpool.New(1<<20), loop)
	var r recorder
	mustSend(t, c, &r, clock.Now(), "req")
	for i, want := range []time.Duration{10, 20, 35, 35, 35} {
		loop.step() // The dial has failed.
		if got := time.Duration(c.dials.nextAt - c.dials.failedAt); got != want*time.Millisecond {
			t.Errorf("after %d failures: %s, want %s", i+1, got, want*time.Millisecond)
		}
		if c.Tick(c.dials.nextAt - 1); c.underway != nil {
			t.Fatal("dialled too early")
		}
		if c.Tick(c.dials.nextAt); c.underway == nil {
			t.Fatal("not dialled")
		}
	}
	loop.step()
	n.answeredAt.Store(c.dials.failedAt + 1)
	if c.Tick(c.dials.failedAt + 2); c.underway == nil {
		t.Error("not dialled though the probe was answered")
	}
	r.want(t) // It waits.
	loop.step()
	c.Close(io.EOF)
	r.want(t, `0: EOF sent=false cut=false "req"`)
}

// Dials that are under way at the same time fail for one reason, and one that comes up is no news about those that were
// begun later.
func TestSharedDials(t *testing.T) {
	opts := testOptions()
	f := func(failures int, next int64, run func(d *Dials)) {
		t.Helper()
		var d Dials
		run(&d)
		if d.failures != failures || d.nextAt != next || (d.Err() != nil) != (failures > 0) {
			t.Errorf("%d failures, the next dial at %d, last error %v; want %d and %d", d.failures, d.nextAt, d.Err(), failures, next)
		}
	}
	fail := func(d *Dials, began, now int64) { d.failed(io.EOF, began, now, &opts) }
	first, second := int64(opts.ReconnectMin), int64(2*opts.ReconnectMin)
	f(1, 10+first, func(d *Dials) { fail(d, 1, 10) })
	f(1, 10+first, func(d *Dials) { fail(d, 1, 10); fail(d, 2, 11); fail(d, 9, 12) })
	f(2, 20+second, func(d *Dials) { fail(d, 1, 10); fail(d, 10, 20) })
	f(1, 10+first, func(d *Dials) { fail(d, 1, 10); d.succeeded(9) })
	f(0, 0, func(d *Dials) { fail(d, 1, 10); d.succeeded(10) })
}

// A dedicated Conn dials once, and what it waits with fails at once. The next one knows when to dial.
func TestDedicatedConnDialsOnce(t *testing.T) {
	opts := testOptions()
	opts.BreakerFailures = 1 << 30
	n := NewNode(0, fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)), &opts)
	defer n.Retire()
	loop := newTestLoop(t)
	var dials Dials
	for i := range 2 {
		c := newConn(n, 2, 0, bufpool.New(1<<20), loop)
		c.dedicate(&dials)
		var r recorder
		mustSend(t, c, &r, clock.Now(), "req")
		loop.step()
		if len(r.events) != 1 || !strings.Contains(r.events[0], "connection refused") || dials.failures != i+1 {
			t.Errorf("its owner was told %q, %d failures are known", r.events, dials.failures)
		}
		if c.Tick(dials.nextAt); c.UnderWay() != nil || c.Waiting() {
			t.Error("it goes on")
		}
		c.Close(io.EOF)
	}
	// One that takes too long has failed as well.
	c := newConn(n, 2, 0, bufpool.New(1<<20), loop)
	dials = Dials{}
	c.dedicate(&dials)
	mustSend(t, c, nil, 1, "req")
	c.Tick(int64(2 * opts.RequestTimeout))
	if !errors.Is(dials.Err(), ErrTimeout) || c.Waiting() {
		t.Errorf("error %v, waiting %v", dials.Err(), c.Waiting())
	}
	c.Close(io.EOF)
}

// A dial that has failed says nothing about a node that answers on other connections.
func TestFailedDialOfANodeThatAnswers(t *testing.T) {
	f := func(counts bool, err error, change func(n *Node)) {
		t.Helper()
		opts := testOptions()
		opts.BreakerFailures = 1
		n := NewNode(0, "192.0.2.1:6379", &opts)
		defer n.Retire()
		n.conns.Store(1)
		n.answeredAt.Store(10)
		change(n)
		c := newConn(n, 2, 0, bufpool.New(1<<20), newTestLoop(t))
		c.state, c.underway = stateDialing, &Dial{conn: c, began: 20}
		c.dialFailed(err, 30)
		if n.Available() == counts {
			t.Errorf("%v: available %v, want %v", err, counts, !counts)
		}
		c.Close(io.EOF)
	}
	refused := syscall.ECONNREFUSED
	f(false, refused, func(*Node) {})
	f(true, refused, func(n *Node) { n.conns.Store(0) })
	f(true, refused, func(n *Node) { n.setStatus(Status{Err: "away"}) })
	f(true, refused, func(n *Node) { n.answeredAt.Store(0) })
	f(true, ErrTimeout, func(*Node) {})
	f(false, ErrTimeout, func(n *Node) { n.answeredAt.Store(21) })
	f(true, ErrTimeout, func(n *Node) { n.answeredAt.Store(21); n.conns.Store(0) })
}

// What waits for a connection fails with the cause: by its own timeout, or when the breaker has opened.
func TestConnFailsWhatWaitsForADial(t *testing.T) {
	opts := testOptions()
	opts.BreakerFailures = 2
	addr := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	n := NewNode(0, addr, &opts)
	defer n.Retire()
	loop := newTestLoop(t)
	c := newConn(n, 2, 0, bufpool.New(1<<20), loop)
	refused := fmt.Sprintf(`0: dial tcp %s: connect: connection refused sent=false cut=false "req"`, addr)
	var r recorder
	now := clock.Now()
	mustSend(t, c, &r, now, "req")
	mustSend(t, c, &r, now+int64(time.Minute), "req")
	loop.step()
	c.Tick(now + int64(opts.RequestTimeout) + 1)
	r.want(t, refused)
	loop.step() // The second dial, which that Tick has begun.
	if n.Available() {
		t.Error("the breaker is closed after two failed dials")
	}
	r.want(t, refused)
	mustSend(t, c, &r, now, "req")
	c.FailQueued()
	r.want(t, refused)
	c.Close(io.EOF)
}

// greetWith runs the greeting against a server that answers each command with the next of replies.
func greetWith(opts Options, proto, db int, replies ...string) (commands []string, err error) {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		buf := make([]byte, 4096)
		for len(replies) > 0 {
			n, err := theirs.Read(buf)
			if err != nil {
				return
			}
			for _, request := range strings.Split(string(buf[:n]), "*")[1:] {
				fields := strings.Split(request, "\r\n")
				var args []string
				for i := 2; i < len(fields); i += 2 {
					args = append(args, fields[i])
				}
				commands = append(commands, strings.Join(args, " "))
				for _, b := range []byte(replies[0]) { // In the smallest pieces.
					_, _ = theirs.Write([]byte{b})
				}
				replies = replies[1:]
			}
		}
	}()
	_, err = greet(context.Background(), control.New(ours, "test:1", greetingLimits), &opts, opts.Name, purpose{proto: proto, db: db}, new(peer))
	_ = ours.Close()
	<-done
	return commands, err
}

func TestGreeting(t *testing.T) {
	const ok = "+OK\r\n"
	hello := "%1\r\n$5\r\nproto\r\n:3\r\n"
	f := func(user, password, name string, proto, db int, want []string, replies ...string) {
		t.Helper()
		replies = append(replies, "$2\r\n\r\n\r\n")
		want = append(want, "INFO server")
		commands, err := greetWith(Options{User: user, Password: password, Name: name}, proto, db, replies...)
		if err != nil || !slices.Equal(commands, want) {
			t.Errorf("%q, %v; want %q", commands, err, want)
		}
	}
	f("", "", "", 2, 0, nil)
	f("", "", "me", 2, 0, []string{"CLIENT SETNAME me"}, ok)
	f("", "", "me", 2, 0, []string{"CLIENT SETNAME me"}, "-ERR unknown command\r\n")
	f("", "pw", "me", 2, 5, []string{"AUTH pw", "SELECT 5", "CLIENT SETNAME me"}, ok, ok, ok)
	f("app", "pw", "", 2, 0, []string{"AUTH app pw"}, ok)
	f("", "", "", 3, 0, []string{"HELLO 3"}, hello)
	f("", "pw", "", 3, 1, []string{"HELLO 3 AUTH default pw", "SELECT 1"}, hello, ok)
	f("app", "pw", "me", 3, 0, []string{"HELLO 3 AUTH app pw", "CLIENT SETNAME me"}, hello, ok)

	g := func(want string, is error, password string, proto, db int, replies ...string) {
		t.Helper()
		_, err := greetWith(Options{Password: password}, proto, db, replies...)
		if err == nil || err.Error() != want || is != nil && !errors.Is(err, is) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	g("test:1: greeting refused: AUTH: WRONGPASS no", ErrGreeting, "pw", 2, 0, "-WRONGPASS no\r\n")
	g("test:1: greeting refused: SELECT: ERR DB index is out of range", ErrGreeting, "", 2, 99, "-ERR DB index is out of range\r\n")
	g("test:1: greeting refused: the server does not speak RESP3", ErrNoRESP3, "", 3, 0, "-ERR unknown command `HELLO`\r\n")
	g("test:1: greeting refused: the server does not speak RESP3", ErrNoRESP3, "", 3, 0, "-NOPROTO sorry\r\n")
	g("test:1: greeting refused: the server does not speak RESP3", ErrNoRESP3, "", 3, 0, "*2\r\n$5\r\nproto\r\n:2\r\n") // Pika
	g("test:1: greeting refused: HELLO: NOAUTH no", ErrGreeting, "", 3, 0, "-NOAUTH no\r\n")
	g("test:1: AUTH: EOF", nil, "pw", 2, 0, "")
	g("test:1: AUTH: Protocol error: unknown reply type 'H'", nil, "pw", 2, 0, "HTTP/1.1 400\r\n")
}

// A server that accepts and says nothing costs the dial timeout, and the end of the node ends the wait.
func TestConnectGivesUp(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0") // The kernel accepts.
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	opts := testOptions()
	opts.Name, opts.DialTimeout = "me", 20*time.Millisecond
	n := NewNode(0, hole.Addr().String(), &opts)
	if _, err := n.connect(t.Context(), purpose{proto: 2}, new(peer)); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("connect: %v", err)
	}
	opts.DialTimeout = testWait
	loop := newTestLoop(t)
	c := newConn(n, 2, 0, bufpool.New(1<<20), loop)
	mustSend(t, c, nil, clock.Now(), "req")
	n.Retire() // Waits for the dial.
	loop.step()
	if c.dials.Err() == nil {
		t.Error("the dial went on")
	}
	c.Close(io.EOF)
}
