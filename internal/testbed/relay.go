package testbed

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Direction is one of the two ways through a Relay.
type Direction int

// The directions.
const (
	ToTarget Direction = iota
	FromTarget
	directions
)

// Relay stands in front of a server and makes the way to it slow, silent or broken. For the link of a replica, which
// dials its master: the replica follows the relay, and what its master sends it is FromTarget. Safe for concurrent use.
type Relay struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	targets []string // each takes every len(targets)th connection
	next    int
	delay   [directions]time.Duration
	stalled [directions]bool
	changed chan struct{} // Closed, and replaced, when one of the above changes.
	conns   map[*relayed]bool
	closed  bool
}

// relayed is one connection.
type relayed struct {
	client, server net.Conn
	cut            chan struct{} // Closed with both.
	once           sync.Once
}

func (c *relayed) close() {
	c.once.Do(func() {
		close(c.cut)
		_ = c.client.Close()
		_ = c.server.Close()
	})
}

// chunk is what was read at once.
type chunk struct {
	bytes   []byte
	arrived time.Time
}

// chunks is how many of a direction wait in the relay; what comes behind them waits where it is, as it does with a
// slow network.
const chunks = 1024

// StartRelay starts a relay to the server at target, host:port, and ends it with the test.
func StartRelay(t TB, target string) *Relay {
	t.Helper()
	return StartRelayAt(t, net.JoinHostPort("127.0.0.1", "0"), target)
}

// StartRelayAt is StartRelay at an address of this machine.
func StartRelayAt(t TB, addr, target string) *Relay {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("%v", err)
	}
	r := &Relay{targets: []string{target}, listener: listener, changed: make(chan struct{}), conns: map[*relayed]bool{}}
	r.running.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

// Addr is the host:port that leads to the target.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// SetTargets makes new connections lead to these servers, host:port, in turn, as with a name that has several
// addresses or a balancer. Those that are open stay where they are.
func (r *Relay) SetTargets(targets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets, r.next = targets, 0
}

// Next is how many connections there were since SetTargets.
func (r *Relay) Next() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// target is where the next connection leads to.
func (r *Relay) target() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	target := r.targets[r.next%len(r.targets)]
	r.next++
	return target
}

// SetDelay makes every chunk of these directions, or of both, take d longer. What is on its way is measured anew, from
// when it came; its order stays.
func (r *Relay) SetDelay(d time.Duration, ways ...Direction) {
	r.change(ways, func(way Direction) { r.delay[way] = d })
}

// Stall lets nothing through, of these directions or of both, until Resume. Connections stay open, and new ones are
// accepted.
func (r *Relay) Stall(ways ...Direction) {
	r.change(ways, func(way Direction) { r.stalled[way] = true })
}

// Resume ends Stall.
func (r *Relay) Resume(ways ...Direction) {
	r.change(ways, func(way Direction) { r.stalled[way] = false })
}

func (r *Relay) change(ways []Direction, f func(Direction)) {
	if len(ways) == 0 {
		ways = []Direction{ToTarget, FromTarget}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, way := range ways {
		f(way)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// Cut closes all connections, with what is on its way. Who dials again gets through.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.close()
	}
}

func (r *Relay) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	_ = r.listener.Close()
	r.Cut()
	r.running.Wait()
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(client) })
	}
}

// serve relays one connection until it ends.
func (r *Relay) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", r.target(), controlTimeout)
	if err != nil {
		_ = client.Close()
		return
	}
	c := &relayed{client: client, server: server, cut: make(chan struct{})}
	defer c.close()
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.conns[c] = true
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { r.pump(c, ToTarget, c.client, c.server) })
	both.Go(func() { r.pump(c, FromTarget, c.server, c.client) })
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// pump carries one direction, and its end as an end.
func (r *Relay) pump(c *relayed, way Direction, from, to net.Conn) {
	waiting := make(chan chunk, chunks)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(waiting)
		if err := read(c, from, waiting); !errors.Is(err, io.EOF) {
			c.close()
		}
	})
	defer reader.Wait()
	for ch := range waiting {
		if !r.await(c, way, ch.arrived) {
			break
		}
		if _, err := to.Write(ch.bytes); err != nil {
			c.close()
			break
		}
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // It may be closed already.
	}
}

// read puts what it reads into waiting, until the end.
func read(c *relayed, from net.Conn, waiting chan<- chunk) error {
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case waiting <- chunk{buf[:n], time.Now()}:
			case <-c.cut:
				return net.ErrClosed
			}
		}
		if err != nil {
			return err
		}
	}
}

// await returns when a chunk may go on; it reports false when the connection was cut before that.
func (r *Relay) await(c *relayed, way Direction, arrived time.Time) bool {
	for {
		r.mu.Lock()
		stalled, rest, changed := r.stalled[way], time.Until(arrived.Add(r.delay[way])), r.changed
		r.mu.Unlock()
		if !stalled && rest <= 0 {
			return true
		}
		var due <-chan time.Time
		if !stalled {
			due = time.After(rest)
		}
		select {
		case <-due:
		case <-changed:
		case <-c.cut:
			return false
		}
	}
}
