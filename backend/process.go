package backend

import (
	"net"
	"sync"
	"time"

	"sluice/internal/clock"
)

// An address is not a server: names are moved, and behind a balancer each connection may reach another one. So every
// connection asks whom it has reached (INFO server, with the last round of the greeting), and the node gives each
// process a number. What the probe has found out is about the process that it talks to, and counts for connections
// with that number.
//
//	probed   the process that answered the probe last
//	stray    a connection that leads to another one, though probed has answered since it came up: it is replaced, and the
//	         probe looks the name up again when that does not help

// maxProcesses is how many processes of one address are told apart at a time. One that was forgotten gets another
// number.
const maxProcesses = 16

// processes numbers those that connections to a node have reached. Safe for concurrent use; no request comes here.
type processes struct {
	mu    sync.Mutex
	known []knownProcess // the one that was seen last at the end
	last  uint64
	conns tally // data connections that are up
	write tally // those of them that writes may be sent on
	lost  int   // connections in a row that came up as strays
}

// tally counts connections by process.
type tally struct {
	of  map[uint64]int
	all int
}

func (t *tally) add(process uint64, by int) {
	if t.of == nil {
		t.of = make(map[uint64]int)
	}
	t.all += by
	if t.of[process] += by; t.of[process] == 0 {
		delete(t.of, process)
	}
}

type knownProcess struct {
	identity
	number uint64
}

// number is that of a process, above 0.
func (p *processes) number(who identity) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.known {
		if k := p.known[i]; k.sameAs(&who) {
			k.identity = who // Clocks drift.
			p.known = append(append(p.known[:i], p.known[i+1:]...), k)
			return k.number
		}
	}
	if len(p.known) == maxProcesses {
		p.known = append(p.known[:0], p.known[1:]...)
	}
	p.last++
	p.known = append(p.known, knownProcess{who, p.last})
	return p.last
}

// Process is the number of the process that answers the probe and that all writes to the node go to; 0 while they may
// go to others too.
func (n *Node) Process() uint64 { return n.settled.Load() }

// Probed is the number of the process that answered the probe last, 0 while there is none.
func (n *Node) Probed() uint64 { return n.probed.Load() }

// Strays is how many data connections lead to another process than the probe, and how many there are.
func (n *Node) Strays() (strays, all int) {
	n.processes.mu.Lock()
	defer n.processes.mu.Unlock()
	conns := &n.processes.conns
	if probed := n.probed.Load(); probed != 0 {
		strays = conns.all - conns.of[probed]
	}
	return strays, conns.all
}

// lostDials is how many connections in a row have to come up as strays before the probe looks the name up again, and
// lostGap how often it does that for them. (Where a name leads to several servers it finds another one each time.)
const (
	lostDials = 3
	lostGap   = int64(5 * time.Second)
)

// counted notes that a data connection has come up (by 1) or has ended (by -1).
func (n *Node) counted(c *Conn, by int) {
	p, process := &n.processes, c.peer.process
	p.mu.Lock()
	p.conns.add(process, by)
	if !c.Replica() && c.pushes == nil {
		p.write.add(process, by)
	}
	probed := n.probed.Load()
	switch {
	case by < 0 || probed == 0:
	case process == probed:
		p.lost = 0
	default:
		p.lost++
	}
	lost := p.lost >= lostDials
	if lost {
		p.lost = 0
	}
	n.settle(probed)
	p.mu.Unlock()
	if lost {
		n.LookAgain(lostGap)
	}
}

// setProbed notes who answers the probe, and reports whether that is another one than before.
func (n *Node) setProbed(process uint64) (moved bool) {
	p := &n.processes
	p.mu.Lock()
	defer p.mu.Unlock()
	before := n.probed.Load()
	if process == before {
		return false
	}
	n.probed.Store(process)
	n.settle(process)
	return before != 0 && process != 0
}

// settle computes Process. The caller holds processes.mu.
func (n *Node) settle(probed uint64) {
	if n.processes.write.of[probed] != n.processes.write.all {
		probed = 0
	}
	n.settled.Store(probed)
}

// LookAgain has the probe look the name up again and dial: the server is not what it should be, so the name may lead to
// another one by now. At most once in gap nanoseconds for all who call it. Safe for concurrent use; it never blocks.
func (n *Node) LookAgain(gap int64) {
	now := clock.Now()
	if last := n.lookedAt.Load(); (last == 0 || now-last >= gap) && n.lookedAt.CompareAndSwap(last, now) {
		n.lookAgain.Store(true)
		n.Kick()
	}
}

// Named reports whether the node's address is a name, not an IP.
func (n *Node) Named() bool {
	host, _, err := net.SplitHostPort(n.Addr)
	return err == nil && net.ParseIP(host) == nil
}

// Process is the number of the process that the Conn has reached, 0 while that is not known.
func (c *Conn) Process() uint64 { return c.peer.process }

// Stray reports whether the Conn is up and leads to another process than the probe, which has heard from its own since.
func (c *Conn) Stray() bool {
	probed := c.Node.probed.Load()
	return c.state == stateUp && probed != 0 && c.peer.process != probed && c.Node.answeredAt.Load() > c.openedAt
}

// How long a stray is used before it is replaced, doubling with each one that takes its place.
const (
	strayMin = int64(250 * time.Millisecond)
	strayMax = int64(10 * time.Second)
)

// overdue reports whether the Conn has been a stray for long enough to be replaced.
func (c *Conn) overdue(now int64) bool {
	return c.Stray() && now-c.openedAt >= max(c.patience, strayMin)
}

// outlived reports whether the Conn is older than Options.MaxConnectionAge and nothing is in flight on it.
func (c *Conn) outlived(now int64) bool {
	age := c.Node.Options().MaxConnectionAge
	return age > 0 && c.state == stateUp && !c.Waiting() && now-c.openedAt > jittered(age, c.jitter)
}

// jittered is up to a tenth more or less than age; jitter is from 0 to 1.
func jittered(age time.Duration, jitter float64) int64 {
	return int64(float64(age) * (0.9 + 0.2*jitter))
}

// succeed makes a Conn that was not used yet take the place of another one: what is sent on it waits until that one
// is closed, so that the order of what is sent on both is kept.
func (c *Conn) succeed(old *Conn) {
	if !old.Closed() {
		c.behind, c.state = old, stateDialing
	}
	c.patience = 0
	if old.Stray() {
		c.patience = min(2*max(old.patience, strayMin), strayMax)
	}
}

// held reports whether the Conn may not dial yet, see succeed.
func (c *Conn) held() bool {
	if c.behind != nil && c.behind.Closed() {
		c.behind = nil
	}
	return c.behind != nil
}
