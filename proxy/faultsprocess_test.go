package proxy

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// What must not end the process: panics in callbacks, and having no file descriptors left.

// brokenOwner panics when it is given the outcome of its request.
type brokenOwner struct{ onFail bool }

func (o brokenOwner) Reply(uint32, backend.Reply) {
	if !o.onFail {
		panic("test: an owner panics in Reply")
	}
}

func (o brokenOwner) Fail(uint32, backend.Failure) {
	if o.onFail {
		panic("test: an owner panics in Fail")
	}
}

// sendBroken sends a request with a brokenOwner on the connection that clients share.
func (p *testProxy) sendBroken(addr string, o brokenOwner) {
	p.panics = true
	p.onEachLoop(p.ctx, func(l *loop) {
		b := l.conns.Shared(p.pool.node(addr), 2, 0)
		if err := b.Send([]byte("*1\r\n$6\r\nBROKEN\r\n"), o, 0, l.now); err != nil {
			panic(err)
		}
		l.sent(b)
	})
}

func (p *testProxy) wantPanics(t testing.TB, want uint64) {
	t.Helper()
	if got := p.Stats().Panics; got != want {
		t.Errorf("%d panics counted, want %d", got, want)
	}
}

func TestPanicInAReplyCostsThatConnectionOnly(t *testing.T) {
	held := make(chan struct{})
	holding := func(c *scriptedConn, args []string) {
		c.wait(held)
		echoValue(c, args)
	}
	a, b := startFake(t, holding), startFake(t, holding)
	p := startProxy(t, testModel, evenly(testModel, a.addr(), b.addr()), faultOptions(nil))
	ka, kb := p.keysAt(t, a.addr(), 2), p.keysAt(t, b.addr(), 1)[0]
	c, other := p.dial(t), p.dial(t)
	c.request("GET", ka[0])
	a.await(t, 1, "GET "+ka[0])
	p.sendBroken(a.addr(), brokenOwner{})
	a.await(t, 1, "BROKEN")
	c.request("SET", ka[1], "v")
	c.request("GET", kb)
	other.request("GET", kb)
	a.await(t, 1, "SET "+ka[1]+" v")
	b.await(t, 2, "GET "+kb)
	close(held)
	c.wantReply(bulkReply(ka[0]))
	c.wantReply(unknownText(a.addr()) + "internal error\r\n")
	c.wantReply(bulkReply(kb))
	other.wantReply(bulkReply(kb))
	c.want(bulkReply(ka[0]), "GET", ka[0])
	if n := a.dataConns(); n != 2 {
		t.Errorf("%d connections to the backend, want 2", n)
	}
	if n := b.dataConns(); n != 1 {
		t.Errorf("%d connections to the other backend, want 1", n)
	}
	p.wantPanics(t, 1)
	wantLog(t, p, "an owner panics in Reply")
}

// The requests behind the one whose owner panics are failed or retried, not forgotten.
func TestPanicInAFailureForgetsNobody(t *testing.T) {
	lost := make(chan struct{})
	f := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "BROKEN" {
			c.wait(lost)
			c.hangUp()
			return
		}
		echoValue(c, args)
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	p.sendBroken(f.addr(), brokenOwner{onFail: true})
	f.await(t, 1, "BROKEN")
	reader, writer := p.dial(t), p.dial(t)
	reader.request("GET", "k")
	f.await(t, 1, "GET k")
	writer.request("SET", "k", "v")
	f.await(t, 1, "SET k v")
	close(lost)
	reader.wantReply(bulkReply("k"))
	writer.wantPrefix(unknownText(f.addr()))
	p.wantPanics(t, 1)
}

func TestPanicInAClientCostsThatClientOnly(t *testing.T) {
	f := startFake(t, echoValue)
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	broken, other := p.dial(t), p.dial(t)
	broken.want("+OK\r\n", "CLIENT", "SETNAME", "broken")
	p.onEachLoop(p.ctx, func(l *loop) {
		for _, c := range l.clients {
			if c.Name == "broken" {
				c.pool = nil
			}
		}
	})
	broken.request("GET", "k")
	broken.wantClosed()
	other.want(bulkReply("k"), "GET", "k")
	testbed.Eventually(t, func() error {
		if n := p.Clients(); n != 1 {
			return fmt.Errorf("%d clients, want 1", n)
		}
		return nil
	}, replyWait)
	p.wantPanics(t, 1)
}

// childEnv makes a test of this file, run again in a process of its own, play the child: its value is the
// address of a backend.
const childEnv = "SLUICE_TEST_CHILD"

// runChild runs the test named like t in a process of its own and returns the lines that it prints and the
// function that ends it.
func runChild(t *testing.T, backendAddr string) (next func() string, end func() error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childEnv+"="+backendAddr)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errors := new(lockedBuffer)
	cmd.Stderr = errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	next = func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the child has ended: %v\n%.3000s", cmd.Wait(), errors)
		}
		return lines.Text()
	}
	end = func() error {
		_ = stdin.Close()
		for lines.Scan() {
			t.Log("child: " + lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w\n%.3000s", err, errors)
		}
		return nil
	}
	return next, end
}

// childProxy is the child: it runs a proxy until its standard input ends. started is called once it runs.
func childProxy(t *testing.T, specs []router.GroupSpec, started func(p *testProxy), change func(*backend.Options)) {
	p := startProxy(t, testModel, specs, faultOptions(change))
	fmt.Println(p.addr)
	started(p)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// A dial that fails is one more callback.
func TestPanicBehindAFailedDial(t *testing.T) {
	dead := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	if addr := os.Getenv(childEnv); addr != "" {
		childProxy(t, evenly(testModel, addr), func(p *testProxy) {
			p.sendBroken(dead, brokenOwner{onFail: true})
			testbed.Eventually(t, func() error {
				if p.Stats().Panics == 0 {
					return fmt.Errorf("no panic yet")
				}
				return nil
			}, replyWait)
			fmt.Println("panicked")
		}, func(o *backend.Options) { o.BreakerFailures = 1 })
		return
	}
	f := startFake(t, echoValue)
	next, end := runChild(t, f.addr())
	c := dial(t, "tcp", next())
	if line := next(); line != "panicked" {
		t.Fatalf("the child says %q", line)
	}
	c.want(bulkReply("k"), "GET", "k")
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	if addr := os.Getenv(childEnv); addr != "" {
		childProxy(t, evenly(testModel, addr), func(p *testProxy) {
			limitDescriptors(t, 30)
			testbed.Eventually(t, func() error {
				if p.AcceptErrors() == 0 || !strings.Contains(p.logs.String(), "too many open files") {
					return fmt.Errorf("still accepting")
				}
				return nil
			}, replyWait)
			fmt.Println("exhausted")
		}, nil)
		return
	}
	s := testbed.Redis(t)
	next, end := runChild(t, s.Addr())
	addr := next()
	first := dial(t, "tcp", addr)
	first.want("+OK\r\n", "SET", "k", "v")
	extra := make([]net.Conn, 100)
	for i := range extra {
		extra[i] = dial(t, "tcp", addr)
	}
	if line := next(); line != "exhausted" {
		t.Fatalf("the child says %q", line)
	}
	for range 10 {
		first.want("$1\r\nv\r\n", "GET", "k")
	}
	for _, conn := range extra {
		_ = conn.Close()
	}
	// Those that nobody has accepted yet still come first, and need descriptors for a moment.
	testbed.Eventually(t, func() error {
		c := dial(t, "tcp", addr)
		defer c.Close()
		_, _ = c.Write([]byte("GET k\r\n"))
		if got, err := c.tryReply(); got != "$1\r\nv\r\n" {
			return fmt.Errorf("a new client is not served: %q, %w", got, err)
		}
		return nil
	}, replyWait)
	first.want("$1\r\nv\r\n", "GET", "k")
	if err := end(); err != nil {
		t.Error(err)
	}
}

// limitDescriptors leaves the process room for some more descriptors.
func limitDescriptors(t *testing.T, room int) {
	t.Helper()
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(len(open) + room)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}
