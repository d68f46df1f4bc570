package fake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/tidwall/resp"
)

// ErrDead ends the work of a server that was killed.
var ErrDead = errors.New("the server was killed")

// ErrHangUp ends a connection after what was written.
var ErrHangUp = errors.New("the server closes the connection")

// Handler answers one request, with c.Write. An error of it ends the connection. ctx ends with the life of the
// host.
type Handler func(ctx context.Context, c *Client, args []string) error

// Host is the process of a fake: its listeners (doors), its connections and what works in the background. It keeps
// its ports when it is killed and begun again. Safe for concurrent use.
type Host struct {
	// Faults are its switches.
	Faults *Faults
	// After is called when a request is over, its Reply step too; nil: nothing is. Set before Begin.
	After func(c *Client)
	// HangUpAtEmpty ends the connection of a client that sends an empty line. Set before Begin.
	HangUpAtEmpty bool

	handle Handler
	calls  callCounts

	mu    sync.Mutex
	ports []int // By door; 0 before the first life.
	life  *life
}

// life is the time from a start to a kill.
type life struct {
	ctx    context.Context // Ends with the life; every goroutine of the life belongs to it.
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	dead      bool
	listeners []net.Listener // By door; nil: connections are refused.
	conns     map[net.Conn]struct{}
}

// Client is one connection. Owned by the goroutine that serves it.
type Client struct {
	// Door is the number of the listener it came through.
	Door int
	// Peer makes miniredis answer into this connection.
	Peer *server.Peer
	// State is the handler's.
	State any

	conn io.Writer // What w writes to.
	w    *bufio.Writer
}

// Write adds a complete reply. An error of the connection comes again with the next read.
func (c *Client) Write(reply string) { _, _ = c.w.WriteString(reply) }

// NewHost returns a Host with some doors that does nothing until Begin.
//
// The first door gets a free port, each other one the port of the one before it plus 10.
func NewHost(doors int, handle Handler) *Host {
	h := &Host{handle: handle, ports: make([]int, doors)}
	h.Faults = &Faults{host: h, answers: map[string]*answer{}}
	return h
}

// Begin starts a life: all doors open.
func (h *Host) Begin() error {
	if h.Port(0) != 0 {
		return h.begin()
	}
	// Free ports lie below those that outgoing connections get: a client that redials a dead server could be handed
	// the server's port as its own otherwise, and be connected to itself.
	var err error
	for range 100 {
		h.Number(10000 + rand.IntN(22000))
		if err = h.begin(); err == nil {
			return nil
		}
		h.current().wg.Wait()
	}
	h.Number(0)
	return err
}

// Number gives the first door its port, and so all others. Call it before Begin, or never.
func (h *Host) Number(first int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for door := range h.ports {
		h.ports[door] = first + doorGap*door
	}
}

// doorGap is between the ports of two doors.
const doorGap = 10

func (h *Host) begin() error {
	l := &life{conns: map[net.Conn]struct{}{}, listeners: make([]net.Listener, len(h.ports))}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	h.mu.Lock()
	h.life = l
	h.mu.Unlock()
	for door := range h.ports {
		if err := h.open(door); err != nil {
			h.Die()
			return err
		}
	}
	return nil
}

// Die ends the life as SIGKILL does, without waiting, so that what is part of it may call it.
func (h *Host) Die() {
	l := h.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	l.cancel()
	for door, listener := range l.listeners {
		if listener != nil {
			_ = listener.Close()
			l.listeners[door] = nil
		}
	}
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// Kill is Die, and returns when nothing of the life runs any more.
func (h *Host) Kill() {
	h.Die()
	h.current().wg.Wait()
}

// Go runs f in the background of this life. It reports false, and does nothing, when the host is dead.
func (h *Host) Go(f func(ctx context.Context)) bool {
	l := h.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false
	}
	l.wg.Go(func() { f(l.ctx) })
	return true
}

// Port is that of a door.
func (h *Host) Port(door int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ports[door]
}

// Addr is the host:port of a door.
func (h *Host) Addr(door int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(h.Port(door)))
}

func (h *Host) current() *life {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.life
}

// open opens a door of this life, if it is not open.
func (h *Host) open(door int) error {
	l := h.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead || l.listeners[door] != nil {
		return nil
	}
	listener, err := net.Listen("tcp", h.Addr(door))
	if err != nil {
		return err
	}
	l.listeners[door] = listener
	l.wg.Go(func() { h.accept(l, door, listener) })
	return nil
}

func (h *Host) close(door int) error {
	l := h.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listeners[door] == nil {
		return nil
	}
	err := l.listeners[door].Close()
	l.listeners[door] = nil
	return err
}

func (h *Host) accept(l *life, door int, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if !l.enroll(conn) {
			_ = conn.Close()
			return
		}
		l.wg.Go(func() {
			h.serve(l.ctx, door, conn)
			l.leave(conn)
		})
	}
}

func (l *life) enroll(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *life) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = conn.Close()
	delete(l.conns, conn)
}

// serve answers one client until it leaves or the server dies.
func (h *Host) serve(ctx context.Context, door int, conn net.Conn) {
	w := bufio.NewWriterSize(conn, 64<<10)
	r := bufio.NewReaderSize(flushBeforeRead{conn, w}, 64<<10)
	c := &Client{Door: door, Peer: server.NewPeer(w), conn: conn, w: w}
	for {
		args, err := readRequest(r)
		if err != nil {
			return
		}
		if len(args) == 0 {
			if h.HangUpAtEmpty {
				_ = w.Flush()
				return
			}
			continue
		}
		if err := h.request(ctx, c, args); err != nil {
			if !errors.Is(err, ErrDead) {
				_ = w.Flush()
			}
			return
		}
	}
}

// request passes one request through the faults to the handler.
func (h *Host) request(ctx context.Context, c *Client, args []string) error {
	name := strings.ToUpper(args[0])
	count := h.calls.of(name)
	count.begin()
	defer count.end()
	if h.After != nil {
		defer h.After(c)
	}
	if h.Faults.active.Load() != 0 {
		if err := c.w.Flush(); err != nil { // What is answered must not wait for, or die with, this one.
			return err
		}
	}
	if err := h.Faults.Pass(ctx, Command, name); err != nil {
		return err
	}
	if reply, ok := h.Faults.canned(name); ok {
		c.Write(reply)
		return nil
	}
	if err := h.handle(ctx, c, args); err != nil {
		return err
	}
	if c.Peer.Closed() {
		return ErrHangUp
	}
	return h.Faults.Pass(ctx, Reply, name)
}

// Flush writes what is answered so far. A handler that is going to wait calls it.
func (c *Client) Flush() { _ = c.w.Flush() }

// flushBeforeRead writes what is answered before it waits for more, so that the replies to a pipeline leave
// together.
type flushBeforeRead struct {
	conn net.Conn
	w    *bufio.Writer
}

var _ io.Reader = flushBeforeRead{}

func (f flushBeforeRead) Read(p []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, err
	}
	return f.conn.Read(p)
}

// Silently drops what f writes to the peer.
func (c *Client) Silently(f func()) {
	c.Flush()
	f()
	c.w.Reset(c.conn)
}

// Ask runs f for a client without a connection and returns the reply that f writes to it.
func Ask(f func(c *Client) error) resp.Value {
	var buf bytes.Buffer
	w := bufio.NewWriterSize(&buf, 512)
	err := f(&Client{Peer: server.NewPeer(w), conn: &buf, w: w})
	if err == nil || errors.Is(err, ErrHangUp) {
		err = w.Flush()
	}
	if err != nil {
		return resp.ErrorValue(fmt.Errorf("NOREPLY %w", err))
	}
	v, _, err := resp.NewReader(&buf).ReadValue()
	if err != nil {
		return resp.ErrorValue(fmt.Errorf("NOREPLY %w", err))
	}
	return v
}
