package proxy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/command"
	"sluice/proxy/local"
	"sluice/proxy/resp"
)

// monitor is a client that asked to see every command of its pool. Commands are shown by the loops of the clients that
// send them and written by the loop of the monitor:
//
//	any loop --add--> lines --drain, when the monitor has read what it was sent--> its connection
//
// What does not fit into lines is dropped and counted, so a monitor that does not read slows nobody down.
type monitor struct {
	client *client
	room   int // bytes of lines that may wait

	mu      sync.Mutex // guards the rest
	lines   []byte
	spare   []byte // the memory of the lines that were written last
	dropped int    // lines since the last one in lines
	woken   bool   // drain is going to run
	started bool   // MONITOR is answered
}

// monitorRoom is how many bytes of lines wait for a monitor at most, and as many again in its connection.
const monitorRoom = 1 << 20

// monitorBook is the list of a pool's monitors. Safe for concurrent use; the loops only load it.
type monitorBook struct {
	mu   sync.Mutex // held while list is replaced
	list atomic.Pointer[[]*monitor]
}

func (b *monitorBook) all() []*monitor {
	if list := b.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (b *monitorBook) add(m *monitor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := append(slices.Clone(b.all()), m)
	b.list.Store(&list)
}

func (b *monitorBook) remove(m *monitor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(b.all()), func(o *monitor) bool { return o == m })
	b.list.Store(&list)
}

// cmdMonitor is answered when every loop shows its commands. It waits until nothing of its client is in flight, so
// no line gets between the parts of a reply. As in Redis, a client that monitors already gets no answer.
func cmdMonitor(c *client, _ [][]byte) stall {
	if c.monitor != nil {
		return stallNone
	}
	if !c.pipe.empty() {
		return stallDrain
	}
	m := &monitor{client: c, room: min(monitorRoom, c.loop.server.limits().ClientOutput/4)}
	c.monitor, c.alone = m, true
	c.pool.monitors.add(m)
	c.whenAllKnow(func(dst []byte) []byte {
		m.mu.Lock()
		m.started = true
		m.mu.Unlock()
		return resp.AppendStatus(dst, "OK")
	})
	return stallNone
}

// endMonitor is called when a client resets its connection or is gone.
func (c *client) endMonitor() {
	if c.monitor == nil {
		return
	}
	c.pool.monitors.remove(c.monitor)
	c.monitor = nil
	c.pool.onClients((*client).observe)
}

// observe makes the client show its commands while there is a monitor, and wait while its pool is paused.
func (c *client) observe() {
	c.setMode(modeObserved, len(c.pool.monitors.all()) > 0)
	c.unpause()
}

// refusedToMonitors reports whether a client that monitors may not run a command, as in Redis: to it a monitor is a
// kind of replica.
func refusedToMonitors(cmd *command.Command) bool {
	return cmd.Flags&(command.Write|command.ReadOnly|command.MayReplicate) != 0
}

const errMonitors = "ERR Replica can't interact with the keyspace"

// runObserved is run for a client whose commands are shown. Redis does not show those for operators.
func (c *client) runObserved(q request) stall {
	if q.cmd.Is(command.Admin) || plans[q.cmd.ID].kind == planRefuse {
		return c.runOrQueue(q)
	}
	var args []byte // Before the request is run: its bytes are not valid behind that.
	if len(q.raw) <= monitorRoom {
		args = appendShown(nil, local.Redact(q.cmd, q.args))
	}
	wait := c.runOrQueue(q)
	if wait == stallNone {
		c.show(args)
	}
	return wait
}

// show gives a line to the monitors; nil stands for arguments that are too long for any. The database is that after the
// command, as in Redis.
func (c *client) show(args []byte) {
	var line []byte
	if args != nil {
		line = appendLineHead(nil, c.db, showAddr(c.addr))
		line = append(append(line, args...), '\r', '\n')
	}
	for _, m := range c.pool.monitors.all() {
		m.add(line, c.db)
	}
}

// appendShown adds the arguments of a request, each behind a blank.
func appendShown(dst []byte, args [][]byte) []byte {
	for _, arg := range args {
		dst = local.AppendQuoted(append(dst, ' '), arg)
	}
	return dst
}

// appendLineHead adds what a line begins with: "+1700000000.123456 [0 127.0.0.1:5000]".
func appendLineHead(dst []byte, db int, addr string) []byte {
	now := time.Now()
	return fmt.Appendf(dst, "+%d.%06d [%d %s]", now.Unix(), now.Nanosecond()/1000, db, addr)
}

// showAddr is the address of a client as Redis shows it: that of a unix socket with its kind and without a port.
func showAddr(addr string) string {
	if strings.HasPrefix(addr, "/") || strings.HasPrefix(addr, "@") {
		return "unix:" + strings.TrimSuffix(addr, ":0")
	}
	return addr
}

// appendDropped adds the line that stands for those that were dropped.
func appendDropped(dst []byte, db, n int) []byte {
	return fmt.Appendf(appendLineHead(dst, db, "proxy"), " \"sluice\" \"dropped\" \"%d\"\r\n", n)
}

// droppedLine is more than the line takes that tells of dropped ones.
const droppedLine = 100

// add takes a line, from any loop, of a client that is in the database db; nil is one that is too long.
func (m *monitor) add(line []byte, db int) {
	m.mu.Lock()
	switch {
	case line == nil || len(m.lines)+len(line)+droppedLine > m.room:
		m.dropped++
	case m.dropped > 0:
		m.lines = append(appendDropped(m.lines, db, m.dropped), line...)
		m.dropped = 0
	default:
		m.lines = append(m.lines, line...)
	}
	wake := !m.woken
	m.woken = true
	m.mu.Unlock()
	if wake {
		m.client.loop.execute(m.drain)
	}
}

// drain writes the lines that wait. While the monitor has not read what it was sent, or is in the middle of a
// reply, the next tick tries again. On the loop of the monitor.
func (m *monitor) drain() {
	c := m.client
	if c.closing || c.monitor != m {
		return
	}
	inReply := !c.pipe.empty() && c.pipe.at(c.pipe.head).flags&passedPart != 0
	m.mu.Lock()
	if !m.started || inReply || c.conn.OutboundBuffered() > 0 {
		m.mu.Unlock()
		c.loop.monitors = append(c.loop.monitors, m)
		c.loop.server.raisePace(paceSoon)
		return
	}
	lines := m.lines
	if m.dropped > 0 {
		lines = appendDropped(lines, c.db, m.dropped)
	}
	m.lines, m.dropped, m.woken = m.spare[:0], 0, false
	m.mu.Unlock()
	if len(lines) > 0 && !c.is(modeMuted) {
		c.write(lines)
	}
	m.mu.Lock()
	m.spare = lines
	m.mu.Unlock()
}

// drainMonitors tries again what could not be written, and reports whether there is still some.
func (l *loop) drainMonitors() bool {
	waiting := l.monitors
	l.monitors = nil
	for _, m := range waiting {
		m.drain()
	}
	return len(l.monitors) > 0
}
