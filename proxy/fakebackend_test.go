package proxy

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/resp"

	"sluice/internal/testbed"
)

// fakeBackend is a server that does what a test tells it, for faults that no real server produces on demand:
// a reply that breaks off, garbage, a reply too many, a redirect to nowhere. It understands requests and
// nothing else; script decides what each one is answered.
//
// What a proxy asks on its own account, greeting and probing, is answered from greetings and is neither
// recorded nor shown to script.
type fakeBackend struct {
	ln        net.Listener
	script    answerFunc
	greetings map[string]string // raw replies by command; Immutable after construction
	done      chan struct{}     // closed by stop
	work      sync.WaitGroup

	mu       sync.Mutex // guards the fields below it
	conns    []*scriptedConn
	requests []fakeRequest
}

// answerFunc answers one request. It runs on a goroutine of the connection, which takes the next request when
// it returns; so a script that waits holds back what comes behind.
type answerFunc func(c *scriptedConn, args []string)

// fakeRequest is a request in the order of arrival.
type fakeRequest struct {
	conn *scriptedConn
	args []string
}

func (r fakeRequest) String() string { return strings.Join(r.args, " ") }

// scriptedConn is a connection that a fakeBackend has accepted. Its methods are for script.
type scriptedConn struct {
	fake *fakeBackend
	conn net.Conn
	gone chan struct{} // closed when the peer has hung up
	used bool          // a request that is no greeting has come; guarded by fake.mu

	closed bool // by script; belongs to the goroutine that runs it
}

// fakeGreetings make a fake look like a Redis 5: reachable, without RESP3.
func fakeGreetings() map[string]string {
	info := "redis_version:5.0.14\r\nrole:master\r\n"
	return map[string]string{
		"PING": "+PONG\r\n", "CLIENT": "+OK\r\n", "AUTH": "+OK\r\n", "SELECT": "+OK\r\n",
		"HELLO": "-ERR unknown command 'HELLO'\r\n", "ECHO": "-ERR unknown command 'ECHO'\r\n", "ROLE": "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
		"INFO": "$" + strconv.Itoa(len(info)) + "\r\n" + info + "\r\n",
	}
}

// resp3Greeting is what a server that speaks RESP3 answers to HELLO 3.
const resp3Greeting = "%4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"

// startFake runs a fakeBackend on a free port until the test ends. change may alter it first.
func startFake(t testing.TB, run answerFunc, change ...func(*fakeBackend)) *fakeBackend {
	t.Helper()
	return startFakeAt(t, fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)), run, change...)
}

func startFakeAt(t testing.TB, addr string, run answerFunc, change ...func(*fakeBackend)) *fakeBackend {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeBackend{ln: ln, script: run, greetings: fakeGreetings(), done: make(chan struct{})}
	for _, c := range change {
		c(f)
	}
	f.work.Go(f.accept)
	t.Cleanup(f.stop)
	return f
}

func (f *fakeBackend) addr() string { return f.ln.Addr().String() }

// stop closes everything and waits for the goroutines. It may be called twice.
func (f *fakeBackend) stop() {
	f.mu.Lock()
	select {
	case <-f.done:
	default:
		close(f.done)
	}
	_ = f.ln.Close()
	for _, c := range f.conns {
		_ = c.conn.Close()
	}
	f.mu.Unlock()
	f.work.Wait()
}

func (f *fakeBackend) accept() {
	for {
		conn, err := f.ln.Accept()
		if err != nil {
			return
		}
		c := &scriptedConn{fake: f, conn: conn, gone: make(chan struct{})}
		f.mu.Lock()
		f.conns = append(f.conns, c)
		select {
		case <-f.done:
			_ = conn.Close()
		default:
		}
		f.mu.Unlock()
		// Requests wait here while a script waits; none of the tests sends more.
		queue := make(chan []string, 1<<14)
		f.work.Go(func() { c.read(queue) })
		f.work.Go(func() { c.answer(queue) })
	}
}

// read takes requests off the wire, so that they are recorded even while a script waits.
func (c *scriptedConn) read(queue chan<- []string) {
	defer close(queue)
	defer close(c.gone)
	r := resp.NewReader(c.conn)
	for {
		v, _, err := r.ReadValue()
		if err != nil {
			return
		}
		var args []string
		for _, arg := range v.Array() {
			args = append(args, arg.String())
		}
		if c.fake.greetings[args[0]] == "" {
			c.fake.mu.Lock()
			c.used = true
			c.fake.requests = append(c.fake.requests, fakeRequest{c, args})
			c.fake.mu.Unlock()
		}
		queue <- args
	}
}

func (c *scriptedConn) answer(queue <-chan []string) {
	defer func() { _ = c.conn.Close() }()
	for args := range queue {
		switch greeting := c.fake.greetings[args[0]]; {
		case c.closed:
		case greeting != "":
			c.reply(greeting)
		default:
			c.fake.script(c, args)
		}
	}
}

// reply writes raw bytes.
func (c *scriptedConn) reply(raw string) { _, _ = c.conn.Write([]byte(raw)) }

// hangUp closes the connection behind what was written. It returns when that is done: the descriptor lives
// until read has let go of it.
func (c *scriptedConn) hangUp() {
	c.closed = true
	_ = c.conn.Close()
	<-c.gone
}

// reset closes the connection with a RST.
func (c *scriptedConn) reset() {
	_ = c.conn.(*net.TCPConn).SetLinger(0)
	c.hangUp()
}

// wait returns when ch is closed; when the connection ends first, nothing is to be answered any more.
func (c *scriptedConn) wait(ch <-chan struct{}) {
	select {
	case <-ch:
	case <-c.gone:
		c.closed = true
	case <-c.fake.done:
		c.closed = true
	}
}

// hang answers nothing for as long as the connection lasts.
func (c *scriptedConn) hang() { c.wait(nil) }

// seen lists the requests so far.
func (f *fakeBackend) seen() []fakeRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// count is how often a request arrived, given as in fakeRequest.String.
func (f *fakeBackend) count(request string) int {
	n := 0
	for _, r := range f.seen() {
		if r.String() == request {
			n++
		}
	}
	return n
}

// dataConns is the number of connections on which requests came.
func (f *fakeBackend) dataConns() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.conns {
		if c.used {
			n++
		}
	}
	return n
}

// await returns when request has arrived n times.
func (f *fakeBackend) await(t testing.TB, n int, request string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if got := f.count(request); got < n {
			return fmt.Errorf("%q arrived %d times, want %d; all: %.500v", request, got, n, f.seen())
		}
		return nil
	}, replyWait)
}

// echoValue answers a GET with the key, and OK to everything else.
func echoValue(c *scriptedConn, args []string) {
	if args[0] == "GET" {
		c.reply(bulkReply(args[1]))
		return
	}
	c.reply("+OK\r\n")
}
