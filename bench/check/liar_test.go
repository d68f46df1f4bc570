package check

import (
	"context"
	"net"
	"sync"
	"testing"

	"sluice/bench/load"
)

// liar is a proxy before a redis-server that misbehaves on demand. It handles one
// request after another, and knows from the number of a request within its
// connection whether its pipeline goes on, so that it never waits in vain.
// Connection 0 is the preload's and is always honest.
type liar struct {
	listener net.Listener
	backend  string
	conns    sync.WaitGroup
	// act handles a request; mu is held, so it may keep state. nil is honest.
	act func(x *exchange) (replies []string)

	mu    sync.Mutex
	fired int
}

// exchange is one request at the liar.
type exchange struct {
	conn, number int // number counts the requests of the connection from 0
	args         []string
	next         func() []string // reads one more request
	do           func(args ...string) string
}

func newLiar(t *testing.T, backend string, act func(*exchange) []string) *liar {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{listener: listener, backend: backend, act: act}
	l.conns.Go(func() {
		for n := 0; ; n++ {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.conns.Go(func() { l.serve(c, n) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.conns.Wait()
	})
	return l
}

func (l *liar) addr() string { return l.listener.Addr().String() }

// hangUp as a reply closes the connection.
const hangUp = "hang up"

func (l *liar) serve(nc net.Conn, conn int) {
	front := wire{nc: nc}
	defer front.hangUp()
	back := wire{addr: l.backend}
	if back.dial(context.Background()) != nil {
		return
	}
	defer back.hangUp()
	x := &exchange{conn: conn, number: -1}
	broken := false
	x.next = func() []string {
		n, r, err := front.read()
		if err != nil {
			broken = true
			return nil
		}
		args, _ := elements(r)
		front.consume(n)
		x.number++
		return args
	}
	x.do = func(args ...string) (reply string) {
		err := back.exchange([][]string{args}, func(_ int, _ load.Reply) { reply = string(back.in) })
		broken = broken || err != nil
		return reply
	}
	for {
		x.args = x.next()
		if broken {
			return
		}
		for _, reply := range l.answer(x) {
			if reply == hangUp || broken {
				return
			}
			if _, err := nc.Write([]byte(reply)); err != nil {
				return
			}
		}
	}
}

func (l *liar) answer(x *exchange) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.conn > 0 && l.act != nil {
		if replies := l.act(x); replies != nil {
			l.fired++
			return replies
		}
	}
	return []string{x.do(x.args...)}
}

func (x *exchange) is(command string) bool { return x.args[0] == command }
