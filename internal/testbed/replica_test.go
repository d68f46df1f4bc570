package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (s *Server) expect(t *testing.T, want string, args ...string) {
	t.Helper()
	if v := s.Do(args...); v.String() != want {
		t.Fatalf("%s: %s, want %q", args, v, want)
	}
}

func TestReplicaBehindARelay(t *testing.T) {
	t.Parallel()
	master := Redis(t, "--requirepass", "secret")
	master.expect(t, "OK", "SET", "k", "1")
	replica, relay := ReplicaThrough(t, master)
	replica.expect(t, "1", "GET", "k")

	relay.Stall(FromTarget)
	master.expect(t, "OK", "SET", "k", "2")
	before := replica.Do("INFO", "replication").String()
	if !strings.Contains(before, "master_link_status:up") {
		t.Errorf("the link of a stalled replica: %s", before)
	}
	replica.expect(t, "1", "GET", "k")
	relay.Resume()
	AwaitOffset(t, master, replica)
	replica.expect(t, "2", "GET", "k")

	relay.SetDelay(time.Hour, FromTarget)
	master.expect(t, "OK", "SET", "k", "3")
	replica.expect(t, "2", "GET", "k")
	relay.SetDelay(0)
	AwaitOffset(t, master, replica)
	replica.expect(t, "3", "GET", "k")

	relay.Stall()
	master.expect(t, "OK", "SET", "k", "4")
	relay.Cut()
	Eventually(t, func() error {
		if v := replica.Do("INFO", "replication"); infoField(v, "master_link_status") != "down" {
			return fmt.Errorf("%s", v)
		}
		return nil
	}, 10*time.Second)
	relay.Resume()
	AwaitReplica(t, master, replica)
	AwaitOffset(t, master, replica)
	replica.expect(t, "4", "GET", "k")
}

func TestReplicaChangesItsMaster(t *testing.T) {
	t.Parallel()
	a, b := Redis(t), Redis(t)
	a.expect(t, "OK", "SET", "k", "a")
	for range 2 { // The second time it says that it does already.
		if err := b.ReplicaOf(a.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	AwaitReplica(t, a, b)
	b.expect(t, "a", "GET", "k")
	if v := b.Do("SET", "k", "b"); !strings.HasPrefix(v.String(), "READONLY ") {
		t.Errorf("SET at a replica: %s", v)
	}
	if err := b.NoOne(); err != nil {
		t.Fatal(err)
	}
	b.expect(t, "OK", "SET", "k", "b")
	if err := a.ReplicaOf(b.Addr()); err != nil {
		t.Fatal(err)
	}
	AwaitReplica(t, b, a)
	a.expect(t, "b", "GET", "k")
	if err := a.ReplicaOf("nowhere"); err == nil {
		t.Error("an address without a port is one")
	}
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.NoOne(); err == nil {
		t.Error("a dead server answers OK")
	}
}

func TestRestartWithAndWithoutData(t *testing.T) {
	t.Parallel()
	master := Redis(t)
	master.expect(t, "OK", "SET", "k", "1")
	replica := Replica(t, master)
	for range 2 {
		if err := master.RestartWithData(); err != nil {
			t.Fatal(err)
		}
		master.expect(t, "1", "GET", "k")
	}
	AwaitReplica(t, master, replica)
	replica.expect(t, "1", "GET", "k")
	if err := replica.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	AwaitReplica(t, master, replica) // Its command line says whom it follows.
	replica.expect(t, "1", "GET", "k")
	if err := master.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	if v := master.Do("GET", "k"); !v.IsNull() {
		t.Errorf("k is %s", v)
	}
	AwaitReplica(t, master, replica)
	if v := replica.Do("GET", "k"); !v.IsNull() {
		t.Errorf("k is %s at the replica of an empty master", v)
	}
}

// echo is a server that sends back what it gets, until the end.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func TestRelayKeepsOrderAndTheEnd(t *testing.T) {
	relay := StartRelay(t, echo(t))
	conn, err := net.Dial("tcp", relay.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rd := bufio.NewReader(conn)
	began := time.Now()
	relay.SetDelay(30 * time.Millisecond)
	const n = 200
	for i := range n {
		if _, err := fmt.Fprintf(conn, "%d\n", i); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			relay.SetDelay(10*time.Millisecond, ToTarget)
		}
	}
	for i := range n {
		line, err := rd.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != strconv.Itoa(i) {
			t.Fatalf("line %d: %q %v", i, line, err)
		}
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("to and fro in %s", took)
	}
	// What was sent before the end arrives, and then the end.
	relay.Stall()
	fmt.Fprint(conn, "last\n")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	relay.Resume()
	if rest, err := io.ReadAll(rd); err != nil || string(rest) != "last\n" {
		t.Errorf("%q %v", rest, err)
	}
}

func TestRelayCutAndNobodyThere(t *testing.T) {
	relay := StartRelay(t, echo(t))
	var conns []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", relay.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // Enrolled.
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	relay.SetDelay(time.Hour)
	fmt.Fprint(conns[0], "y")
	relay.Cut()
	for _, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("after a cut: %d bytes, %v", n, err)
		}
	}
	nobody := StartRelay(t, fmt.Sprintf("127.0.0.1:%d", FreePort(t)))
	conn, err := net.Dial("tcp", nobody.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("nobody answers %d bytes, %v", n, err)
	}
}
