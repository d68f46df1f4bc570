package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/clock"
)

// halfOpenGap is the time between two looks at what a server may still read of connections that were given up.
const halfOpenGap = int64(20 * time.Millisecond)

// barrierCheck is the time between two looks at what is in flight.
const barrierCheck = time.Millisecond

// AwaitAnswered waits until everything is answered that was sent to the nodes at addrs, or queued for them, up to now.
// Called after a topology that locks slots was put into force, it means that no command of these slots is in flight:
// new ones are held, and those of clients that have gone in the meantime count too. So does what was sent up to now on
// a connection that was given up, or is given up meanwhile, until the server has ended that, too
// (backend.Node.HalfOpen). It waits for other commands on the same connections as well, but for those that block. The
// error, when ctx ends before, names who owes answers. Not to be called on a loop; safe for concurrent use.
func (p *Pool) AwaitAnswered(ctx context.Context, addrs []string) error {
	if !p.server.running.Load() {
		return nil
	}
	nodes := p.nodesAt(addrs)
	var marks []barrierMark
	stopping := false
	onLoops := func(f func(l *loop) []barrierMark) {
		var next []barrierMark
		for _, l := range p.server.loops {
			found := make(chan []barrierMark, 1)
			if !l.execute(func() { found <- f(l) }) {
				continue // The engine has stopped, and with it everything in flight.
			}
			select {
			case m := <-found:
				next = append(next, m...)
			case <-p.server.ctx.Done():
				stopping = true
				return
			case <-ctx.Done():
				return // marks stay as they were; ctx is looked at below.
			}
		}
		marks = next
	}
	onLoops(func(l *loop) []barrierMark { return l.barrier(p, nodes) })
	began := clock.Now() // What ends from now on counts if it is marked: clients that come and go must not keep a lock waiting.
	marked := make(map[*backend.Conn]bool, len(marks))
	for _, m := range marks {
		marked[m.conn] = true
	}
	halfOpen := func(n *backend.Node) int { return n.HalfOpen(began, marked) }
	check := time.NewTicker(barrierCheck)
	defer check.Stop()
	for {
		open := 0
		for _, n := range nodes {
			if left := halfOpen(n); left > 0 {
				open += left
				n.EndHalfOpen()
				n.KickSpaced(clock.Now(), halfOpenGap)
			}
		}
		if len(marks)+open == 0 {
			break
		}
		select {
		case <-check.C:
		case <-ctx.Done():
			return fmt.Errorf("not answered yet: %s", describeMarks(marks, nodes, halfOpen))
		}
		last := marks
		onLoops(func(l *loop) []barrierMark { return unanswered(l, last) })
		if stopping {
			break
		}
	}
	if stopping {
		return errors.New("not answered: the proxy is shutting down")
	}
	return ctx.Err()
}

// barrierMark is a position in what was sent on a connection.
type barrierMark struct {
	loop *loop
	conn *backend.Conn
	upTo uint64
}

// barrier marks what is in flight to nodes, and reads at replicas: one that is answered after its key has left would
// say that there is none.
func (l *loop) barrier(p *Pool, nodes []*backend.Node) []barrierMark {
	var marks []barrierMark
	idle := l.waitingForData()
	for b := range l.conns.All() {
		concerned := slices.Contains(nodes, b.Node) || b.Replica() && p.Node(b.Node.Addr) == b.Node
		if concerned && b.Kind != backend.Subscription && !idle[b] {
			marks = append(marks, barrierMark{l, b, b.Position()})
		}
	}
	return unanswered(l, marks)
}

// waitingForData are the connections that may be silent for as long as their clients like: a blocking command of a slot
// that is not locked, or it would have been recalled, and a WAIT, which has no slot.
func (l *loop) waitingForData() map[*backend.Conn]bool {
	conns := make(map[*backend.Conn]bool)
	for x := range l.blocked {
		conns[x.conn] = !x.recalled
	}
	for w := range l.waits {
		for _, b := range w.conns {
			conns[b] = true
		}
	}
	return conns
}

// unanswered are those marks of l that are not reached.
func unanswered(l *loop, marks []barrierMark) []barrierMark {
	var left []barrierMark
	for _, m := range marks {
		if m.loop == l && !m.conn.Answered(m.upTo) {
			left = append(left, m)
		}
	}
	return left
}

func describeMarks(marks []barrierMark, nodes []*backend.Node, halfOpen func(*backend.Node) int) string {
	var names []string
	for _, node := range nodes {
		if n := halfOpen(node); n > 0 {
			names = append(names, fmt.Sprintf("%s (which may still read %d connections that were given up)", node.Addr, n))
		}
	}
	seen := make(map[string]bool)
	for _, m := range marks {
		if !seen[m.conn.Node.Addr] {
			seen[m.conn.Node.Addr] = true
			names = append(names, m.conn.Node.Addr)
		}
	}
	return strings.Join(names, ", ")
}

// backgroundCheck is the time between two looks at a background migration.
const backgroundCheck = 20 * time.Millisecond

// AwaitBackground waits until the server at addr moves no slot in the background, if it is of a family that moves
// one at a time. A dashboard whose first batch for a slot comes while the thread of the last slot is still ending
// is refused, and pauses for six seconds, in which the slot moves on paper only. It returns when ctx ends at the
// latest, and when the server can't be asked.
func (p *Pool) AwaitBackground(ctx context.Context, addr string) {
	if !p.Family.Background {
		return
	}
	check := time.NewTicker(backgroundCheck)
	defer check.Stop()
	for {
		nodes := p.nodesAt([]string{addr})
		if len(nodes) == 0 {
			return
		}
		info, err := nodes[0].Ask(ctx, "INFO", "stats")
		if err != nil || !dialect.BackgroundBusy([]byte(info.Text)) {
			return
		}
		select {
		case <-check.C:
		case <-ctx.Done():
			return
		}
	}
}

// nodesAt finds those of the addresses that the pool knows.
func (p *Pool) nodesAt(addrs []string) []*backend.Node {
	var nodes []*backend.Node
	for _, addr := range addrs {
		if n := p.Node(addr); n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
