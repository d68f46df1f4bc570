package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/proxy/resp"
)

// ErrGreeting wraps the error of a server that was reached but refused the greeting (AUTH, HELLO,
// SELECT). Dialling again soon won't help.
var ErrGreeting = errors.New("greeting refused")

// ErrNoRESP3 is returned by a dial for RESP3 when the server does not speak it.
var ErrNoRESP3 = fmt.Errorf("%w: the server does not speak RESP3", ErrGreeting)

// purpose is what a connection is for.
type purpose struct {
	proto, db int
	replica   bool // for reads from a replica
}

// connect dials the node and greets it: HELLO 3 or AUTH, CLIENT SETNAME, SELECT, READONLY. It blocks up to
// Options.DialTimeout; never call it on a loop.
func (n *Node) connect(ctx context.Context, use purpose) (net.Conn, error) {
	opts := n.Options()
	ctx, cancel := context.WithTimeout(ctx, opts.DialTimeout)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: opts.KeepAlive > 0, Idle: opts.KeepAlive, Interval: opts.KeepAlive, Count: 3,
	}}
	nc, err := d.DialContext(ctx, "tcp", n.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := n.greet(nc, opts, use); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if err := setUserTimeout(nc, opts.UserTimeout); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if !stop() {
		_ = nc.Close()
		return nil, fmt.Errorf("dial %s: greeting: %w", n.Addr, context.Cause(ctx))
	}
	return nc, nil
}

func (n *Node) greet(nc net.Conn, opts *Options, use purpose) error {
	g := greeter{addr: n.Addr, replies: replyReader{conn: nc}}
	proto, db := use.proto, use.db
	user := opts.User
	if user == "" {
		user = "default"
	}
	switch {
	case proto == 3 && opts.Password != "":
		g.must("HELLO", "3", "AUTH", user, opts.Password)
	case proto == 3:
		g.must("HELLO", "3")
	case opts.Password != "" && opts.User != "":
		g.must("AUTH", user, opts.Password)
	case opts.Password != "":
		g.must("AUTH", opts.Password)
	}
	if proto == 3 && isNoRESP3(g.err) {
		return fmt.Errorf("dial %s: %w", n.Addr, ErrNoRESP3)
	}
	if db != 0 {
		g.must("SELECT", strconv.Itoa(db))
	}
	if use.replica && opts.Cluster {
		g.may("READONLY") // Dragonfly's replicas need none and take it; a refusal shows in the first MOVED.
	}
	if opts.Name != "" {
		g.may("CLIENT", "SETNAME", opts.Name)
	}
	return g.err
}

// greeter sends one command at a time and reads its reply. It stops at the first error.
type greeter struct {
	addr    string
	replies replyReader
	err     error
}

// must runs a command that has to succeed.
func (g *greeter) must(args ...string) {
	reply := g.may(args...)
	if g.err == nil && reply[0] == '-' {
		text := strings.TrimRight(string(reply[1:]), "\r\n")
		g.err = fmt.Errorf("dial %s: %w: %s: %s", g.addr, ErrGreeting, args[0], text)
	}
}

// may runs a command whose error reply does not matter.
func (g *greeter) may(args ...string) []byte {
	if g.err != nil {
		return nil
	}
	_, err := g.replies.conn.Write(resp.AppendCommand(nil, args...))
	var reply []byte
	if err == nil {
		reply, err = g.replies.next()
	}
	if err != nil {
		g.err = fmt.Errorf("dial %s: %s: %w", g.addr, args[0], err)
	}
	return reply
}

// isLocal reports whether a dial failed for want of something on this machine.
func isLocal(err error) bool {
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// isNoRESP3 recognises how servers refuse HELLO 3: Redis before 6 and its kin don't know the command,
// later ones may know no protocol 3.
func isNoRESP3(err error) bool {
	if err == nil || !errors.Is(err, ErrGreeting) {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "noproto")
}

// field finds the value of a bulk string that follows the bulk string name in a flat reply, as in the map
// that HELLO answers.
func field(reply []byte, name string) string {
	_, rest, ok := bytes.Cut(reply, []byte("\r\n"+name+"\r\n$"))
	if !ok {
		return ""
	}
	_, rest, _ = bytes.Cut(rest, []byte("\r\n"))
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(value)
}
