package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"syscall"

	"sluice/internal/control"
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
	data      bool // for requests of clients
}

// peer is what the greeting of a connection has shown of its other end.
type peer struct {
	process uint64 // the number of the process that it is, see identity; 0 when it can't tell
	unique  bool   // no other process says the same of itself
	id      int64  // what the server calls the connection, see CLIENT ID; 0 when it does not say
	local   string // our address, as the server sees it unless something translates addresses
	name    string // what the server was told to call it, see CLIENT SETNAME
	echoes  bool   // it answers ECHO
}

// connect dials the node, whose name it looks up each time, and greets it: HELLO 3 or AUTH, SELECT, READONLY, CLIENT
// SETNAME; then it asks for what goes into to. It blocks up to Options.DialTimeout; never call it on a loop.
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
	c := control.New(nc, n.Addr, greetingLimits)
	info, err := greet(ctx, c, opts, n.connectionName(), use, to)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("dial %w", err)
	}
	if who, told := identityOf(info, nc); told {
		to.process, to.unique = n.processes.number(who), who.unique
	}
	if err := setUserTimeout(nc, opts.UserTimeout); err != nil {
		c.Close()
		return nil, err
	}
	if nc, err = c.Release(); err != nil {
		return nil, fmt.Errorf("dial %w", err)
	}
	to.local = nc.LocalAddr().String()
	return nc, nil
}

// connectionName is Options.Name and a number that no other connection of this node has: #1, #2 and so on.
func (n *Node) connectionName() string {
	name := n.Options().Name
	if name == "" {
		return ""
	}
	return name + "#" + strconv.FormatUint(n.named.Add(1), 10)
}

// greet sends one command at a time, but for those at the end that can't fail, and returns what the server says of
// itself. Its errors begin with the address.
func greet(ctx context.Context, c *control.Conn, opts *Options, name string, use purpose, to *peer) (info control.Value, err error) {
	g := greeter{ctx: ctx, conn: c}
	proto, db := use.proto, use.db
	var hello control.Value
	user := opts.User
	if user == "" {
		user = "default"
	}
	switch {
	case proto == 3 && opts.Password != "":
		hello = g.must("HELLO", "3", "AUTH", user, opts.Password)
	case proto == 3:
		hello = g.must("HELLO", "3")
	case opts.Password != "" && opts.User != "":
		g.must("AUTH", user, opts.Password)
	case opts.Password != "":
		g.must("AUTH", opts.Password)
	}
	if fields, _ := hello.Fields(); proto == 3 && (isNoRESP3(g.err) || g.err == nil && !saysRESP3(fields)) {
		return info, fmt.Errorf("%s: %w", c.Addr(), ErrNoRESP3)
	}
	if db != 0 {
		g.must("SELECT", strconv.Itoa(db))
	}
	if use.replica && opts.Cluster {
		g.may("READONLY") // Dragonfly's replicas need none and take it; a refusal shows in the first MOVED.
	}
	var last [][]string
	if name != "" {
		last = append(last, []string{"CLIENT", "SETNAME", name})
	}
	number := rand.Uint64()
	last = append(last, []string{"INFO", "server"})
	if use.data {
		last = append(last, []string{"CLIENT", "ID"}, []string{"ECHO", echoNumber(number)})
	}
	replies := g.all(last)
	if g.err != nil {
		return info, g.err
	}
	to.name = name
	if !use.data {
		return replies[len(replies)-1], nil
	}
	info = replies[len(replies)-3]
	if id := replies[len(replies)-2]; id.Kind == control.Integer {
		to.id, _ = strconv.ParseInt(id.Text, 10, 64)
	}
	echo := replies[len(replies)-1]
	if echo.Kind == control.Error {
		return info, nil
	}
	if to.echoes = echo.Text == echoNumber(number); !to.echoes {
		return info, fmt.Errorf("%s: %w: ECHO: %w", c.Addr(), ErrGreeting, errShifted)
	}
	return info, nil
}

// greeter stops at the first error.
type greeter struct {
	ctx  context.Context // of the dial; held because every command ends with it
	conn *control.Conn
	err  error
}

// must runs a command that has to succeed.
func (g *greeter) must(args ...string) (reply control.Value) {
	reply = g.may(args...)
	if err := reply.Err(); err != nil && g.err == nil {
		g.err = fmt.Errorf("%s: %w: %s: %w", g.conn.Addr(), ErrGreeting, args[0], err)
	}
	return reply
}

// may runs a command whose error reply does not matter.
func (g *greeter) may(args ...string) (reply control.Value) {
	if g.err == nil {
		reply, g.err = g.conn.Do(g.ctx, args...)
	}
	return reply
}

// all runs commands whose error replies do not matter, at once.
func (g *greeter) all(commands [][]string) (replies []control.Value) {
	if g.err == nil && len(commands) > 0 {
		replies, g.err = g.conn.Pipe(g.ctx, commands...)
		if errors.Is(g.err, io.EOF) || errors.As(g.err, new(net.Error)) || errors.As(g.err, new(syscall.Errno)) {
			g.err = fmt.Errorf("%s: %w", g.conn.Addr(), errors.Unwrap(g.err)) // Which command says nothing: the connection ended.
		}
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

// saysRESP3 reports whether the fields of an answer to HELLO 3 promise it: Pika answers, and stays with RESP2.
func saysRESP3(hello map[string]control.Value) bool { return hello["proto"].Text == "3" }

// isNoRESP3 recognises how servers refuse HELLO 3: Redis before 6 and its kin don't know the command,
// later ones may know no protocol 3.
func isNoRESP3(err error) bool {
	if err == nil || !errors.Is(err, ErrGreeting) {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "noproto")
}
