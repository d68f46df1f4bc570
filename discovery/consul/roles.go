package consul

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/control"
	"sluice/router/lag"
)

// roleLimits bound the answer to INFO replication; that of a master with a thousand replicas has about 100 KB.
var roleLimits = control.Limits{Bytes: 1 << 20, Elements: 1 << 12}

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

// access is what a node lets us in with, and how long it may take.
type access struct {
	user, password string
	timeout        time.Duration
}

// SetAccess changes what the nodes are asked for their roles with, from the next connection on, and Config.Timeout from the
// next question on. Safe for concurrent use.
func (s *Source) SetAccess(user, password string, timeout time.Duration) {
	s.probers.mu.Lock()
	s.probers.access = &access{user, password, timeout}
	s.probers.mu.Unlock()
	s.probers.kickAll()
}

// accessNow is that of the moment.
func (p *probers) accessNow() access {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.access != nil {
		return *p.access
	}
	return access{p.cfg.Username, p.cfg.Password, p.cfg.Timeout}
}

// prober asks one node. Its goroutine owns conn; mu of probers guards last.
type prober struct {
	addr   string
	kick   chan struct{} // capacity 1
	cancel context.CancelFunc
	conn   *control.Conn
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
	now := p.accessNow()
	ctx, cancel := context.WithTimeout(ctx, now.timeout)
	defer cancel()
	if n.conn != nil {
		if repl, err := askRole(ctx, n.conn); err == nil {
			return repl, nil
		}
		// The server may have been restarted, or has closed an idle connection: that is no answer of the server of now.
		n.hangUp()
	}
	conn, err := control.Dial(ctx, n.addr, control.Options{
		User: now.user, Password: now.password, Name: p.cfg.ClientName, Limits: roleLimits, Dial: p.cfg.Dial,
	})
	if err != nil {
		return lag.Replication{}, err
	}
	n.conn = conn
	repl, err := askRole(ctx, conn)
	if err != nil {
		n.hangUp()
	}
	return repl, err
}

func askRole(ctx context.Context, c *control.Conn) (lag.Replication, error) {
	reply, err := c.Do(ctx, "INFO", "replication")
	if err == nil && reply.Err() != nil {
		err = fmt.Errorf("%s: INFO: %w", c.Addr(), reply.Err())
	}
	if err != nil {
		return lag.Replication{}, err
	}
	return dialect.ParseReplication([]byte(reply.Text)), nil
}

func (n *prober) hangUp() {
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}
