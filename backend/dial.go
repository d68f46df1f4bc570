package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/internal/clock"
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

// peer is what the greeting of a connection has shown of its other end.
type peer struct {
	id     int64  // what the server calls the connection, see CLIENT ID; 0 when it does not say
	at     int64  // clock.Now when it was greeted
	local  string // our address, as the server sees it unless something translates addresses
	echoes bool   // it answers ECHO
}

// connect dials the node and greets it: HELLO 3 or AUTH, SELECT, READONLY, CLIENT SETNAME; then it asks for what goes into
// to, if that is not nil. It blocks up to Options.DialTimeout; never call it on a loop.
func (n *Node) connect(ctx context.Context, use purpose, to *peer) (net.Conn, error) {
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
	if err := n.greet(nc, opts, use, to); err != nil {
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

func (n *Node) greet(nc net.Conn, opts *Options, use purpose, to *peer) error {
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
	var name []string
	if opts.Name != "" {
		name = []string{"CLIENT", "SETNAME", opts.Name}
	}
	if to == nil {
		g.all(name)
		return g.err
	}
	number := appendEchoed(nil, rand.Uint64())
	replies := g.all(name, []string{"CLIENT", "ID"}, []string{"ECHO", string(number[len(number)-2-echoSize : len(number)-2])})
	if g.err == nil {
		to.local, to.at = nc.LocalAddr().String(), clock.Now()
		to.id = integer(replies[len(replies)-2]) // CLIENT ID is there since Redis 5.0.
		to.echoes = g.isEcho(replies[len(replies)-1], number)
	}
	if g.err == nil && len(g.replies.buf) > 0 {
		g.err = fmt.Errorf("dial %s: %w: %w", g.addr, ErrGreeting, errShifted)
	}
	return g.err
}

// isEcho checks that the reply to ECHO is the number. It returns false when the server does not know the command.
func (g *greeter) isEcho(reply, number []byte) bool {
	if reply[0] == '-' {
		return false
	}
	if string(reply) != string(number) {
		g.err = fmt.Errorf("dial %s: %w: ECHO: %w", g.addr, ErrGreeting, errShifted)
	}
	return g.err == nil
}

// integer reads an integer reply; any other is 0.
func integer(reply []byte) int64 {
	digits, ok := bytes.CutPrefix(reply, []byte(":"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 10, 64)
	if !ok || err != nil {
		return 0
	}
	return n
}

// greeter sends commands and reads their replies. It stops at the first error.
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
	replies := g.all(args)
	if g.err != nil {
		return nil
	}
	return replies[0]
}

// all runs commands whose error replies do not matter, at once; empty ones are left out.
func (g *greeter) all(commands ...[]string) (replies [][]byte) {
	commands = slices.DeleteFunc(commands, func(args []string) bool { return len(args) == 0 })
	if g.err != nil || len(commands) == 0 {
		return nil
	}
	var out []byte
	for _, args := range commands {
		out = resp.AppendCommand(out, args...)
	}
	_, err := g.replies.conn.Write(out)
	for i := 0; i < len(commands) && err == nil; i++ {
		var reply []byte
		reply, err = g.replies.next()
		replies = append(replies, reply)
	}
	if err != nil {
		g.err = fmt.Errorf("dial %s: %s: %w", g.addr, commands[max(0, len(replies)-1)][0], err)
	}
	return replies
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
