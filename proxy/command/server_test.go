package command

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// redisServer is a real server that lives as long as the test that started it.
type redisServer struct {
	conn net.Conn
	r    *bufio.Reader
}

// startRedis starts a server on a free port of the loopback and connects to
// it. These tests are the proof that the table is right, so a machine without
// redis-server fails them.
func startRedis(t *testing.T) *redisServer {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("redis-server is needed to compare with: %v", err)
	}
	// Somebody else may take the port between the probe and the start; then
	// the server exits and another port is tried.
	for range 3 {
		port := freePort(t)
		var output bytes.Buffer
		cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(),
			"--save", "", "--appendonly", "no", "--daemonize", "no")
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatalf("start %s: %v", path, err)
		}
		exited := make(chan struct{})
		go func() {
			_ = cmd.Wait() // killed by the test: the status says nothing
			close(exited)
		}()
		conn := dialUntil(t, "127.0.0.1:"+port, exited)
		if conn == nil {
			_ = cmd.Process.Kill()
			<-exited
			t.Logf("redis-server on port %s did not come up:\n%s", port, output.String())
			continue
		}
		t.Cleanup(func() {
			_ = conn.Close()
			_ = cmd.Process.Kill()
			<-exited
		})
		s := &redisServer{conn: conn, r: bufio.NewReader(conn)}
		pid := fmt.Sprintf("process_id:%d\r\n", cmd.Process.Pid)
		if info := s.ask(t, "INFO", "server").text; !strings.Contains(info, pid) {
			t.Fatalf("port %s is served by another process than the one started", port)
		}
		return s
	}
	t.Fatal("redis-server did not start")
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// dialUntil connects as soon as the server listens. It returns nil when the
// server exits before or does not listen in time.
func dialUntil(t *testing.T, addr string, exited <-chan struct{}) net.Conn {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn
		}
		select {
		case <-exited:
			return nil
		case <-deadline.C:
			return nil
		case <-again.C:
		}
	}
}

// version returns the first two numbers of the server's version.
func (s *redisServer) version(t *testing.T) string {
	t.Helper()
	info := s.ask(t, "INFO", "server").text
	_, rest, _ := strings.Cut(info, "redis_version:")
	parts := strings.SplitN(rest, ".", 3)
	if len(parts) < 3 {
		t.Fatalf("no version in %q", info)
	}
	return parts[0] + "." + parts[1]
}

// lacks reports whether a Redis of this version does not have the command: it is
// of a later one, or of Valkey alone.
func lacks(version string, c *Command) bool {
	return c.OnlyValkey || slices.Compare(numbers(version), numbers(c.Since)[:2]) < 0
}

// numbers takes a version apart.
func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}

// ask sends one command and returns the decoded reply.
func (s *redisServer) ask(t *testing.T, args ...string) node {
	t.Helper()
	raw := make([][]byte, len(args))
	for i := range args {
		raw[i] = []byte(args[i])
	}
	return s.askBytes(t, raw)
}

func (s *redisServer) askBytes(t *testing.T, args [][]byte) node {
	t.Helper()
	var req bytes.Buffer
	fmt.Fprintf(&req, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&req, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := s.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.conn.Write(req.Bytes()); err != nil {
		t.Fatalf("send %.60q: %v", args, err)
	}
	n, err := readNode(s.r)
	if err != nil {
		t.Fatalf("reply to %.60q: %v", args, err)
	}
	return n
}

// node is one decoded RESP value. A map of n pairs has 2n items.
type node struct {
	kind  byte
	text  string
	items []node
}

// String renders a node so that two are equal when their renderings are.
func (n node) String() string {
	switch n.kind {
	case '*', '~', '%':
		return fmt.Sprintf("%c%v", n.kind, n.items)
	}
	return fmt.Sprintf("%c%q", n.kind, n.text)
}

// field returns the value for a key of a map, whichever form it is in.
func (n node) field(name string) (node, bool) {
	for i := 0; i+1 < len(n.items); i += 2 {
		if n.items[i].text == name {
			return n.items[i+1], true
		}
	}
	return node{}, false
}

// readNode reads one value of the kinds the COMMAND family uses.
func readNode(r *bufio.Reader) (node, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return node{}, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return node{}, fmt.Errorf("bad line %q", line)
	}
	n := node{kind: line[0], text: line[1 : len(line)-2]}
	switch n.kind {
	case '+', '-', ':', '_':
		return n, nil
	case '$', '=':
		size, err := strconv.Atoi(n.text)
		if err != nil || size < 0 {
			return node{kind: '_'}, err
		}
		body := make([]byte, size+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return node{}, err
		}
		n.text = string(body[:size])
		return n, nil
	case '*', '~', '%':
		count, err := strconv.Atoi(n.text)
		if err != nil {
			return node{}, err
		}
		if n.kind == '%' {
			count *= 2
		}
		n.text = ""
		for range count {
			item, err := readNode(r)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	}
	return node{}, fmt.Errorf("unexpected %q", line)
}

// decode reads one reply of ours, which must be all there is.
func decode(t *testing.T, reply []byte) node {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(reply))
	n, err := readNode(r)
	if err != nil {
		t.Fatalf("our reply is no RESP: %v\n%.200q", err, reply)
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		t.Fatalf("our reply has %d bytes too many: %.80q", len(rest), rest)
	}
	return n
}
