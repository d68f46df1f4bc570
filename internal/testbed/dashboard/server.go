package dashboard

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/resp"
)

// server is a connection to a codis-server or a Pika. Not safe for concurrent use.
type server struct {
	conn    net.Conn
	rd      *resp.Reader
	timeout time.Duration // of one command
}

func dialServer(ctx context.Context, addr, password string, timeout time.Duration) (*server, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &server{conn: conn, rd: resp.NewReader(conn), timeout: timeout}
	if password == "" {
		return s, nil
	}
	if _, err := s.do(ctx, "AUTH", password); err != nil {
		s.close()
		return nil, fmt.Errorf("AUTH: %w", err)
	}
	return s, nil
}

func (s *server) close() { _ = s.conn.Close() }

// servers keeps connections that are not in use, by address. Safe for concurrent use.
type servers struct {
	mu   sync.Mutex
	idle map[string][]*server
}

// take returns a connection to addr, a new one when none is idle.
func (p *servers) take(ctx context.Context, addr, password string, timeout time.Duration) (*server, error) {
	p.mu.Lock()
	idle := p.idle[addr]
	if n := len(idle); n > 0 {
		p.idle[addr] = idle[:n-1]
		p.mu.Unlock()
		return idle[n-1], nil
	}
	p.mu.Unlock()
	return dialServer(ctx, addr, password, timeout)
}

// put takes a connection back whose last command ended with err.
func (p *servers) put(addr string, s *server, err error) {
	if err != nil {
		s.close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle == nil {
		p.idle = make(map[string][]*server)
	}
	p.idle[addr] = append(p.idle[addr], s)
}

func (p *servers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, idle := range p.idle {
		for _, s := range idle {
			s.close()
		}
	}
	clear(p.idle)
}

// do sends one command. An error reply is an error.
func (s *server) do(ctx context.Context, args ...string) (resp.Value, error) {
	if err := s.conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return resp.Value{}, err
	}
	defer context.AfterFunc(ctx, s.close)()
	values := make([]resp.Value, len(args))
	for i, arg := range args {
		values[i] = resp.StringValue(arg)
	}
	if err := resp.NewWriter(s.conn).WriteArray(values); err != nil {
		return resp.Value{}, err
	}
	v, _, err := s.rd.ReadValue()
	if err == nil {
		err = v.Error()
	}
	return v, err
}

// moveSlot has the server move keys of a slot to the one at target: a batch of them with SemiAsync, a key (and those
// with its tag) with Sync. It returns how many moved and whether there are more.
func (s *server) moveSlot(
	ctx context.Context, o *Options, method Method, slot int, target string,
) (moved int, more bool, err error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return 0, false, err
	}
	args := []string{"SLOTSMGRTTAGSLOT", host, port, millis(o.Timeout), strconv.Itoa(slot)}
	if method == SemiAsync {
		args = []string{
			"SLOTSMGRTTAGSLOT-ASYNC", host, port, millis(min(o.Timeout, asyncTimeout)),
			strconv.Itoa(o.MaxBulks), strconv.Itoa(o.MaxBytes), strconv.Itoa(slot), strconv.Itoa(o.NumKeys),
		}
	}
	v, err := s.do(ctx, args...)
	if err != nil {
		return 0, false, err
	}
	pair := v.Array()
	if len(pair) != 2 || pair[0].Type() != resp.Integer || pair[1].Type() != resp.Integer {
		return 0, false, fmt.Errorf("invalid response = %v", v)
	}
	return pair[0].Integer(), pair[1].Integer() != 0, nil
}

// asyncTimeout is what migration_timeout is cut to with semi-async.
const asyncTimeout = 5 * time.Second

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// nextDatabase finds the lowest database above db that has keys, -1 when there is none.
func (s *server) nextDatabase(ctx context.Context, db int) (int, error) {
	v, err := s.do(ctx, "INFO", "keyspace")
	if err != nil {
		return 0, err
	}
	next := -1
	for line := range strings.Lines(v.String()) {
		name, _, ok := strings.Cut(line, ":")
		number, isDB := strings.CutPrefix(name, "db")
		if n, err := strconv.Atoi(number); ok && isDB && err == nil && n > db && (next < 0 || n < next) {
			next = n
		}
	}
	return next, nil
}
