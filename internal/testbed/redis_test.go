package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestRedisKeepsItsPortOverARestart(t *testing.T) {
	s := Redis(t, "--maxmemory", "64mb")
	addr, pid := s.Addr(), s.PID()
	if got := s.Do("CONFIG", "GET", "maxmemory").Array()[1].String(); got != "67108864" {
		t.Errorf("the extra arguments did not arrive: maxmemory %s", got)
	}
	if v := s.Do("SET", "k", "v"); v.String() != "OK" {
		t.Fatalf("SET: %s", v)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr || s.PID() == pid {
		t.Errorf("%s with process %d, was %s with %d", s.Addr(), s.PID(), addr, pid)
	}
	if v := s.Do("GET", "k"); !v.IsNull() {
		t.Errorf("a restart kept the data: %s", v)
	}
}

func TestKilledServerRefusesConnections(t *testing.T) {
	s := Redis(t)
	if err := errors.Join(s.Kill(), s.Kill()); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("somebody listens")
	}
	if v := s.Do("PING"); !strings.HasPrefix(v.String(), "NOREPLY ") || v.Error() == nil {
		t.Errorf("PING: %s", v)
	}
	if !strings.Contains(s.Log(), "Ready to accept connections") {
		t.Errorf("log: %s", s.Log())
	}
}

func TestStoppedServerIsSilentUntilItContinues(t *testing.T) {
	s := Redis(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatalf("the kernel accepts for a stopped server: %v", err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PING\r\n")
	f := func(within time.Duration, want string) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		n, err := conn.Read(buf)
		if got := string(buf[:n]); got != want || (want == "") != errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %q (%v), want %q", got, err, want)
		}
	}
	f(50*time.Millisecond, "")
	if err := s.Cont(); err != nil {
		t.Fatal(err)
	}
	f(5*time.Second, "+PONG\r\n")
}

func TestStoppedServerCanBeKilled(t *testing.T) {
	s := Redis(t)
	if err := errors.Join(s.Stop(), s.Kill(), s.Restart()); err != nil {
		t.Fatal(err)
	}
	if v := s.Do("PING"); v.String() != "PONG" {
		t.Errorf("PING: %s", v)
	}
}

func TestStartReportsWhatIsWrong(t *testing.T) {
	f := func(name string, opts Options, want string) {
		t.Helper()
		opts.Dir = t.TempDir()
		s, err := StartRedis(t.Context(), opts)
		if err == nil {
			s.Close()
			t.Errorf("%s: it started", name)
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f("bad argument", Options{Args: []string{"--no-such-option", "1"}}, "no-such-option")
	f("port taken", Options{Port: taken.Addr().(*net.TCPAddr).Port}, errPortTaken.Error())
	t.Setenv("PATH", t.TempDir())
	f("no binary", Options{}, "apt-get install redis-server")
}

func TestOwnDirectoryIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := StartRedis(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReplicaFollowsAMasterWithPassword(t *testing.T) {
	master := Redis(t, "--requirepass", "secret")
	if v := master.Do("SET", "k", "v"); v.String() != "OK" {
		t.Fatalf("SET: %s", v)
	}
	replica := Replica(t, master)
	if v := replica.Do("GET", "k"); v.String() != "v" {
		t.Errorf("after the first sync GET answers %s", v)
	}
	master.Do("SET", "k", "w")
	Eventually(t, func() error {
		if v := replica.Do("GET", "k"); v.String() != "w" {
			return fmt.Errorf("GET answers %s", v)
		}
		return nil
	}, 5*time.Second)
}

// The server must not outlive a parent that had no chance to clean up.
func TestServerDiesWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), playParentEnv+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	addr := lines.Text()
	conn, dialErr := net.Dial("tcp", addr)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // It was killed: the error says so.
	if dialErr != nil {
		t.Fatalf("the parent printed %q: %v", addr, dialErr)
	}
	defer conn.Close()
	if runtime.GOOS != "linux" {
		t.Logf("no parent death signal on %s: only the start was tested", runtime.GOOS)
		return
	}
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server lives on without its parent")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	line := strings.Repeat("x", 1000) + "\n"
	for i := range 200 {
		fmt.Fprintf(&l, "%d %s", i, line)
	}
	got := l.String()
	if len(got) != tailBytes || !strings.HasSuffix(got, "\n199 "+line) {
		t.Errorf("%d bytes that end in %q", len(got), got[max(0, len(got)-20):])
	}
}

func TestEventually(t *testing.T) {
	n := 0
	Eventually(t, func() error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		return nil
	}, 5*time.Second)
	if n != 3 {
		t.Errorf("asked %d times", n)
	}
	tb := &fakeTB{TB: t}
	Eventually(tb, func() error { return errors.New("the last error") }, 30*time.Millisecond)
	if !strings.Contains(tb.fatal, "the last error") || !strings.Contains(tb.fatal, "30ms") {
		t.Errorf("a condition that never holds ends with %q", tb.fatal)
	}
}

// fakeTB records what would end a test.
type fakeTB struct {
	TB
	fatal string
}

func (f *fakeTB) Fatalf(format string, args ...any) { f.fatal = fmt.Sprintf(format, args...) }

func TestFreePortsAreFreeAndOutsideTheEphemeralRange(t *testing.T) {
	seen := make(map[int]bool)
	for range 20 {
		port := FreePort(t)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port > highestPort || seen[port] {
			t.Errorf("port %d", port)
		}
		seen[port] = true
	}
}

func TestPollEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := poll(ctx, func() error { return os.ErrNotExist }); !errors.Is(err, context.Canceled) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("poll: %v", err)
	}
}
