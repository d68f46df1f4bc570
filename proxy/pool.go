package proxy

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/clock"
	"sluice/proxy/hold"
	"sluice/proxy/keymove"
	"sluice/proxy/local"
	"sluice/proxy/pubsub"
	"sluice/proxy/scan"
	"sluice/proxy/script"
	"sluice/router"
)

// Pool is a set of groups behind one set of listeners. Its exported methods are safe for concurrent use;
// the loops read its atomics only.
type Pool struct {
	Name   string
	Model  router.Model
	Family *dialect.Family

	server *Server
	listen []Listen
	moved  func(slot router.Slot, addr string)
	// trouble is called when a node fails, from any goroutine.
	trouble func(addr string)
	found   func(addr string) // PoolConfig.Leaving
	observe func(addr string, o backend.Observation)
	addrs   []net.Addr // guarded by Server.mu
	nodes   *nodeSet

	mu          sync.Mutex      // guards clearCaches
	clearCaches map[string]bool // by address: has nothing in its cache that has moved away, see BeginMove

	shared
	pause pause
	ownership

	settings atomic.Pointer[PoolSettings] // written by SetSettings, read by the loops
	started  int64                        // clock.Now at which the pool was made
}

// shared is what the loops of a pool have in common. Each has a lock of its own.
type shared struct {
	holds           hold.Account
	keyMoves        keymove.Moves
	progress        keymove.Progress
	service         service
	scripts         script.Cache
	cursors         scan.Kept
	monitors        monitorBook
	subscribers     pubsub.Registry
	infos           serverInfos
	parameters      local.Kept
	declared        declared
	functionChanges atomic.Uint64 // see FunctionChanges
}

// ownership is what a pool knows of who has which slots.
type ownership struct {
	asked   atomic.Int64         // loop clock of the last askAround
	viewMu  sync.Mutex           // held while view is replaced; guards fence and places
	fence   string               // of views to come
	places  scan.Places          // guarded by viewMu
	view    atomic.Pointer[view] // read by the loops once per batch
	leaving atomic.Pointer[[]leavingSlots]
}

// view is a topology with the nodes it names. Immutable.
type view struct {
	table   *router.Table
	nodes   []*backend.Node          // by router.Node.Index; nil for indexes that table does not use
	named   map[string]*backend.Node // by address: those of nodes. Only they get requests and credentials
	masters []*backend.Node          // of all groups, each once
	since   int64                    // loop clock at which it came into force

	shares  []share     // by place
	marks   []scan.Mark // by place
	readers [][]reader  // by router.Group.Index; nil when nothing may be read from replicas
	settled []int64     // by slot: loop clock at which it last changed hands, 0 for before base; nil when none did
	base    int64       // since of the first view

	fence string // why nothing is served, "" when all is well
}

// readableGroup is the group whose replicas may be asked for keys in slot, nil when none may: the slot moves, or nobody
// owns it.
func (v *view) readableGroup(slot router.Slot) *router.Group {
	if v.readers == nil || v.fence != "" || v.table.Move(slot) != nil {
		return nil
	}
	return v.table.Owner(slot)
}

// settledAt is when the slot came to its owner, as far as this proxy knows. A replica that has not got that far may
// lack its keys.
func (v *view) settledAt(slot router.Slot) int64 {
	if v.settled == nil {
		return v.base
	}
	return max(v.base, v.settled[slot])
}

// noteSettled finds the slots that change hands between two views.
func (v *view) noteSettled(last *view) {
	v.base = v.since
	if last == nil {
		return
	}
	v.base, v.settled = last.base, last.settled
	for slot := range v.table.Model.Slots() {
		if last.table.SameOwner(v.table, router.Slot(slot)) {
			continue
		}
		if len(v.settled) == 0 || len(last.settled) > 0 && &v.settled[0] == &last.settled[0] {
			v.settled = make([]int64, v.table.Model.Slots())
			copy(v.settled, last.settled)
		}
		v.settled[slot] = v.since
	}
}

// servingMaster is the node that commands on slot are sent to as they are, nil when it is not that simple: the slot
// is locked or moving, or has no master that serves.
func (v *view) servingMaster(slot router.Slot) *backend.Node {
	if v == nil || v.fence != "" || v.table.Move(slot) != nil {
		return nil
	}
	if node := v.master(slot); node != nil && node.Serves() {
		return node
	}
	return nil
}

// master is the node to send commands on slot to, nil when nobody owns the slot.
func (v *view) master(slot router.Slot) *backend.Node {
	g := v.table.Owner(slot)
	if g == nil {
		return nil
	}
	return v.nodes[g.Master.Index]
}

// names reports whether the topology has a node at addr.
func (v *view) names(addr string) bool { return v != nil && v.named[addr] != nil }

func newPool(s *Server, cfg PoolConfig) *Pool {
	p := &Pool{
		Name: cfg.Name, Model: cfg.Model, server: s, listen: cfg.Listen, moved: cfg.Moved, observe: cfg.Observe,
		started: clock.Now(),
	}
	p.nodes = newNodeSet(p.newNode, func(n *backend.Node) { s.nodeIDs.giveBack(n.ID) })
	if p.Family = cfg.Family; p.Family == nil {
		p.Family = dialect.Redis
	}
	if p.trouble = cfg.Trouble; p.trouble == nil {
		p.trouble = func(string) {}
	}
	if p.found = cfg.Leaving; p.found == nil {
		p.found = func(string) {}
	}
	if p.moved == nil {
		p.moved = func(router.Slot, string) {}
	}
	settings := cfg.PoolSettings
	p.settings.Store(&settings)
	p.declared.set(settings.Commands)
	return p
}

// Table is the topology in force, nil before the first.
func (p *Pool) Table() *router.Table {
	if v := p.view.Load(); v != nil {
		return v.table
	}
	return nil
}

// Settings are those in force.
func (p *Pool) Settings() *PoolSettings { return p.settings.Load() }

// SetTable puts a topology into force. Nodes that it does not name keep their connections until those are
// idle, so that requests in flight are answered.
func (p *Pool) SetTable(t *router.Table) {
	size := 0
	for _, n := range t.Nodes {
		size = max(size, n.Index+1)
	}
	v := &view{table: t, nodes: make([]*backend.Node, size), since: clock.Now()}
	v.named = make(map[string]*backend.Node, len(t.Nodes))
	for _, n := range t.Nodes {
		v.nodes[n.Index] = p.node(n.Addr)
		v.named[n.Addr] = v.nodes[n.Index]
	}
	for _, g := range t.Groups {
		if node := v.nodes[g.Master.Index]; !slices.Contains(v.masters, node) {
			v.masters = append(v.masters, node)
		}
	}
	p.viewMu.Lock()
	v.fence = p.fence
	v.noteSettled(p.view.Load())
	v.setReaders(p.settings.Load())
	v.shares = sharesOf(v.table, p.places.Assign(v.table.Groups))
	v.marks = p.places.Marks()
	p.view.Store(v)
	p.viewMu.Unlock()
	p.nodes.markWanted(v.named)
	p.onLoops((*loop).settle)
}

// SetSettings puts settings into force: users and their rights, also for those who are connected and from their next
// request on; backend options for the next dial.
func (p *Pool) SetSettings(s PoolSettings) {
	p.settings.Store(&s)
	p.declared.set(s.Commands)
	for _, n := range p.nodes.list(true) {
		n.SetOptions(&s.Backend)
		if n.Named() {
			n.LookAgain(0)
		}
	}
	p.viewMu.Lock()
	if v := p.view.Load(); v != nil {
		next := *v
		next.setReaders(&s)
		p.view.Store(&next)
	}
	p.viewMu.Unlock()
	p.onLoops((*loop).settle)
	p.onClients((*client).renew)
}

// Fence makes the pool refuse every command on keys, or ends that: it has lost its lease, and somebody may believe
// that it is gone.
func (p *Pool) Fence(on bool) {
	p.viewMu.Lock()
	p.fence = ""
	if on {
		p.fence = errFenced
	}
	if v := p.view.Load(); v != nil {
		next := *v
		next.fence = p.fence
		p.view.Store(&next)
	}
	p.viewMu.Unlock()
	p.onLoops((*loop).settle)
}

// onLoops runs f on every loop, soon.
func (p *Pool) onLoops(f func(l *loop, p *Pool)) {
	if !p.server.running.Load() {
		return
	}
	for _, l := range p.server.loops {
		l.execute(func() { f(l, p) })
	}
}

// newNode makes a node that does nothing yet.
func (p *Pool) newNode(addr string) *backend.Node {
	opts := p.settings.Load().Backend
	n := backend.NewNode(p.server.nodeIDs.take(), addr, &opts)
	n.OnFailure(p.trouble)
	n.OnMove(func() {
		p.server.log.Info("an address leads to another process than before", "pool", p.Name, "backend", addr)
		p.onLoops(func(l *loop, _ *Pool) { l.conns.LeaveStrays(n) })
	})
	if p.observe != nil {
		n.OnProbe(func(o backend.Observation) { p.observe(addr, o) })
	}
	return n
}

// speaksRESP3 reports whether clients may be offered RESP3: no master is known not to speak it.
func (p *Pool) speaksRESP3() bool {
	v := p.view.Load()
	if v == nil {
		return true
	}
	for _, g := range v.table.Groups {
		if v.nodes[g.Master.Index].Status().RESP3 == backend.Unsupported {
			return false
		}
	}
	return true
}

// serverVersion is the version of a master, for clients that choose commands by it.
func (p *Pool) serverVersion() string {
	if v := p.view.Load(); v != nil {
		for _, g := range v.table.Groups {
			if version := v.nodes[g.Master.Index].Status().Version; version != "" {
				return version
			}
		}
	}
	return fallbackVersion
}

// fallbackVersion is the Redis whose command table Sluice carries.
const fallbackVersion = "7.2.0"

// askGap is how often, while requests wait for a master, everybody is asked who that is.
const askGap = int64(50 * time.Millisecond)

// askAround reports trouble with the master at addr, at most every askGap.
func (p *Pool) askAround(now int64, addr string) {
	if last := p.asked.Load(); now-last >= askGap && p.asked.CompareAndSwap(last, now) {
		p.trouble(addr)
	}
}

// masters is the number of masters and how many of them take requests.
func (p *Pool) masters() (up, all int) {
	v := p.view.Load()
	if v == nil {
		return 0, 0
	}
	for _, g := range v.table.Groups {
		all++
		if v.nodes[g.Master.Index].Answers() {
			up++
		}
	}
	return up, all
}

// Ready reports whether the pool has a topology and is not fenced, and at least one master answers.
func (p *Pool) Ready() bool {
	if v := p.view.Load(); v == nil || v.fence != "" {
		return false
	}
	up, _ := p.masters()
	return up > 0
}
