package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// A proxy is a member: whoever moves slots waits until every member has said that it does as the topology says. What it
// says lies in three keys and one service.
//
//	members/<id>  it may talk to the servers: stays until it has left, or was proven gone
//	proxies/<id>  it is alive: goes with its session
//	acks/<id>     the last barrier that it has passed: goes with its session
//	service       where clients find it, and whether they should
//
// One goroutine keeps the session and its keys (session.go), one the registration (register.go), one looks at the lease
// (lease.go), so that a Consul that hangs in one request delays nothing else, least of all the end of the lease.
//
//	joining --first topology in force--> serving --Drain--> draining --Leave--> gone
//
// A lost session changes none of these states: everything is written again under a new one.

// What a proxy does that can't renew its lease any more.
const (
	OnLossServe = "serve" // go on by the topology that it knows, take no part in new moves
	OnLossFence = "fence" // stop, see MemberConfig.Fence
)

// The states of a proxy in its ProxyRecord.
const (
	StateJoining  = "joining"
	StateServing  = "serving"
	StateDraining = "draining"
)

const (
	// reconcileEvery is how often what others may have undone is looked for: every 30 s a few reads per proxy.
	reconcileEvery = 30 * time.Second
	// leaveBudget bounds Leave. What is left behind without it: the session for at most twice its TTL, the service until
	// DeregisterAfter, members/<id> until it is forgotten.
	leaveBudget = 5 * time.Second
)

// MemberConfig is what a Member needs. Client, Root, ID, Pool and Addr are required.
type MemberConfig struct {
	Client  *api.Client
	Root    string // "sluice/<pool>/"
	ID      string // of the proxy, stable while the process lives, and nobody else's
	Name    string // of the service; default "sluice"
	Pool    string
	Version string
	Addr    string // host:port where clients connect; a host of "" or 0.0.0.0 is that of the agent
	Admin   string // host:port of the admin server, "" none
	Zone    string
	// Unregistered leaves the service out: the proxy is a member only.
	Unregistered bool
	// TTL of the session, default 15s. A stock Consul refuses less than 10s.
	TTL             time.Duration
	CheckTTL        time.Duration // of the TTL check, default 10s
	DeregisterAfter time.Duration // how long critical until Consul drops the service, default 30m
	// Healthy says whether the event loops make progress; nil is yes. It may take a moment but must return: while it does
	// not, the TTL check runs out, which is as it should be.
	Healthy func() bool
	// Ready says whether clients are welcome; nil is yes. As Healthy.
	Ready func() bool
	Log   *slog.Logger
	// OnLoss is OnLossServe, the default, or OnLossFence.
	OnLoss string
	// Fence is called with OnLossFence, from one goroutine of Run: with true when the lease is lost, or was never had when
	// Run begins; with false when it is regained. Never twice in a row with the same. It must not block.
	Fence func(on bool)
	// Fresh, unless nil, returns when a topology that was read after the call is in force. Fence(false) waits for it: whoever
	// was away may have been declared gone and have an old one. The lease is sure meanwhile.
	Fresh func(ctx context.Context) error
	// Back, unless nil, is called when Consul answers again after requests have failed. It must not block. The pauses between
	// those are short and spread over the proxies, so whoever waits longer may do away with that.
	Back func()
}

// Member is this proxy in Consul. Safe for concurrent use. Use NewMember.
type Member struct {
	cfg       MemberConfig
	record    ProxyRecord // but for its State
	serviceID string

	signals

	mu      sync.Mutex // guards the fields below it; never held during a request
	state   string
	session string // "" none
	lease   lease
	presence
	epoch      uint64 // in force
	ack        AckRecord
	ackWanted  bool // ack has been set
	fenced     bool
	registered bool
	check      string // status of the TTL check and why
	keysSide   trouble
	service    trouble
	lastErr    error
	lastErrAt  time.Time
	counts     MemberCounts
	zone       string
	zoneNew    bool // the registration has another one
}

// signals wake the goroutines of a Member.
type signals struct {
	// The turns have capacity 1 and are held, by sending, for as long as requests of that side last. Nobody holds both.
	keysTurn, serviceTurn chan struct{}
	// These have capacity 1: that there is something to write, or to look at.
	keysNews, serviceNews, leaseNews chan struct{}
	leaving                          chan struct{} // closed by Leave
	leaveOnce                        sync.Once
}

// presence is which keys are in Consul, as far as is known. Guarded by Member.mu.
type presence struct {
	joined     bool      // all keys are there under the session
	stateThere string    // the state in proxies/<id>
	seenThere  uint64    // the epoch in members/<id>
	seenAt     time.Time // when it was written
	ackThere   bool      // the ack is in acks/<id>
}

// MemberStatus is what is known of the membership now. For people and metrics.
type MemberStatus struct {
	ID         string
	State      string // StateJoining, StateServing or StateDraining
	Session    string // "" none
	Joined     bool   // all keys are in Consul, as far as is known
	LeaseLeft  time.Duration
	Sure       bool
	Fenced     bool
	ServiceID  string
	Registered bool
	Check      string // what the TTL check says, as "critical: draining"
	Epoch      uint64 // in force
	Acked      uint64 // the last barrier whose ack is in Consul
	AckWaits   bool   // an ack is still to be written
	Err        string // what is wrong now, "" nothing
	LastErr    string // the last thing that was wrong
	LastErrAt  time.Time
	Counts     MemberCounts
}

// MemberCounts only grow.
type MemberCounts struct {
	Sessions      uint64 // that were made
	SessionsLost  uint64 // that somebody else has ended
	KeysLost      uint64 // times that a key was not ours any more while the session lived
	Renews        uint64
	RenewErrors   uint64
	LeaseLosses   uint64
	Fences        uint64
	Acks          uint64 // that were written, those after a lost session included
	Registrations uint64
	Beats         uint64 // of the TTL check
	ServiceErrors uint64
}

// NewMember returns a Member that has written nothing yet.
func NewMember(cfg MemberConfig) *Member {
	setDefault(&cfg.Name, "sluice")
	setDefault(&cfg.OnLoss, OnLossServe)
	setDefault(&cfg.TTL, 15*time.Second)
	setDefault(&cfg.CheckTTL, 10*time.Second)
	setDefault(&cfg.DeregisterAfter, 30*time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	host, _ := os.Hostname() // Without one the record has none.
	return &Member{
		cfg:  cfg,
		zone: cfg.Zone,
		record: ProxyRecord{
			ID: cfg.ID, Addr: cfg.Addr, Admin: cfg.Admin, Version: cfg.Version, Host: host, PID: os.Getpid(),
			Started: time.Now().UTC().Truncate(time.Second),
		},
		serviceID: serviceID(cfg.Name, cfg.Pool, cfg.Addr, host),
		signals: signals{
			keysTurn: make(chan struct{}, 1), serviceTurn: make(chan struct{}, 1), keysNews: make(chan struct{}, 1),
			serviceNews: make(chan struct{}, 1), leaseNews: make(chan struct{}, 1), leaving: make(chan struct{}),
		},
		state: StateJoining, lease: lease{ttl: cfg.TTL},
	}
}

// setDefault replaces a zero value.
func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Join makes the proxy a member, unless it is one: members/<id> and proxies/<id> are in Consul when it returns nil. It
// tries once. The topology must be read after it: then whoever moves slots sees the member and waits for it, or the member
// sees the move.
func (m *Member) Join(ctx context.Context) error {
	return m.tendKeys(ctx, false)
}

// Run keeps the membership, the registration and the lease until ctx ends or Leave is called. A Consul that is away, or
// refuses, is asked again. It takes back nothing: that is Leave's. Call it once.
func (m *Member) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { m.keepKeys(ctx) })
	if !m.cfg.Unregistered {
		work.Go(func() { m.keepService(ctx) })
	}
	work.Go(func() { m.watchLease(ctx) })
}

// Drain says that the proxy takes no new clients: the state is draining and the TTL check critical. When Consul can't be
// told within ctx and a few seconds, Run goes on trying.
func (m *Member) Drain(ctx context.Context) {
	m.mu.Lock()
	m.state = StateDraining
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, m.callTimeout())
	defer cancel()
	m.cfg.Log.Info("draining, Consul is told", "proxy", m.cfg.ID)
	// Both are in Status and tried again.
	if !m.cfg.Unregistered {
		_ = m.tendService(ctx, false)
	}
	_ = m.tendKeys(ctx, false)
	notify(m.serviceNews)
	notify(m.keysNews)
}

// LeaveService takes back the service alone, and ends Run: the proxy stays a member.
func (m *Member) LeaveService(ctx context.Context) error {
	m.leaveOnce.Do(func() { close(m.leaving) })
	if m.cfg.Unregistered {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaveBudget)
	defer cancel()
	return m.withdrawService(ctx)
}

// Leave takes everything back that the member has in Consul, in this order: the service, so that nobody is sent here; its
// keys in one transaction, which says that this proxy talks to no server any more, so call it when that is true; the
// session, which takes back what was still on its way. It takes at most 5 s, and ends Run.
func (m *Member) Leave(ctx context.Context) error {
	m.leaveOnce.Do(func() { close(m.leaving) })
	ctx, cancel := context.WithTimeout(ctx, leaveBudget)
	defer cancel()
	var err error
	if !m.cfg.Unregistered {
		err = m.withdrawService(ctx)
	}
	err = errors.Join(err, m.withdrawKeys(ctx))
	if err != nil {
		return fmt.Errorf("leave Consul: %w", err)
	}
	return nil
}

// Lease is for how long the proxy may be sure that nobody has declared it gone: its session was renewed less than a TTL
// ago and holds its keys. Consul itself waits longer. A proxy that is not sure must take no part in new moves.
func (m *Member) Lease() (left time.Duration, sure bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leaseLeft(time.Now())
}

// leaseLeft is Lease with mu held.
func (m *Member) leaseLeft(now time.Time) (time.Duration, bool) {
	left := m.lease.left(now)
	if !m.joined || m.left() {
		left = 0
	}
	return left, left > 0
}

// Status is what is known now.
func (m *Member) Status() MemberStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	left, sure := m.leaseLeft(time.Now())
	s := MemberStatus{
		ID: m.cfg.ID, State: m.state, Session: m.session, Joined: m.joined, LeaseLeft: left, Sure: sure, Fenced: m.fenced,
		ServiceID: m.serviceID, Registered: m.registered, Check: m.check, Epoch: m.epoch,
		AckWaits: m.ackWanted && !m.ackThere, LastErrAt: m.lastErrAt, Counts: m.counts,
	}
	if m.ackThere {
		s.Acked = m.ack.Epoch
	}
	var wrong []string
	for _, err := range []error{m.keysSide.err, m.service.err} {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	s.Err = strings.Join(wrong, "; ")
	if m.lastErr != nil {
		s.LastErr = m.lastErr.Error()
	}
	return s
}

// left reports whether Leave has been called.
func (m *Member) left() bool {
	select {
	case <-m.leaving:
		return true
	default:
		return false
	}
}

// take waits for a turn; the caller gives it back with <-turn. Who has got one after Leave must do nothing.
func (m *Member) take(ctx context.Context, turn chan struct{}) error {
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for an earlier request to Consul: %w", ctx.Err())
	}
}

// callTimeout bounds one request: a renew that hangs leaves time for another one before the lease ends.
func (m *Member) callTimeout() time.Duration {
	return min(max(m.cfg.TTL/3, 500*time.Millisecond), 5*time.Second)
}

// write returns the options of a request that writes, and the function that frees its timer.
func (m *Member) write(ctx context.Context) (*api.WriteOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, m.callTimeout())
	return new(api.WriteOptions).WithContext(ctx), cancel
}

// read is write for a request that reads, in the default mode: the leader answers.
func (m *Member) read(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, m.callTimeout())
	return new(api.QueryOptions).WithContext(ctx), cancel
}

// trouble is what is wrong with one side of the membership.
type trouble struct {
	err    error // nil nothing
	logged time.Time
}

// logEvery is how often a trouble that lasts is logged again: its words change with every port that was tried from.
const logEvery = time.Minute

// note keeps what is wrong with a side, nil nothing, and logs it now and then.
func (m *Member) note(side string, t *trouble, err error) {
	m.mu.Lock()
	over := err == nil && t.err != nil
	news := err != nil && (t.err == nil || time.Since(t.logged) >= logEvery)
	t.err = err
	if news {
		t.logged = time.Now()
	}
	if err != nil {
		m.lastErr, m.lastErrAt = err, time.Now()
	}
	m.mu.Unlock()
	if over {
		m.cfg.Log.Info("Consul is as it should be again", "proxy", m.cfg.ID, "side", side)
		if m.cfg.Back != nil {
			m.cfg.Back()
		}
	}
	if news {
		m.cfg.Log.Warn("Consul does not have what it should, trying on", "proxy", m.cfg.ID, "side", side, "err", err)
	}
}

// notify leaves a note in a channel of capacity 1.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
