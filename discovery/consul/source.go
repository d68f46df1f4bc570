package consul

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery"
	"sluice/router"
)

// Config is what a Source needs. Client, Pool, Model, Watch and Ask are required.
type Config struct {
	Client  *api.Client
	Root    string // of the pool in the KV store; default "sluice/<Pool>/"
	Pool    string
	Service string // name of the nodes' service in the catalog; default "redis"
	Model   router.Model

	StateFile     string        // the last good file; "": none
	MaxStateAge   time.Duration // how long ago Consul may have confirmed it to be used; default 24 h
	RequireConsul bool          // never use it

	RoleInterval time.Duration // at most this between two questions to a node, to a fifth; default 1 s
	Flap         time.Duration // how long a node that Consul does not want any more stays; default 3 s
	Wait         time.Duration // of a blocking query; default 60 s, at most 10 min

	// Watch has exactly the nodes at addrs (host:port) asked what they are, every so often or more; what they answer goes
	// to Source.Observe. It is called by one goroutine, when they change and at the end of Run with none, and must not
	// block. Required.
	Watch func(addrs []string, every time.Duration)
	// Ask has those nodes asked now. As Watch, from another goroutine. Required.
	Ask     func()
	Timeout time.Duration // of one question to a node, until SetTimeout; default 1 s

	// Joined makes the proxy known; it is called, until it succeeds, before the topology is read for the first
	// time: whoever moves slots must see the proxy, or the proxy the move. Optional.
	Joined func(ctx context.Context) error
	// AwaitAnswered waits until the servers have answered what was sent to them before. Optional.
	AwaitAnswered func(ctx context.Context, addrs []string) error
	// Applied is told each epoch that is in force; see acker. It must not block. Optional.
	Applied func(epoch uint64, digest string, barrier bool, took time.Duration)
	// MayMove reports whether the proxy is sure of its membership. While it is not, no barrier is acknowledged, and
	// an epoch that does nothing but lock slots is left out: whoever locks them may believe that the proxy is gone.
	// Optional; it must not block.
	MayMove func() bool
	Log     *slog.Logger // optional
}

// Rhythms of a Source.
const (
	// fileAfter is how long Consul may take for its first answer before the last good file is used.
	fileAfter = 600 * time.Millisecond
	// confirmEvery is how often the last good file is told that it is still right.
	confirmEvery = 5 * time.Minute
	// The epoch key is small, and the steps of a move follow each other at once while clients are held: it may
	// change often.
	epochBurst, epochMinGap, epochMaxGap = 8, 100 * time.Millisecond, time.Second
	// A listing of a catalog may be large, and all who watch it are woken together.
	catalogBurst, catalogMin, catalogMax = 2, time.Second, 15 * time.Second
)

// Source sees the topology of a pool in Consul. Safe for concurrent use; mu guards the fields below it, and only Run
// uses its judgement. Use New.
type Source struct {
	cfg    Config
	log    *slog.Logger
	health *health
	roles  *roles
	acks   *acker
	inbox
	judgement

	mu      sync.Mutex // guards the fields below it
	orders  map[router.GroupID]string
	accept  bool
	saveErr error
	status  Status
	wanted  uint64        // counts calls of Fresh
	fresh   uint64        // those that are done
	freshed chan struct{} // closed when fresh grows
}

// inbox is what Run is told.
type inbox struct {
	wake    chan struct{} // capacity 1: that something is new that is not in a mailbox
	kick    chan struct{} // capacity 1: that the document is to be read now
	relist  chan struct{} // capacity 1: that the catalog is
	news    mailbox[news]
	listing mailbox[listing]
	saves   mailbox[saved]
}

// judgement is what Run has made of it. Only Run uses it.
type judgement struct {
	current   *topology // in force
	since     time.Time
	fromFile  bool      // Consul has not confirmed it
	next      *topology // to come into force when it can
	nextSeen  time.Time
	accepted  Epoch     // may come into force although it is older
	refused   *Document // older, or another one of the same epoch
	consul    *Document // what Consul has; nil while that is nothing, or makes no sense
	confirmed time.Time // when Consul was last seen to have it
	listed    *listing
	gone      bool // the newest listing is empty, and not believed
	published discovery.Snapshot
	inflight  *publication
	started   time.Time
	fileTried bool
	floor     *Epoch   // of the last good file: what Consul has must not be older; nil: none
	masters   []string // that were published with what is in force
	judged    uint64   // what wanted was when the document was read that was judged last
	saved     time.Time
	alarms    map[string]string
}

// publication is a snapshot that the Keeper has not answered yet.
type publication struct {
	topology *topology
	snapshot discovery.Snapshot
	done     chan error
}

// news is what a look at the document has brought.
type news struct {
	doc *Document
	err error // why it makes no sense

	wanted uint64 // what that was before the document was read
}

var _ discovery.Source = (*Source)(nil)

// New returns a Source that does nothing until Run.
func New(cfg Config) *Source {
	cfg.Root = strings.Trim(cmp.Or(cfg.Root, "sluice/"+cfg.Pool), "/") + "/"
	cfg.Service = cmp.Or(cfg.Service, "redis")
	cfg.MaxStateAge = cmp.Or(cfg.MaxStateAge, 24*time.Hour)
	cfg.RoleInterval = cmp.Or(cfg.RoleInterval, time.Second)
	cfg.Flap = cmp.Or(cfg.Flap, 3*time.Second)
	cfg.Wait = min(cmp.Or(cfg.Wait, time.Minute), 10*time.Minute)
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{
		cfg: cfg, log: cfg.Log, health: newHealth(), judgement: judgement{alarms: make(map[string]string)},
		inbox: inbox{
			wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), relist: make(chan struct{}, 1),
			news: newMailbox[news](), listing: newMailbox[listing](), saves: newMailbox[saved](),
		},
		orders: make(map[router.GroupID]string), freshed: make(chan struct{}),
	}
	s.roles = &roles{
		cfg: &s.cfg, wake: s.wake, ask: make(chan struct{}, 1), nodes: make(map[string]*heard), timeout: cfg.Timeout,
	}
	s.acks = &acker{
		await: cfg.AwaitAnswered, applied: cfg.Applied, mayMove: cfg.MayMove, log: cfg.Log, wake: make(chan struct{}, 1),
	}
	return s
}

// Refresh asks all nodes for their roles soon; Consul tells by itself. Safe for concurrent use; it never blocks.
func (s *Source) Refresh() { s.roles.refresh() }

// Retry asks Consul for everything now: it answers others again. That ends the pauses after errors, and questions
// that may have been lost on their way. Safe for concurrent use; it never blocks.
func (s *Source) Retry() {
	notify(s.kick)
	notify(s.relist)
}

// SetMaster says who the master of a group is, by evidence that the Source does not have. It holds until the nodes say
// something else than now. Safe for concurrent use.
func (s *Source) SetMaster(id router.GroupID, addr string) {
	s.mu.Lock()
	s.orders[id] = addr
	s.mu.Unlock()
	s.poke()
	s.roles.refresh()
}

// Accept takes what an alarm has kept out: an older topology, another one of the same epoch, an empty catalog. It
// is for what is there now, once. Safe for concurrent use.
func (s *Source) Accept() {
	s.mu.Lock()
	s.accept = true
	s.mu.Unlock()
	s.poke()
}

// Err says what somebody must look at; nil while all is well. Safe for concurrent use.
func (s *Source) Err() error {
	st := s.Status()
	var errs []error
	tries := degradedAfter
	if st.Epoch == 0 {
		tries = 1
	}
	errs = append(errs, s.health.err(tries))
	for _, a := range st.Alarms {
		errs = append(errs, fmt.Errorf("%s: %s", a.Kind, a.Text))
	}
	if err := errors.Join(errs...); err != nil || st.Epoch != 0 {
		return err
	}
	return errors.New("consul: no topology yet")
}

func (s *Source) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends. It is called once.
func (s *Source) Run(ctx context.Context, publish func(discovery.Snapshot)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.started = time.Now()
	s.readFloor()
	var work sync.WaitGroup
	work.Go(func() { s.watchTopology(ctx) })
	work.Go(func() { s.watchCatalog(ctx) })
	work.Go(func() { s.acks.run(ctx) })
	work.Go(func() { s.writeSaves(ctx) })
	defer work.Wait()
	work.Go(func() { s.roles.run(ctx) })
	defer s.roles.watch(nil)
	defer cancel()

	tick := time.NewTicker(min(max(s.cfg.RoleInterval/4, 10*time.Millisecond), 250*time.Millisecond))
	defer tick.Stop()
	for {
		var done chan error
		if s.inflight != nil {
			done = s.inflight.done
		}
		select {
		case <-ctx.Done():
			return nil
		case n := <-s.news:
			s.judge(n)
			s.judged = n.wanted
		case l := <-s.listing:
			s.list(l)
		case err := <-done:
			s.answered(err)
		case <-s.wake:
		case <-tick.C:
		}
		s.step(publish, time.Now())
		s.describe()
		s.settleFresh()
	}
}

// watchTopology joins, and then waits for a new epoch.
func (s *Source) watchTopology(ctx context.Context) {
	for s.cfg.Joined != nil && ctx.Err() == nil {
		err := s.cfg.Joined(ctx)
		if err == nil {
			s.health.answered(joining, s.log)
			break
		}
		n := s.health.failed(joining, fmt.Errorf("join: %w", err), s.log)
		s.poke()
		nap(ctx, pause(n), s.kick)
	}
	var seen *api.KVPair
	w := &watch[*news]{
		name: watchTopology, wait: s.cfg.Wait, health: s.health, log: s.log, kick: s.kick,
		bucket: newBucket(epochBurst, epochMinGap, epochMaxGap),
		ask: func(_ context.Context, opts *api.QueryOptions) (*news, *api.QueryMeta, error) {
			pair, meta, err := s.cfg.Client.KV().Get(s.cfg.Root+keyEpoch, opts)
			if err != nil {
				s.poke()
				return nil, nil, err
			}
			same := pair != nil && seen != nil && pair.ModifyIndex == seen.ModifyIndex && bytes.Equal(pair.Value, seen.Value)
			if same && opts.WaitIndex > 0 {
				return nil, meta, nil
			}
			wanted := s.wantedNow()
			doc, _, err := ReadDocument(ctx, s.cfg.Client.KV(), s.cfg.Root)
			if err == nil {
				if err = doc.Validate(s.cfg.Model); err != nil {
					err = contentError{fmt.Errorf("consul: %s: epoch %d: %w", s.cfg.Root, doc.Epoch.Epoch, err)}
				}
			}
			if err != nil && !errors.As(err, new(contentError)) {
				return nil, nil, err
			}
			seen = pair
			return &news{doc: doc, err: err, wanted: wanted}, meta, nil
		},
		take: func(n *news) {
			if n != nil {
				s.news.put(*n)
			}
		},
	}
	w.run(ctx)
}

// watchCatalog watches the nodes' service.
func (s *Source) watchCatalog(ctx context.Context) {
	w := &watch[[]*api.ServiceEntry]{
		name: watchCatalog, wait: s.cfg.Wait, health: s.health, log: s.log, kick: s.relist,
		bucket: newBucket(catalogBurst, catalogMin, catalogMax),
		ask:    s.askCatalog,
		take:   func(entries []*api.ServiceEntry) { s.listing.put(readListing(entries, s.cfg.Pool)) },
	}
	w.run(ctx)
}

// step does what is due.
func (s *Source) step(publish func(discovery.Snapshot), now time.Time) {
	s.takeWishes()
	s.useFile(now)
	addrs := make(map[string]bool)
	for _, t := range []*topology{s.current, s.next} {
		if t != nil {
			t.settle(s.listed, s.roles.last, s.cfg.Flap, now)
			t.addrs(addrs)
		}
	}
	s.roles.watch(addrs)
	s.confirm()
	if s.inflight == nil {
		s.publish(publish)
	}
}
