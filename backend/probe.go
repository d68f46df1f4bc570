package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"sluice/internal/clock"
	"sluice/internal/control"
	"sluice/internal/paced"
)

// Observation is the outcome of a probe.
type Observation struct {
	Asked, Answered int64         // clock.Now before the questions left, and when the answers had come
	Version         string        // see Status
	IP              string        // of the server, as far as the connection tells
	Life            uint64        // answers with the same Life come from one process
	Process         uint64        // the number of that process, see Node.Probed; 0 when it can't tell
	Info            control.Value // the reply to INFO replication; an error on servers without it
	Loading         bool          // the server loads its data
	Heartbeat       int64         // clock.Now of the oldest of the newest heartbeats found, 0 if one is missing
	Err             error         // why there was no answer; then nothing else counts but the times and Ended
	// Ended says that a connection which had answered before has ended, which is no answer of the server of now: it may
	// have been restarted, or has closed an idle connection. The next probe follows at once, on a new connection.
	Ended bool
}

// Run probes the node every Options.ProbeInterval, or as often as SetWatch asks for, and when it is kicked, until the
// node is retired: PING and INFO replication on a connection of its own, which also tell the server's version, role and
// protocol. It is the only one who asks a node what it is; whoever needs that reads its Observations. The outcome feeds
// the breaker, so a server that accepts connections but is frozen opens it, and one that comes back closes it.
func (n *Node) Run() {
	ctx := n.ctx
	p := probe{node: n}
	defer p.close()
	for spread := 0.5; ; spread = 0.1 { // Nodes that came together are not probed together again.
		o := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		p.report(o.Err)
		p.publish(o.Err)
		if n.observe != nil {
			n.observe(o)
		}
		if o.Ended {
			n.Kick()
		}
		if o.Err == nil {
			n.endHalfOpen(ctx) // After the news: it may take as long as a few dials.
		}
		wait := time.NewTimer(paced.Shorten(n.probeWait(), spread))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-n.kicked:
			wait.Stop()
		case <-wait.C:
		}
	}
}

// Kick asks for a probe now. Safe for concurrent use; it never blocks.
func (n *Node) Kick() {
	select {
	case n.kicked <- struct{}{}:
	default: // One is due already.
	}
}

// KickSpaced is Kick, at most once in gap nanoseconds for all who call it. now is the loop clock.
func (n *Node) KickSpaced(now, gap int64) {
	if last := n.kickedAt.Load(); now-last >= gap && n.kickedAt.CompareAndSwap(last, now) {
		n.Kick()
	}
}

// SetWatch says how often somebody beside the breaker and the replicas needs evidence of the node: the shorter of every
// and Options.ProbeInterval is what counts, to a fifth. 0 is nobody. Safe for concurrent use; it never blocks. A probe
// that waits already is not made sooner; see Kick.
func (n *Node) SetWatch(every time.Duration) { n.watched.Store(int64(every)) }

// probeWait is the time to the next probe: the probe is what closes an open breaker. Replicas leave a master the
// time to be first, since they are kicked after it.
func (n *Node) probeWait() time.Duration {
	opts := n.Options()
	wait, watched := opts.ProbeInterval, time.Duration(n.watched.Load())
	if n.Status().Role == "replica" {
		wait, watched = wait+wait/4, watched+watched/5
	}
	if watched > 0 {
		wait = min(wait, watched)
	}
	if !n.Available() {
		return min(wait, opts.BreakerOpen)
	}
	return wait
}

// probe is what the goroutine of Run owns.
type probe struct {
	node    *Node
	control *Control // nil while there is none
	life    uint64
	process uint64 // that was reached last
	opened  int64  // clock.Now when control was opened
	proven  bool   // control has answered a probe
	jitter  float64
	status  Status
}

// once asks the node. Half an answer is none.
func (p *probe) once(ctx context.Context) Observation {
	o := Observation{Asked: clock.Now()}
	o.Err = p.ask(ctx, &o)
	o.Answered, o.Life, o.Process = clock.Now(), p.life, p.process
	if o.Err != nil {
		o.Ended = p.proven && !isSilence(o.Err)
		p.close()
	}
	p.proven = o.Err == nil
	return o
}

// renew dials anew, because somebody asks for it, the server could not tell who it is or the connection is old. The
// one that there is goes on if that fails.
func (p *probe) renew(ctx context.Context) {
	asked, age := p.node.lookAgain.Swap(false), p.node.Options().MaxConnectionAge
	if p.control != nil && (asked || p.process == 0 || age > 0 && clock.Now()-p.opened > jittered(age, p.jitter)) {
		p.opened = clock.Now() // Also if it fails: it is tried again at that age.
		_ = p.open(ctx)
	}
}

func (p *probe) ask(ctx context.Context, o *Observation) error {
	p.renew(ctx)
	if p.control == nil {
		if err := p.open(ctx); err != nil {
			return err
		}
	}
	o.Asked = clock.Now()
	questions := [][]string{{"PING"}, {"INFO", "replication"}}
	beat := p.node.heartbeat.Load()
	if beat != nil {
		questions = append(questions, beat.commands(o.Asked)...)
	}
	replies, err := p.control.Do(ctx, questions...)
	if err != nil {
		return err
	}
	p.status.RTT = time.Duration(clock.Now() - o.Asked)
	p.node.smoothLatency(int64(p.status.RTT))
	ping, info := replies[0], replies[1]
	// A server that loads its data or that is a stale replica answers an error: it lives, and what the
	// error means for requests shows in their replies.
	if err := ping.Err(); err != nil && isAuthError(err) {
		return fmt.Errorf("%w: PING: %w", ErrGreeting, err)
	}
	if addr, ok := p.control.conn.RemoteAddr().(*net.TCPAddr); ok {
		o.IP = addr.IP.String()
	}
	o.Version = p.status.Version
	o.Info, o.Loading = info, ping.Kind == control.Error && strings.HasPrefix(ping.Text, "LOADING")
	switch role := infoField(info.Text, "role"); {
	case strings.HasPrefix(role, "master"):
		p.status.Role = "master"
	case role == "slave", role == "replica":
		if p.status.Role == "master" {
			p.node.LookAgain(lookSoon) // Whoever has made it a replica may have moved its name.
		}
		p.status.Role = "replica"
	}
	if beat != nil && !beat.Write {
		o.Heartbeat = oldestHeartbeat(replies[2:])
	}
	return nil
}

// lookSoon is the least time between two looks at a name while requests wait for what it leads to.
const lookSoon = int64(250 * time.Millisecond)

// open connects, learns what the server is and leaves the connection that there was. Where that one was whole, and both
// lead to one process without a doubt, Life goes on.
func (p *probe) open(ctx context.Context) error {
	c, err := p.node.OpenControl(ctx, false, probeLimits)
	if err != nil {
		return err
	}
	if err := p.learn(ctx, c); err != nil {
		c.Close()
		return err
	}
	if err := p.learnLimit(ctx, c); err != nil {
		c.Close()
		return err
	}
	if p.control == nil || c.peer.process == 0 || c.peer.process != p.process || !c.peer.unique {
		p.life++
	}
	p.close()
	p.control, p.process, p.opened, p.jitter = c, c.peer.process, clock.Now(), rand.Float64()
	p.proven = false
	return nil
}

// learn asks what the server is.
func (p *probe) learn(ctx context.Context, c *Control) error {
	replies, err := c.Do(ctx, []string{"HELLO", "3"})
	if err != nil {
		return err
	}
	p.status.RESP3 = Unsupported
	if hello := replies[0]; hello.Kind != control.Error {
		fields, _ := hello.Fields()
		if saysRESP3(fields) {
			p.status.RESP3 = Supported
		}
		p.status.Version, p.status.Role = fields["version"].Text, fields["role"].Text
		if p.status.Version != "" {
			return nil
		}
	}
	if replies, err = c.Do(ctx, []string{"INFO"}); err != nil {
		return err
	}
	if p.status.Version = infoField(replies[0].Text, "redis_version"); p.status.Version == "" {
		p.status.Version = infoField(replies[0].Text, "pika_version")
	}
	p.status.Role = strings.Replace(infoField(replies[0].Text, "role"), "slave", "replica", 1)
	return nil
}

// learnLimit asks how many clients the server allows. A server that does not say so has no limit that is known.
func (p *probe) learnLimit(ctx context.Context, c *Control) error {
	if p.node.Options().MaxDedicated > 0 {
		return nil
	}
	replies, err := c.Do(ctx, []string{"INFO", "clients"})
	if err != nil {
		return err
	}
	allowed, err := strconv.ParseInt(infoField(replies[0].Text, "maxclients"), 10, 32)
	if err != nil || allowed < 0 {
		allowed = 0
	}
	p.node.maxClients.Store(int32(allowed))
	return nil
}

// Ask runs one command on a connection of its own, for rare questions of the control side. It blocks up to twice
// Options.DialTimeout; never call it on a loop.
func (n *Node) Ask(ctx context.Context, args ...string) (control.Value, error) {
	c, err := n.OpenControl(ctx, false, control.Limits{})
	if err != nil {
		return control.Value{}, err
	}
	defer c.Close()
	replies, err := c.Do(ctx, args)
	if err != nil {
		return control.Value{}, err
	}
	return replies[0], nil
}

// report feeds the breaker. That a server which was gone is still gone is no news to anybody else. Failures of a
// node that no topology names are nobody's: when one does it begins with a closed breaker, as if it had been made
// then.
func (p *probe) report(err error) {
	n := p.node
	switch {
	case err != nil && !n.Wanted():
	case err == nil || p.status.Err == "":
		n.Report(err)
	case !n.isPause(err):
		n.feed(err)
	}
}

func (p *probe) publish(err error) {
	p.status.Err = ""
	if err != nil {
		p.status.Err = err.Error()
		p.node.setStatus(p.status)
		return
	}
	moved := p.node.setProbed(p.process)
	p.node.answeredAt.Store(clock.Now())
	p.node.setStatus(p.status)
	if moved && p.node.move != nil {
		p.node.move()
	}
}

func (p *probe) close() {
	if p.control != nil {
		p.control.Close()
		p.control = nil
	}
}

// smoothLatency takes a probe's time in. One slow answer must not move reads to another node.
func (n *Node) smoothLatency(took int64) {
	if old := n.latency.Load(); old != 0 {
		took = old + (took-old)/8
	}
	n.latency.Store(took)
}

func isAuthError(err error) bool {
	return strings.HasPrefix(strings.TrimPrefix(err.Error(), "ERR "), "NOAUTH")
}

// infoField finds "name:value" in the text that INFO answers.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
