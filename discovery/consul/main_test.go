package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"sluice/backend"
	"sluice/discovery"
	"sluice/internal/testbed"
	"sluice/router"
)

// wait bounds all waiting; nothing that works takes that long.
const wait = 2 * time.Minute

// shared is the Consul of the tests that do it no harm; each has a root and a service of its own.
var shared struct {
	once   sync.Once
	server *testbed.ConsulServer
	err    error
}

// sharedConsul starts shared when it is needed first.
func sharedConsul(t *testing.T) *testbed.ConsulServer {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		shared.server, shared.err = testbed.StartConsul(ctx, testbed.ConsulOptions{InMemory: true})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// withShared ends shared after the tests and before the search for leaks.
type withShared struct{ *testing.M }

func (m withShared) Run() int {
	code := m.M.Run()
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// gnet, which is linked in, has goroutines from the start.
func TestMain(m *testing.M) { goleak.VerifyTestMain(withShared{m}, goleak.IgnoreCurrent()) }

// slots is how many slots the pools of the tests have.
const slots = 16

// pool is a Source with its Keeper in front of a Consul. mu guards the fields below it.
type pool struct {
	*Source
	t      *testing.T
	name   string
	server *testbed.ConsulServer
	client *api.Client // of the test
	cfg    Config
	nodes  nodes
	stop   func()

	mu     sync.Mutex
	tables []*router.Table
	acks   []uint64
	events []string
}

// pools makes names that a second run of a test does not find in use.
var pools atomic.Int32

// newPool prepares a pool of its own on a server; start runs it.
func newPool(t *testing.T, server *testbed.ConsulServer, change ...func(*Config)) *pool {
	t.Helper()
	p := &pool{t: t, name: fmt.Sprintf("%s-%d", t.Name(), pools.Add(1)), server: server}
	p.client = newClient(t, ClientConfig{Address: server.URL(), Token: server.Token()})
	p.cfg = Config{
		Client: newClient(t, ClientConfig{Address: server.URL(), Token: server.Token()}), Pool: p.name, Service: "redis-" + p.name,
		Model: router.CodisModel(slots), RoleInterval: 100 * time.Millisecond,
		Applied: func(epoch uint64, _ string, barrier bool, _ time.Duration) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.acks = append(p.acks, epoch)
			p.events = append(p.events, fmt.Sprintf("applied %d %t", epoch, barrier))
		},
		AwaitAnswered: func(_ context.Context, addrs []string) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, "await "+strings.Join(addrs, " "))
			return nil
		},
	}
	p.nodes.observe = func(addr string, o backend.Observation) { p.Source.Observe(addr, o) }
	p.nodes.opts = backend.Options{
		DialTimeout: time.Second, RequestTimeout: time.Second, ProbeInterval: time.Hour,
		BreakerFailures: 3, BreakerOpen: time.Second,
	}
	p.cfg.Watch, p.cfg.Ask = p.nodes.watch, p.nodes.ask
	for _, f := range change {
		f(&p.cfg)
	}
	return p
}

// nodes have the probes of a pool, as proxy.Pool has. mu guards the fields below it.
type nodes struct {
	observe func(addr string, o backend.Observation)
	probes  sync.WaitGroup

	mu   sync.Mutex
	opts backend.Options
	of   map[string]*backend.Node
}

func (n *nodes) watch(addrs []string, every time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.of
	n.of = make(map[string]*backend.Node)
	for _, addr := range addrs {
		node := before[addr]
		delete(before, addr)
		if node == nil {
			opts := n.opts
			node = backend.NewNode(0, addr, &opts)
			node.OnProbe(func(o backend.Observation) { n.observe(addr, o) })
			node.SetWatch(every)
			n.probes.Go(node.Run)
		}
		n.of[addr] = node
	}
	for _, node := range before {
		node.Retire()
	}
}

func (n *nodes) ask() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.of {
		node.Kick()
	}
}

// setPassword changes what the nodes are asked with.
func (n *nodes) setPassword(password string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opts.Password = password
	for _, node := range n.of {
		opts := n.opts
		node.SetOptions(&opts)
	}
}

func newClient(t *testing.T, cfg ClientConfig) *api.Client {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs the pool until the test ends or stop is called.
func (p *pool) start() *pool {
	p.t.Helper()
	p.Source = New(p.cfg)
	keeper := discovery.NewKeeper(discovery.Config{
		Model: p.cfg.Model, Source: p.Source, Name: "consul", Apply: func(table *router.Table) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.tables = append(p.tables, table)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("Run: %v", err)
		}
		p.nodes.probes.Wait()
	})
	p.t.Cleanup(p.stop)
	return p
}

// document makes a topology in which the groups share the slots evenly; a group is its nodes.
func document(groups ...[]string) *Document {
	d := &Document{Format: FormatOf(router.CodisModel(slots))}
	for i, nodes := range groups {
		g := Group{ID: fmt.Sprint(i + 1)}
		for _, addr := range nodes {
			g.Nodes = append(g.Nodes, Node{Addr: addr})
		}
		d.Groups = append(d.Groups, g)
		first, last := i*slots/len(groups), (i+1)*slots/len(groups)-1
		d.Slots = append(d.Slots, SlotRange{Slots: fmt.Sprintf("%d-%d", first, last), Group: g.ID, State: Stable})
	}
	return d
}

func (p *pool) root() string { return "sluice/" + p.name + "/" }

// write makes d the topology, whatever is there, as the epoch after d.Epoch.Epoch.
func (p *pool) write(d *Document) {
	p.t.Helper()
	_, index, err := ReadDocument(p.t.Context(), p.client.KV(), p.root())
	if err != nil && !errors.As(err, new(contentError)) {
		p.t.Fatal(err)
	}
	if err := WriteDocument(p.t.Context(), p.client.KV(), p.root(), index, d); err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits for a state.
func (p *pool) eventually(cond func() error) {
	p.t.Helper()
	testbed.Eventually(p.t, func() error {
		err := cond()
		if err != nil && p.Source != nil {
			st, _ := json.Marshal(p.Status())
			err = fmt.Errorf("%w\ntable: %s\nstatus: %s", err, p.routes(), st)
		}
		return err
	}, wait)
}

// routes describes the newest table: "1:host:port+1 0-7" for each group, a plus for each replica.
func (p *pool) routes() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tables) == 0 {
		return ""
	}
	table := p.tables[len(p.tables)-1]
	var parts []string
	for _, g := range table.Groups {
		slots := router.RangesOf(slots, func(s router.Slot) bool { return table.Owner(s) == g })
		replicas := make([]string, len(g.Replicas))
		for i, r := range g.Replicas {
			replicas[i] = "+" + r.Addr
		}
		slices.Sort(replicas)
		parts = append(parts, fmt.Sprintf("%s:%s%s %s", g.ID, g.Master.Addr, strings.Join(replicas, ""), router.FormatRanges(slots)))
	}
	for _, m := range table.Moves() {
		parts = append(parts, fmt.Sprintf("%d %s", m.Slot, m))
	}
	return strings.Join(parts, "; ")
}

// wants waits for a table.
func (p *pool) wants(format string, args ...any) {
	p.t.Helper()
	want := fmt.Sprintf(format, args...)
	p.eventually(func() error {
		if got := p.routes(); got != want {
			return fmt.Errorf("routes %q, want %q", got, want)
		}
		return nil
	})
}

// raises waits for an alarm with that text; "" waits until it has gone.
func (p *pool) raises(kind, text string) {
	p.t.Helper()
	p.eventually(func() error {
		for _, a := range p.Status().Alarms {
			if a.Kind == kind {
				if text == "" || !strings.Contains(a.Text, text) {
					return fmt.Errorf("alarm %s: %q, want %q", kind, a.Text, text)
				}
				return nil
			}
		}
		if text != "" {
			return fmt.Errorf("no alarm %s", kind)
		}
		return nil
	})
}

// node waits until a node has that in its status.
func (p *pool) node(addr string, check func(NodeStatus) bool) {
	p.t.Helper()
	p.eventually(func() error {
		for _, n := range p.Status().Nodes {
			if n.Addr == addr && check(n) {
				return nil
			}
		}
		return fmt.Errorf("%s is not as wanted", addr)
	})
}

// said returns what the Source has asked of the proxy so far.
func (p *pool) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}
