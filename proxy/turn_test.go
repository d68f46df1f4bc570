package proxy

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/backend"
	"sluice/internal/testbed"
)

// keeping starts a proxy whose loops keep their processors, as those of `sluice serve` do.
func keeping(t *testing.T, loops int) *testProxy {
	t.Helper()
	before := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(int(kept.Load()) + loops + 1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	p := startProxyTo(t, testbed.Redis(t), func(cfg *Config, _ *PoolConfig) { cfg.Loops = loops })
	p.onEachLoop(p.ctx, func(l *loop) {
		if !l.keeps || !l.poller.Valid() {
			t.Fatalf("loop %d does not keep its processor", l.id)
		}
	})
	return p
}

// traffic keeps clients busy until stop is called.
func traffic(t *testing.T, p *testProxy, clients int) (stop func()) {
	var work sync.WaitGroup
	var over atomic.Bool
	for range clients {
		c := p.dial(t)
		work.Go(func() {
			for !over.Load() {
				_, err := io.WriteString(c.Conn, "PING\r\nGET nothing\r\n")
				for _, want := range []string{"+PONG\r\n", "$-1\r\n"} {
					var got string
					if err == nil {
						got, err = c.tryReply()
					}
					if err != nil || got != want {
						t.Errorf("%q, %v, want %q", got, err, want)
						return
					}
				}
			}
		})
	}
	return func() { over.Store(true); work.Wait() }
}

// A loop that waits and reads by itself is there for everybody else at any time: tasks, new clients, the collector.
func TestPollingLoopsLetOthersIn(t *testing.T) {
	p := keeping(t, 2)
	stop := traffic(t, p, 4)
	for range 200 {
		if !p.onEachLoop(t.Context(), func(*loop) {}) {
			t.Fatal("a loop does not run a task")
		}
		c := p.dial(t)
		c.want("+PONG\r\n", "PING")
		_ = c.Close()
	}
	for range 20 {
		runtime.GC()
	}
	stop()
	p.onEachLoop(t.Context(), func(l *loop) {
		if n := l.tasks.Load(); n != 0 {
			t.Errorf("loop %d believes that %d tasks wait for it", l.id, n)
		}
	})
}

// What only gnet can do is done while a loop polls: the rest of a long reply, an end, a reset.
func TestPollingLoopsLeaveTheRestToGnet(t *testing.T) {
	p := keeping(t, 1)
	c := p.dial(t)
	long := strings.Repeat("v", 4<<20)
	c.want("+OK\r\n", "SET", "long", long)
	stop := traffic(t, p, 1)
	defer stop()
	for i := range 20 {
		slow := p.dial(t)
		slow.request("GET", "long")
		gone := p.dial(t)
		gone.want("+PONG\r\n", "PING")
		if i%2 == 0 {
			_ = gone.Conn.(*net.TCPConn).SetLinger(0)
		}
		_ = gone.Close()
		if got := slow.reply(); got != "$4194304\r\n"+long+"\r\n" {
			t.Fatalf("a reply of %d bytes", len(got))
		}
		_ = slow.Close()
	}
	testbed.Eventually(t, func() error {
		if n := p.Clients(); n != 2 {
			return fmt.Errorf("%d clients, want 2", n)
		}
		return nil
	}, replyWait)
	p.onEachLoop(t.Context(), func(l *loop) {
		left := 0
		for _, peer := range l.peers {
			if peer != nil {
				left++
			}
		}
		if left != 2+1 { // And the server.
			t.Errorf("%d connections are read, want 3", left)
		}
	})
}

// What is sent on a connection that has ended has not left, and finds another way.
func TestRequestsOnEndedConnectionsAreSentAgain(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 1 })
	c := p.dial(t)
	end := func(l *loop, value string) {
		c.request("SET", "k", value) // It is in the socket when the connection ends.
		server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		for _, peer := range l.peers {
			if b, ok := peer.(*backend.Conn); ok {
				awaitEnd(t, b.GnetConn().Fd()) // The server answers before it closes the others.
			}
		}
	}
	for i := range 20 {
		c.want("+OK\r\n", "SET", "k", "v")
		p.onEachLoop(t.Context(), func(l *loop) { end(l, fmt.Sprint(i)) })
		if got := c.reply(); got != "+OK\r\n" {
			t.Fatalf("round %d: %q", i, got)
		}
	}
	p.onEachLoop(t.Context(), func(l *loop) {
		end(l, "last")
		for before := l.stats.ClientBytesIn; l.stats.ClientBytesIn == before; {
			tasks := l.tasks.Swap(0) // A tick that waits would be let in first.
			l.poll()
			l.tasks.Add(tasks)
		}
		if len(l.dirtyBackends) != 1 || l.dirtyBackends[0].Unsent() == 0 {
			t.Errorf("poll does not leave the end to gnet before it writes: %d connections to be written", len(l.dirtyBackends))
		}
	})
	c.reply() // A task is no callback of gnet: here it is written.
}

// awaitEnd waits until the other end of a socket has closed it.
func awaitEnd(t *testing.T, fd int) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		n, err := unix.Poll(poll, int(replyWait.Milliseconds()))
		if n > 0 {
			return
		}
		if err != unix.EINTR {
			t.Errorf("the connection does not end: %v", err)
			return
		}
	}
}

// A loop whose engine is about to stop leaves everything to gnet.
func TestStoppingLoopsDoNotPoll(t *testing.T) {
	p := keeping(t, 1)
	c := p.dial(t)
	c.want("+PONG\r\n", "PING")
	p.onEachLoop(t.Context(), func(l *loop) {
		c.request("PING")
		before := l.stats.ClientBytesIn
		l.stopping = true
		tasks := l.tasks.Swap(0) // With one it would not poll either.
		l.poll()
		l.tasks.Add(tasks)
		l.stopping = false
		if l.stats.ClientBytesIn != before {
			t.Error("a loop that stops reads on")
		}
	})
	if got := c.reply(); got != "+PONG\r\n" {
		t.Error(got)
	}
}

// A loop has its processor to itself only if everybody else has one.
func TestProcessorsAreLeftToOthers(t *testing.T) {
	before := kept.Load()
	procs := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(procs)
	runtime.GOMAXPROCS(int(before) + 2)
	loops := make([]loop, 3)
	for i := range loops {
		loops[i].keepProcessor()
		if got, want := loops[i].keeps, i == 0; got != want {
			t.Errorf("loop %d keeps its processor: %v, want %v", i, got, want)
		}
	}
	for i := range loops {
		loops[i].leaveProcessor()
		loops[i].leaveProcessor()
	}
	if got := kept.Load(); got != before {
		t.Errorf("%d processors are kept in the end, want %d", got, before)
	}
}
