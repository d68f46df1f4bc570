package replication

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/clock"
	"sluice/router"
	"sluice/router/lag"
)

// Rules say what replicas have to be like.
type Rules struct {
	Enabled   bool          // some reads may go to replicas
	Interval  time.Duration // between two probes of a node
	MaxLag    time.Duration // the most by which a replica may be behind
	MaxBehind int64         // the same in the unit of the family's offsets; 0 is no limit
	Heartbeat bool          // write heartbeats where offsets prove nothing
	// AcceptExpiryLoss reads replicas of servers that lose keys which were written with an expiry, see
	// dialect.ReplicaFault.
	AcceptExpiryLoss bool
	KeepOrphans      bool // read replicas of a master that does not answer, however old their data becomes
}

// Config is what a Watcher needs. Pool, Family and Node are required.
type Config struct {
	Pool   string
	Family *dialect.Family
	// Node finds a node of the pool by its address, nil when there is none any more. Safe for concurrent use.
	Node func(addr string) *backend.Node
	// Adopt, unless nil, is told the new master of a group, when the old one has given way to it. It must not block.
	Adopt func(group router.GroupID, addr string)
	// Invite, unless nil, is told of a server that the group does not have and that may be its master by now. The group
	// has it as a replica then, which may follow; see lag.Group.MasterCandidates. It must not block.
	Invite func(group router.GroupID, addr string)
	// InviteReplicas makes Invite be told of the replicas that a master lists, to be read once they are proven, and of
	// nobody else.
	InviteReplicas bool
	// Trouble, unless nil, is told when a node is not what the topology says. It must not block.
	Trouble func()
	// ID names this proxy in the keys of its heartbeats.
	ID      string
	Rules   Rules
	Journal *Journal
	Log     *slog.Logger
}

// Watcher watches the groups of one pool. Safe for concurrent use. Use New.
type Watcher struct {
	cfg  Config
	wake chan struct{} // capacity 1: that there is something to compare

	kickers atomic.Pointer[map[string]*kicker] // by address; replaced, never changed

	mu     sync.Mutex
	rules  Rules
	table  *router.Table
	groups map[router.GroupID]*group
	byAddr map[string]*group
	names  [][]string // of heartbeats, by slot; nil until they are needed
}

// group is a group and what is being done about it.
type group struct {
	*lag.Group
	spec     *router.Group
	moving   bool   // slots are leaving it or coming to it
	fault    string // of the master's version, see dialect.ReplicaFault
	comparer comparer
	adopted  string // the last master that was proposed for it
	invited  []string
}

// kickDelay is how long after a master its replicas are asked: about what replication takes, so that their offsets can
// have reached the master's.
const kickDelay = 2 * time.Millisecond

// New returns a Watcher that judges what it is given; comparisons need Run.
func New(cfg Config) *Watcher {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Journal == nil {
		cfg.Journal = NewJournal(0)
	}
	w := &Watcher{
		cfg: cfg, wake: make(chan struct{}, 1), rules: cfg.Rules,
		groups: make(map[router.GroupID]*group), byAddr: make(map[string]*group),
	}
	w.kickers.Store(new(map[string]*kicker))
	return w
}

// Run compares suspects and looks for silent nodes until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { w.compareSuspects(ctx) })
	for {
		timer := time.NewTimer(w.interval())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			w.judgeAll()
		}
	}
}

func (w *Watcher) interval() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.rules.Interval, 10*time.Millisecond)
}

// SetRules puts new rules into force.
func (w *Watcher) SetRules(r Rules) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules = r
	for _, g := range w.groups {
		g.SetRules(w.lagRules())
	}
	w.setHeartbeats()
}

// Rules are those in force.
func (w *Watcher) Rules() Rules {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rules
}

// lagRules are the rules as package lag wants them.
func (w *Watcher) lagRules() lag.Rules {
	r := w.rules
	return lag.Rules{
		OffsetsProve: w.cfg.Family.OffsetsProve, Heartbeats: r.Heartbeat && !w.cfg.Family.OffsetsProve,
		RelinkUnproven: w.cfg.Family.RelinkUnproven, Unread: !r.Enabled,
		MaxLag: int64(r.MaxLag), MaxBehind: r.MaxBehind, KeepOrphans: r.KeepOrphans, MaxAge: int64(3*r.Interval + 100*time.Millisecond),
	}
}

// SetTable takes the topology in force.
func (w *Watcher) SetTable(t *router.Table) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table = t
	groups := make(map[router.GroupID]*group, len(t.Groups))
	before := w.byAddr
	w.byAddr = make(map[string]*group)
	for _, spec := range t.Groups {
		g := w.groups[spec.ID]
		if g == nil {
			g = &group{Group: lag.NewGroup(w.lagRules())}
		}
		if g.spec != nil && g.spec.Master.Addr != spec.Master.Addr {
			w.cfg.Journal.Add(Event{
				Pool: w.cfg.Pool, Group: string(spec.ID), Node: spec.Master.Addr, Kind: "master",
				From: g.spec.Master.Addr, To: spec.Master.Addr, Reason: "the topology names another master",
			})
		}
		g.spec, g.adopted = spec, ""
		g.SetMembers(spec.Master.Addr, addrsOf(spec.Replicas))
		g.invited = slices.DeleteFunc(g.invited, func(addr string) bool { _, has := g.Verdict(addr); return !has })
		groups[spec.ID] = g
		for _, n := range append([]*router.Node{spec.Master}, spec.Replicas...) {
			w.byAddr[n.Addr] = g
		}
		w.judge(g, clock.Now())
	}
	w.groups = groups
	w.setKickers()
	w.setHeartbeats()
	for addr := range w.byAddr {
		if n := w.cfg.Node(addr); n != nil && before[addr] == nil { // It may have been asked before, for others.
			n.Kick()
		}
	}
	for addr := range before {
		if n := w.cfg.Node(addr); n != nil && w.byAddr[addr] == nil { // It is none of ours any more, and is probed on.
			n.SetHeartbeat(nil)
			n.SetProof(nil)
		}
	}
}

func addrsOf(nodes []*router.Node) []string {
	addrs := make([]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = n.Addr
	}
	return addrs
}

// Observe takes the outcome of a probe.
func (w *Watcher) Observe(addr string, o backend.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.byAddr[addr]
	if g == nil {
		return
	}
	if err := o.Info.Err(); err != nil && !o.Loading && o.Err == nil {
		o.Err = fmt.Errorf("INFO: %w", err) // BUSY and the like: half an answer is none.
	}
	if o.Err != nil {
		if _, ok := g.Sample(addr); ok {
			// A connection that is lost may mean that the server was restarted, and serves again with other data.
			if n := w.cfg.Node(addr); n != nil {
				n.Kick()
			}
		}
		g.Fail(addr, o.Answered, o.Err.Error())
	} else {
		dropped := g.Observe(addr, lag.Sample{
			Replication: dialect.ParseReplication([]byte(o.Info.Text)), Asked: o.Asked, Answered: o.Answered,
			Life: o.Life, Process: o.Process, IP: o.IP, Loading: o.Loading, Heartbeat: o.Heartbeat,
		})
		if dropped != "" {
			w.cfg.Log.Warn("evidence of a group dropped", "group", g.spec.ID, "master", addr, "why", dropped)
			w.cfg.Journal.Add(Event{
				Pool: w.cfg.Pool, Group: string(g.spec.ID), Node: addr, Kind: "evidence", Reason: dropped,
			})
		}
	}
	isMaster := addr == g.spec.Master.Addr
	if isMaster && o.Err == nil {
		w.setFault(g, w.cfg.Family.ReplicaFault(o.Version))
	}
	w.judge(g, clock.Now())
	switch {
	case !w.rules.Enabled || o.Err != nil:
	case isMaster:
		w.kickLater(kickDelay, addrsOf(g.spec.Replicas)...)
	case g.OnItsWay(addr):
		w.kickLater(w.rules.Interval/4, addr)
	}
}

// setFault notes what the master's version does to its replicas. The caller holds mu.
func (w *Watcher) setFault(g *group, fault string) {
	if g.fault == fault {
		return
	}
	g.fault = fault
	if fault == "" || !w.rules.Enabled {
		return
	}
	w.cfg.Log.Warn("replicas lack keys whatever they say", "group", g.spec.ID, "master", g.spec.Master.Addr, "why", fault,
		"read", w.rules.AcceptExpiryLoss)
}

// unread is why no replica of the group is read, "" when nothing is against it.
func (g *group) unread(r Rules) string {
	switch {
	case g.moving:
		return "not read while slots of the group move"
	case g.fault != "" && !r.AcceptExpiryLoss:
		return "not read: " + g.fault + " (reads.accept_expiry_loss)"
	}
	return ""
}

// kickLater asks for evidence of nodes after a while.
func (w *Watcher) kickLater(d time.Duration, addrs ...string) {
	if len(addrs) == 0 {
		return
	}
	time.AfterFunc(d, func() {
		for _, addr := range addrs {
			if n := w.cfg.Node(addr); n != nil {
				n.Kick()
			}
		}
	})
}

// kickGap is the least time between two kicks of a group: who is in trouble asks often.
const kickGap = int64(50 * time.Millisecond)

// Kick asks for evidence of all nodes of a group now: something went wrong with the one at addr. Loops call it, so it takes
// no lock of the Watcher.
func (w *Watcher) Kick(addr string) {
	k := (*w.kickers.Load())[addr]
	if k == nil {
		return
	}
	now := clock.Now()
	if last := k.at.Load(); now-last >= kickGap && k.at.CompareAndSwap(last, now) {
		w.kickLater(0, k.addrs...)
	}
}

// kicker is a group as Kick needs it.
type kicker struct {
	addrs []string
	at    atomic.Int64 // when it was kicked last
}

// setKickers publishes the groups for Kick.
func (w *Watcher) setKickers() {
	byAddr := make(map[string]*kicker, len(w.byAddr))
	for _, g := range w.groups {
		k := &kicker{addrs: append(addrsOf(g.spec.Replicas), g.spec.Master.Addr)}
		for _, addr := range k.addrs {
			byAddr[addr] = k
		}
	}
	w.kickers.Store(&byAddr)
}

// SetMoving names masters that take part in a migration which the topology does not show. A replica is not told what
// leaves its master before it has left, so the replicas of these are not read.
func (w *Watcher) SetMoving(addrs []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := clock.Now()
	for _, g := range w.groups {
		if moving := slices.Contains(addrs, g.spec.Master.Addr); moving != g.moving {
			g.moving = moving
			w.judge(g, now)
		}
	}
}

// judgeAll lets evidence grow old.
func (w *Watcher) judgeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := clock.Now()
	for _, g := range w.groups {
		w.judge(g, now)
	}
}

// judge computes the verdicts of a group and acts on them. The caller holds mu.
func (w *Watcher) judge(g *group, now int64) {
	for _, t := range g.Judge(now) {
		level := slog.LevelInfo
		if t.To == lag.Broken || t.To == lag.Diverged {
			level = slog.LevelWarn
		}
		w.cfg.Log.Log(context.Background(), level, "node changed its state",
			"group", g.spec.ID, "node", t.Addr, "from", g.stateName(t.Addr, t.From), "to", g.stateName(t.Addr, t.To), "why", t.Reason)
		w.cfg.Journal.Add(Event{
			Pool: w.cfg.Pool, Group: string(g.spec.ID), Node: t.Addr, Kind: "state",
			From: g.stateName(t.Addr, t.From), To: g.stateName(t.Addr, t.To), Reason: t.Reason,
		})
	}
	_, masterAnswers := g.Sample(g.spec.Master.Addr)
	for _, r := range g.spec.Replicas {
		n := w.cfg.Node(r.Addr)
		if n == nil {
			continue
		}
		var proof *lag.Proof
		if w.rules.Enabled && g.unread(w.rules) == "" {
			proof = g.Proof(r.Addr)
		}
		n.SetProof(proof)
		v, _ := g.Verdict(r.Addr)
		if w.rules.Enabled && v.Suspect {
			w.signal()
		}
		// While the master is silent its replicas have no other evidence than what they had, and the look would drop it.
		_, answers := g.Sample(r.Addr)
		bad := masterAnswers && !v.Suspect && (v.State == lag.Diverged || v.State == lag.Broken)
		w.look(r.Addr, answers && bad && now-v.Since >= lookGap)
	}
	master, answers := g.Sample(g.spec.Master.Addr)
	w.look(g.spec.Master.Addr, answers && master.Role == lag.Replica)
	if n := w.cfg.Node(g.spec.Master.Addr); n != nil {
		n.SetProof(nil)
	}
	w.findSuccessor(g, now)
	w.findUnlisted(g, now)
}

// findSuccessor proposes a new master when the group has one.
func (w *Watcher) findSuccessor(g *group, now int64) {
	heir, why := g.Successor(now)
	if heir == "" || heir == g.adopted {
		return
	}
	g.adopted = heir
	if w.cfg.Trouble != nil {
		w.cfg.Trouble()
	}
	if w.cfg.Adopt == nil {
		return
	}
	w.cfg.Log.Warn("a replica has become the master", "group", g.spec.ID, "old", g.spec.Master.Addr, "new", heir, "why", why)
	w.cfg.Journal.Add(Event{
		Pool: w.cfg.Pool, Group: string(g.spec.ID), Node: heir, Kind: "master",
		From: g.spec.Master.Addr, To: heir, Reason: why,
	})
	w.cfg.Adopt(g.spec.ID, heir)
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // It is awake already.
	}
}

// Status describes the groups for people, in the order of the topology.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	var s Status
	if w.table == nil {
		return s
	}
	now, wall := clock.Now(), time.Now()
	for _, spec := range w.table.Groups {
		g := w.groups[spec.ID]
		out := GroupStatus{ID: string(spec.ID)}
		for i, n := range append([]*router.Node{spec.Master}, spec.Replicas...) {
			st := describe(g, n.Addr, w.rules, now, wall)
			if why := strays(w.cfg.Node(n.Addr)); why != "" {
				st.Reason += "; " + why
			}
			st.Zone = spec.Zones[n.Addr]
			if i == 0 {
				st.Role = "master"
			}
			out.Nodes = append(out.Nodes, st)
		}
		s.Groups = append(s.Groups, out)
	}
	return s
}

func describe(g *group, addr string, rules Rules, now int64, wall time.Time) NodeStatus {
	v, _ := g.Verdict(addr)
	s, seen := g.Sample(addr)
	st := NodeStatus{
		Addr: addr, Role: "replica", Says: s.Role.String(), Reason: v.Reason,
		Since: wall.Add(-time.Duration(now - v.Since)), Readable: v.Readable,
		Lag: -1, LagBytes: v.Behind, EvidenceAge: -1, Offset: -1,
	}
	if seen {
		st.EvidenceAge, st.Offset, st.ReplID = time.Duration(now-s.Answered), s.Offset, s.ID
	}
	st.State = g.stateName(addr, v.State)
	if why := g.unread(rules); why != "" && v.Readable {
		st.Readable, st.Reason = false, v.Reason+"; "+why
	}
	switch isMaster := addr == g.spec.Master.Addr; {
	case isMaster && v.State == lag.InSync:
		st.Lag = 0
	case v.CaughtUpTo != 0:
		st.Lag = time.Duration(now - v.CaughtUpTo)
	}
	return st
}

// stateName names the state of a node for people: a master has nobody to be in sync with.
func (g *group) stateName(addr string, s lag.State) string {
	if s == lag.InSync && addr == g.spec.Master.Addr {
		return "serving"
	}
	return s.String()
}

// sorted lists the groups by id, so that their turns come round.
func (w *Watcher) sorted() []*group {
	ids := make([]router.GroupID, 0, len(w.groups))
	for id := range w.groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	groups := make([]*group, len(ids))
	for i, id := range ids {
		groups[i] = w.groups[id]
	}
	return groups
}
