package backend

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"sluice/internal/clock"
)

// Run probes the node every Options.ProbeInterval until the node is retired: PING on a connection of its own, which
// also tells the server's version, role and protocol. The outcome feeds the breaker, so a server that
// accepts connections but is frozen opens it, and one that comes back closes it.
func (n *Node) Run() {
	ctx := n.ctx
	p := probe{node: n}
	defer p.close()
	for {
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		n.Report(err)
		p.publish(err)
		wait := time.NewTimer(n.probeWait())
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// probeWait is the time to the next probe: the probe is what closes an open breaker.
func (n *Node) probeWait() time.Duration {
	opts := n.Options()
	if !n.Available() {
		return min(opts.ProbeInterval, opts.BreakerOpen)
	}
	return opts.ProbeInterval
}

// probe is the control connection of a node. It belongs to the goroutine of Run.
type probe struct {
	node   *Node
	conn   net.Conn // nil while there is none
	status Status
}

func (p *probe) once(ctx context.Context) error {
	if p.conn == nil {
		if err := p.open(ctx); err != nil {
			return err
		}
	}
	start := time.Now()
	reply, err := p.ask(ctx, "PING")
	if err != nil {
		p.close()
		return err
	}
	p.status.RTT = time.Since(start)
	// A server that loads its data or that is a stale replica answers an error: it lives, and what the
	// error means for requests shows in their replies.
	if reply[0] == '-' && isAuthError(reply) {
		p.close()
		return fmt.Errorf("%w: PING: %s", ErrGreeting, bytes.TrimSpace(reply[1:]))
	}
	return p.askRole(ctx)
}

// askRole asks each time: a replica is promoted without a connection being lost.
func (p *probe) askRole(ctx context.Context) error {
	role, err := p.ask(ctx, "ROLE")
	if err != nil {
		p.close()
		return err
	}
	switch {
	case bytes.Contains(role, []byte("\r\nmaster\r\n")):
		p.status.Role = "master"
	case bytes.Contains(role, []byte("\r\nslave\r\n")), bytes.Contains(role, []byte("\r\nreplica\r\n")):
		p.status.Role = "replica"
	}
	return nil
}

// open connects and learns what the server is.
func (p *probe) open(ctx context.Context) error {
	conn, err := p.node.connect(ctx, 2, 0)
	if err != nil {
		return err
	}
	p.conn = conn
	hello, err := p.ask(ctx, "HELLO", "3")
	if err != nil {
		p.close()
		return err
	}
	if hello[0] != '-' {
		p.status.RESP3 = Supported
		p.status.Version = field(hello, "version")
		p.status.Role = field(hello, "role")
		return nil
	}
	p.status.RESP3 = Unsupported
	info, err := p.ask(ctx, "INFO")
	if err != nil {
		p.close()
		return err
	}
	p.status.Version = infoField(info, "redis_version")
	p.status.Role = strings.Replace(infoField(info, "role"), "slave", "replica", 1)
	return nil
}

// ask runs one command within the dial timeout.
func (p *probe) ask(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.node.Options().DialTimeout)
	defer cancel()
	conn := p.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	g := greeter{conn: conn, addr: p.node.Addr}
	reply := g.may(args...)
	return reply, g.err
}

// Ask runs one command on a connection of its own, for rare questions of the control side. It blocks up to twice
// Options.DialTimeout; never call it on a loop.
func (n *Node) Ask(ctx context.Context, args ...string) ([]byte, error) {
	conn, err := n.connect(ctx, 2, 0)
	if err != nil {
		return nil, err
	}
	p := probe{node: n, conn: conn}
	defer p.close()
	return p.ask(ctx, args...)
}

func (p *probe) publish(err error) {
	p.status.Err = ""
	if err != nil {
		p.status.Err = err.Error()
	} else {
		p.node.answeredAt.Store(clock.Now())
	}
	p.node.setStatus(p.status)
}

func (p *probe) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

func isAuthError(reply []byte) bool {
	return bytes.HasPrefix(reply, []byte("-NOAUTH")) || bytes.HasPrefix(reply, []byte("-ERR NOAUTH"))
}

// infoField finds "name:value" in the text that INFO answers.
func infoField(info []byte, name string) string {
	for line := range bytes.Lines(info) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(rest))
		}
	}
	return ""
}
