package consul

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/tidwall/resp"

	"sluice/backend/dialect"
	"sluice/discovery"
	"sluice/router/lag"
)

// maxInfo bounds the answer to INFO replication; a master with a thousand replicas has about 100 KB.
const maxInfo = 1 << 20

// minProbeGap is between two questions to one node, however often somebody asks for them.
const minProbeGap = 100 * time.Millisecond

// probe is what a node has answered last. The zero value is a node that was not asked yet.
type probe struct {
	asked bool
	err   error // why there was no answer
	repl  lag.Replication

	begun, answered time.Time // when it was asked, and when the answer or the error was there
	failures        int       // without an answer, in a row
	failing         time.Time // when the first of them was there
}

func (p probe) answers() bool { return p.asked && p.err == nil }

// isA reports whether the node has answered that it has this role.
func (p probe) isA(role lag.Role) bool { return p.answers() && p.repl.Role == role }

// after adds what is to be known of the questions before.
func (p probe) after(before probe) probe {
	if p.err != nil {
		p.failures, p.failing = before.failures+1, before.failing
		if before.failures == 0 {
			p.failing = p.answered
		}
	}
	return p
}

// probers ask the nodes of a pool for their roles, each with a goroutine and a connection of its own, so that one that hangs
// delays nobody's news but its own. mu guards the fields below it.
type probers struct {
	cfg  *Config
	wake chan<- struct{} // told when an answer is another one than before; capacity 1
	work sync.WaitGroup

	mu     sync.Mutex
	nodes  map[string]*prober
	access *access // instead of that of cfg; nil: none was set
}

// access is what a node lets us in with.
type access struct{ user, password string }

// SetAccess changes what the nodes are asked for their roles with, from the next connection on. Safe for concurrent use.
func (s *Source) SetAccess(user, password string) {
	s.probers.mu.Lock()
	s.probers.access = &access{user, password}
	s.probers.mu.Unlock()
	s.probers.kickAll()
}

// greeting is what the next connection begins with.
func (p *probers) greeting() [][]string {
	user, password := p.cfg.Username, p.cfg.Password
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.access != nil {
		user, password = p.access.user, p.access.password
	}
	return discovery.Greeting(user, password, p.cfg.ClientName)
}

// prober asks one node. Its goroutine owns conn; mu of probers guards last.
type prober struct {
	addr   string
	kick   chan struct{} // capacity 1
	cancel context.CancelFunc
	conn   *askedConn
	last   probe
}

// set makes probers for the given addresses and ends those of others. Called by one goroutine.
func (p *probers) set(ctx context.Context, addrs map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, n := range p.nodes {
		if !addrs[addr] {
			n.cancel()
			delete(p.nodes, addr)
		}
	}
	for addr := range addrs {
		if p.nodes[addr] != nil {
			continue
		}
		n := &prober{addr: addr, kick: make(chan struct{}, 1)}
		var nctx context.Context
		nctx, n.cancel = context.WithCancel(ctx)
		p.nodes[addr] = n
		p.work.Go(func() { p.run(nctx, n) })
	}
}

// stop ends all probers and waits for them.
func (p *probers) stop() {
	p.set(context.Background(), nil)
	p.work.Wait()
}

// last returns what the node at addr has answered last.
func (p *probers) last(addr string) probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[addr]; n != nil {
		return n.last
	}
	return probe{}
}

// kickAll asks all nodes soon. It never blocks.
func (p *probers) kickAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		select {
		case n.kick <- struct{}{}:
		default:
		}
	}
}

// run asks one node until ctx ends.
func (p *probers) run(ctx context.Context, n *prober) {
	defer n.hangUp()
	for {
		begun := time.Now()
		repl, err := p.ask(ctx, n)
		if ctx.Err() != nil {
			return
		}
		now := probe{asked: true, err: err, repl: repl, begun: begun, answered: time.Now()}
		p.mu.Lock()
		now = now.after(n.last)
		changed := !sameAnswer(n.last, now)
		n.last = now
		p.mu.Unlock()
		if changed {
			select {
			case p.wake <- struct{}{}:
			default:
			}
		}
		sleep(ctx, minProbeGap)
		interval := p.cfg.RoleInterval
		timer := time.NewTimer(max(0, interval-interval/5+rand.N(2*interval/5+1)-minProbeGap))
		select {
		case <-ctx.Done():
		case <-n.kick:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// sameAnswer reports whether both answers mean the same for who is the master.
func sameAnswer(a, b probe) bool {
	return a.asked == b.asked && (a.err == nil) == (b.err == nil) && a.repl.Role == b.repl.Role &&
		a.repl.MasterAddr == b.repl.MasterAddr && a.repl.ID == b.repl.ID && len(a.repl.Replicas) == len(b.repl.Replicas)
}

// ask asks a node once, over the connection of the last time if it still works.
func (p *probers) ask(ctx context.Context, n *prober) (lag.Replication, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if n.conn != nil {
		if repl, err := n.conn.ask(ctx, nil); err == nil {
			return repl, nil
		}
		// The server may have been restarted, or has closed an idle connection: that is no answer of the server of now.
		n.hangUp()
	}
	conn, err := p.cfg.Dial(ctx, "tcp", n.addr)
	if err != nil {
		return lag.Replication{}, err
	}
	n.conn = &askedConn{Conn: conn}
	n.conn.rd = resp.NewReader(n.conn)
	repl, err := n.conn.ask(ctx, p.greeting())
	if err != nil {
		n.hangUp()
		return lag.Replication{}, fmt.Errorf("%s: %w", n.addr, err)
	}
	return repl, nil
}

func (n *prober) hangUp() {
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}

// askedConn is a connection to a node that reads no more than an answer may have.
type askedConn struct {
	net.Conn
	rd   *resp.Reader
	left int
}

// Read implements io.Reader.
func (c *askedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes: %w", maxInfo, io.ErrShortBuffer)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// ask sends the greeting and the question.
func (c *askedConn) ask(ctx context.Context, greeting [][]string) (lag.Replication, error) {
	c.left = maxInfo
	// The reader knows no contexts.
	_ = c.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	cmds := append(greeting, []string{"INFO", "replication"})
	var out bytes.Buffer
	for _, cmd := range cmds {
		values := make([]resp.Value, len(cmd))
		for i, arg := range cmd {
			values[i] = resp.StringValue(arg)
		}
		if err := resp.NewWriter(&out).WriteArray(values); err != nil {
			return lag.Replication{}, err
		}
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		return lag.Replication{}, err
	}
	for i, cmd := range cmds {
		v, _, err := c.rd.ReadValue()
		if err != nil {
			return lag.Replication{}, fmt.Errorf("reply to %s: %w", cmd[0], err)
		}
		last := i == len(cmds)-1
		if err := v.Error(); err != nil && (last || cmd[0] == "AUTH") {
			return lag.Replication{}, fmt.Errorf("%s: %w", cmd[0], err)
		}
		if last {
			return dialect.ParseReplication(v.Bytes()), nil
		}
	}
	panic("BUG: no last command")
}
