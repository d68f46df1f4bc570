package check

import (
	"context"
	"fmt"
	"net"
	"strings"
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
	twisted      bool            // args are not those of the client
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
	if x.twisted {
		x.twisted = false
		l.fired++
	}
	if x.blocks() {
		l.mu.Unlock() // Who ends the wait comes this way, too.
		defer l.mu.Lock()
	}
	return []string{x.do(x.args...)}
}

// blocks reports whether the server may wait with its answer. A lie must not ask it to.
func (x *exchange) blocks() bool {
	return x.is("BLPOP") || x.is("BLMOVE") || x.is("XREAD") || x.is("XREADGROUP")
}

func (x *exchange) is(command string) bool { return x.args[0] == command }

// memory is what a lying replica has to tell: the distinct replies that each read
// has had, the oldest first.
type memory map[string][]string

// recall does a read and returns its replies so far.
func (m memory) recall(x *exchange) []string {
	now, key := x.do(x.args...), strings.Join(x.args, " ")
	if past := m[key]; len(past) == 0 || past[len(past)-1] != now {
		m[key] = append(past, now)
	}
	return m[key]
}

// perConn is the name of a read on one connection.
func (x *exchange) perConn() string { return fmt.Sprint(x.conn, " ", strings.Join(x.args, " ")) }

// lagging answers a read with the reply before the last, and after patience reads
// that found nothing newer with the last one. It never goes back.
func lagging(command string, patience int) func(*exchange) []string {
	m, since, known := make(memory), make(map[string]int), make(map[string]int)
	return func(x *exchange) []string {
		if !x.is(command) {
			return nil
		}
		past, key := m.recall(x), strings.Join(x.args, " ")
		if since[key]++; len(past) > known[key] {
			known[key], since[key] = len(past), 0
		}
		if len(past) < 2 || since[key] >= patience {
			return []string{past[len(past)-1]}
		}
		return []string{past[len(past)-2]}
	}
}

// goingBack answers every other read of a connection with the reply before the
// last, after that connection has had the last one.
func goingBack(command string) func(*exchange) []string {
	m, had := make(memory), make(map[string]string)
	return func(x *exchange) []string {
		if !x.is(command) {
			return nil
		}
		past := m.recall(x)
		last := past[len(past)-1]
		if len(past) < 2 || had[x.perConn()] != last {
			had[x.perConn()] = last
			return []string{last}
		}
		delete(had, x.perConn())
		return []string{past[len(past)-2]}
	}
}

// forgetful answers a read with nothing after the connection has written the key
// and read it. A key that others write need only be read.
func forgetful(command string, own bool) func(*exchange) []string {
	wrote, read := make(map[string]bool), make(map[string]bool)
	return func(x *exchange) []string {
		key := fmt.Sprint(x.conn, " ", x.args[1])
		if !x.is(command) {
			wrote[key] = true
			return nil
		}
		if own && !wrote[key] {
			return nil
		}
		if !read[key] {
			read[key] = true
			return nil
		}
		delete(read, key)
		return []string{"$-1\r\n"}
	}
}

// frozen answers each read as it did the first time, for as many requests.
func frozen(command string, requests int) func(*exchange) []string {
	m := make(memory)
	return func(x *exchange) []string {
		if !x.is(command) || x.number >= requests {
			return nil
		}
		return []string{m.recall(x)[0]}
	}
}
