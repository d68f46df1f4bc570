// Package mover moves the keys of slots from one server to another, in the way of each store family. It knows nothing
// of topologies: discovery/controller says when a batch of slots may be moved, and that nobody but the family's own way
// of moving a key writes to them at the source.
//
// A mover may be stopped at any time, and begun again by another process: it asks the source what is left. Its errors
// are for people, and name the server.
package mover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/discovery/controller"
	"sluice/internal/control"
	"sluice/router"
)

// Batch is what is moved.
type Batch struct {
	Slots  []router.Slot
	Model  router.Model
	Source string // host:port of the master that has the keys
	Target string // host:port of the master that is to have them
	Access control.Options
	// Token is the fencing token of the move, Tokens all that servers may know of; 0 before the lock.
	Token  uint64
	Tokens []uint64
	Pace   controller.Pace
	// Fence is asked before each command: an error says that another controller may be at work. nil: nobody is.
	Fence func() error
}

// Mover moves the keys of a batch. An error that can't be helped by trying again is Final.
type Mover interface {
	// Check says what is in the way before anything has happened.
	Check(ctx context.Context, b Batch) error
	// Prepare makes the target ready for clients of the slots, which are locked meanwhile. It has to be quick.
	Prepare(ctx context.Context, b Batch) error
	// Copy moves keys until the source has none of the slots. report is called now and then, on the caller's goroutine.
	Copy(ctx context.Context, b Batch, report func(controller.Progress)) error
	// Verify looks whether the source has keys of the slots left.
	Verify(ctx context.Context, b Batch) error
	// Clean makes both sides forget the move, which is over or has not begun.
	Clean(ctx context.Context, b Batch) error
}

// Final is an error that stays whatever is tried.
type Final struct{ Err error }

func (f Final) Error() string { return f.Err.Error() }

// Unwrap returns the error.
func (f Final) Unwrap() error { return f.Err }

// Lost is an error of a server that has lost what it knows of the move: the batch has to be locked again.
type Lost struct{ Err error }

func (l Lost) Error() string { return l.Err.Error() }

// Unwrap returns the error.
func (l Lost) Unwrap() error { return l.Err }

// finalf is an error that stays.
func finalf(format string, args ...any) error { return Final{fmt.Errorf(format, args...)} }

// Movers are those of one family. Safe for concurrent use.
type Movers struct {
	family string
	caches caches
}

// New returns the movers of a family, by its name in the configuration.
func New(family string) *Movers { return &Movers{family: family} }

// Of is the mover for a method, as the topology names it; an error says that there is none.
func (m *Movers) Of(method string) (Mover, error) {
	switch {
	case m.family == "redis":
		return redis{}, nil
	case m.family == "codis":
		return codis{sync: method == "sync"}, nil
	case m.family == "pika" && method == "sync":
		return codis{sync: true, pika: &m.caches}, nil
	case m.family == "pika":
		return nil, errors.New("slots of a Pika are moved with --method sync only, for now")
	}
	return nil, fmt.Errorf("there is no mover for dialect %q yet", m.family)
}

// askTimeout bounds one question that is answered at once.
const askTimeout = 5 * time.Second

// maxAnswer bounds what a server answers to one command: a DUMP may be as large as a server takes.
const maxAnswer = 600 << 20

// dialAbortive makes connections whose end drops what has not arrived: it must not arrive when nobody waits for it.
func dialAbortive(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		err = tcp.SetLinger(0)
	}
	return c, err
}

// dial opens a connection to a server of the batch.
func (b *Batch) dial(ctx context.Context, addr string) (*control.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	o := b.Access
	o.Limits.Bytes, o.Dial = maxAnswer, dialAbortive
	return control.Dial(ctx, addr, o)
}

// ask sends a command that is answered at once. An error reply is an error that names the server.
func ask(ctx context.Context, c *control.Conn, args ...string) (control.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := c.Do(ctx, args...)
	if err == nil && v.Err() != nil {
		err = fmt.Errorf("%s answers %s with: %w", c.Addr(), args[0], v.Err())
	}
	return v, err
}

// number reads an integer.
func number(v control.Value) (n int64, ok bool) {
	n, err := strconv.ParseInt(v.Text, 10, 64)
	return n, err == nil && v.Kind == control.Integer
}

// databases are those of a server that have keys.
func databases(ctx context.Context, c *control.Conn) ([]int, error) {
	v, err := ask(ctx, c, "INFO", "keyspace")
	if err != nil {
		return nil, err
	}
	var list []int
	for line := range strings.Lines(v.Text) {
		name, _, _ := strings.Cut(line, ":")
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "db")); err == nil && strings.HasPrefix(name, "db") {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		list = []int{0} // A Pika spells it another way, and has one.
	}
	slices.Sort(list)
	return list, nil
}

// choose makes a database that of the connection.
func choose(ctx context.Context, c *control.Conn, db int) error {
	_, err := ask(ctx, c, "SELECT", strconv.Itoa(db))
	return err
}

// pause waits, for no longer than ctx.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hostPort divides the address of the target.
func (b *Batch) hostPort() (host, port string, err error) {
	host, port, err = net.SplitHostPort(b.Target)
	if err != nil {
		return "", "", Final{err}
	}
	return host, port, nil
}

// fenced reports that another controller may be at work on the batch.
func (b *Batch) fenced() error {
	if b.Fence == nil {
		return nil
	}
	return b.Fence()
}
