package fakecodis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
)

// A transcript is what clients of real servers saw. Each line does one thing on s, the source, or t, the target,
// and the line behind a request is the exact reply, with \r\n written out.
//
//	s> GET a           the reply must be this
//	s?> GET a          it must become this soon: background work has ended when it does
//	s~> GET a          it must match this regular expression
//	s%> KEYS *         its elements, in any order, must be these
//	s fill {m} 5 v     SET {m}0 v0 ... {m}4 v4; with =v the value is v for all
//	s restart          after the server has died; the reply before was <EOF>
//	s freeze, s thaw
//
// 9221, 9231 and 9999 in requests stand for the ports of source, target and of nobody.
func TestTranscripts(t *testing.T) {
	f := func(file string, kind Kind) {
		t.Helper()
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) { playTranscript(t, file, kind) })
	}
	f("codis.txt", CodisServer)
	f("pika40.txt", Pika40)
	f("pika35.txt", Pika35)
}

func playTranscript(t *testing.T, file string, kind Kind) {
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	p := &player{
		servers: map[string]*Server{"s": start(t, kind, Options{}), "t": start(t, kind, Options{})},
		conns:   map[string]*rawConn{},
		dead:    testbed.FreePort(t),
	}
	defer p.close()
	lines := strings.Split(string(text), "\n")
	requests := 0
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		head, request, isRequest := strings.Cut(line, "> ")
		if !isRequest {
			p.direct(t, strings.Fields(line))
			continue
		}
		i++
		requests++
		if err := p.play(t, head, request, lines[i]); err != nil {
			t.Errorf("%s:%d: %s: %v", file, i, request, err)
		}
	}
	if requests < 50 {
		t.Errorf("only %d requests in %s", requests, file)
	}
}

type player struct {
	servers map[string]*Server
	conns   map[string]*rawConn
	dead    int
}

func (p *player) direct(t *testing.T, words []string) {
	t.Helper()
	s := p.servers[words[0]]
	switch words[1] {
	case "fill":
		n, err := strconv.Atoi(words[3])
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			value, same := strings.CutPrefix(words[4], "=")
			if !same {
				value += strconv.Itoa(i)
			}
			if v := s.Do("SET", words[2]+strconv.Itoa(i), value); v.Error() != nil {
				t.Fatal(v.Error())
			}
		}
	case "restart":
		if c := p.conns[words[0]]; c != nil {
			_ = c.conn.Close()
			delete(p.conns, words[0])
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	case "freeze":
		s.Faults.Freeze()
	case "thaw":
		s.Faults.Thaw()
	default:
		t.Fatalf("bad line %q", words)
	}
}

func (p *player) play(t *testing.T, head, request, want string) error {
	t.Helper()
	name, mode := head[:1], head[1:]
	if mode != "?" {
		return p.compare(mode, p.ask(t, name, request), want)
	}
	var last error
	deadline := time.Now().Add(2 * time.Minute) // Reached by a reply that never comes only.
	for {
		if last = p.compare("", p.ask(t, name, request), want); last == nil || time.Now().After(deadline) {
			return last
		}
	}
}

func (p *player) compare(mode, got, want string) error {
	ok := false
	switch mode {
	case "":
		ok = got == want
	case "~":
		ok = regexp.MustCompile("^" + want + "$").MatchString(got)
	case "%":
		a, b := strings.Split(got, `$`), strings.Split(want, `$`)
		slices.Sort(a)
		slices.Sort(b)
		ok = slices.Equal(a, b)
	default:
		return fmt.Errorf("bad mode %q", mode)
	}
	if !ok {
		return fmt.Errorf("got\n%s\nwant\n%s", got, want)
	}
	return nil
}

// ask sends a request and returns the raw reply with \r\n written out.
func (p *player) ask(t *testing.T, name, request string) string {
	t.Helper()
	args := strings.Split(request, " ")
	for i, arg := range args {
		switch arg {
		case "9221":
			args[i] = strconv.Itoa(p.servers["s"].Port())
		case "9231":
			args[i] = strconv.Itoa(p.servers["t"].Port())
		case "9999":
			args[i] = strconv.Itoa(p.dead)
		}
	}
	if p.conns[name] == nil {
		p.conns[name] = dialRaw(t, p.servers[name].Addr())
	}
	reply, err := p.conns[name].ask(args...)
	if err != nil {
		_ = p.conns[name].conn.Close()
		delete(p.conns, name)
		if errors.Is(err, io.EOF) {
			return "<EOF>"
		}
		t.Fatalf("%s: %v", request, err)
	}
	return recordedPort(strings.ReplaceAll(reply, "\r\n", `\r\n`), p.servers["t"].Port())
}

func (p *player) close() {
	for _, c := range p.conns {
		_ = c.conn.Close()
	}
}

// recordedPort puts the recorded port and length into a line of STATUS.
func recordedPort(reply string, port int) string {
	line := "dest server: 127.0.0.1:"
	ours, theirs := line+strconv.Itoa(port), line+"9231"
	return strings.ReplaceAll(reply, fmt.Sprintf(`$%d\r\n%s`, len(ours), ours), fmt.Sprintf(`$%d\r\n%s`, len(theirs), theirs))
}

// rawConn reads replies as they are.
type rawConn struct {
	conn net.Conn
	rd   *bufio.Reader
}

func dialRaw(t testbed.TB, addr string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	return &rawConn{conn: conn, rd: bufio.NewReader(conn)}
}

func (c *rawConn) send(args ...string) error {
	_, err := c.conn.Write([]byte(fake.Bulks(args...)))
	return err
}

// ask sends a request and returns its one reply.
func (c *rawConn) ask(args ...string) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return "", err
	}
	if err := c.send(args...); err != nil {
		return "", err
	}
	return c.reply()
}

func (c *rawConn) reply() (string, error) {
	line, err := c.rd.ReadString('\n')
	if err != nil {
		return "", io.EOF // A reset as well: the peer is gone.
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(c.rd, body); err != nil {
			return "", io.EOF
		}
		return line + string(body), nil
	case '*':
		for range n {
			part, err := c.reply()
			if err != nil {
				return "", err
			}
			line += part
		}
	}
	return line, nil
}
