package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/resp"
	"golang.org/x/sync/errgroup"
)

// A cluster is formed as an operator would do it by hand: every node gets an epoch of its own, the masters
// their slots, all meet all, the replicas are told their master. Meeting everybody, where redis-cli lets
// gossip spread the news, saves a second. What remains is a wait of about 2 s that Redis itself makes before
// a fresh cluster calls itself ok.

// slotCount is fixed by the cluster protocol.
const slotCount = 16384

// ClusterOptions says how a cluster is started.
type ClusterOptions struct {
	// Masters share the slots evenly, in order. At least 1; fewer than 3 can't elect after a failure.
	Masters int
	// ReplicasPerMaster may be 0.
	ReplicasPerMaster int
	// NodeTimeout is how long a node may be silent before it counts as failed. 0 means 3 s: shorter, and a
	// loaded machine brings failovers nobody asked for.
	NodeTimeout time.Duration
	// Dir holds a directory per node. Empty: temporary ones.
	Dir string
	// Args are appended to the command line of every node.
	Args []string
}

// RedisCluster is a Redis Cluster (7.0 or newer) of Servers. Its methods must not run at the same time as
// each other.
type RedisCluster struct {
	nodes []*Server
	ids   map[*Server]string
	moves map[int]move // by slot: begun and not finished
}

type move struct{ from, to *Server }

// StartCluster starts the nodes, forms the cluster and returns when every node calls it ok and all agree
// who serves what. ctx bounds the start; Close ends the nodes.
func StartCluster(ctx context.Context, opts ClusterOptions) (*RedisCluster, error) {
	if opts.NodeTimeout == 0 {
		opts.NodeTimeout = 3 * time.Second
	}
	c := &RedisCluster{ids: make(map[*Server]string), moves: make(map[int]move)}
	err := c.startNodes(ctx, opts)
	if err == nil {
		err = c.form(ctx, opts.Masters)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a cluster: %w", err), c.Close())
	}
	return c, nil
}

// Nodes lists the servers: at first the masters in the order of their slots, then the replicas, replica i
// belonging to master i modulo the number of masters. Failovers do not change the order. Owned by the caller.
func (c *RedisCluster) Nodes() []*Server { return slices.Clone(c.nodes) }

// Addrs lists the addresses of Nodes.
func (c *RedisCluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.Addr()
	}
	return addrs
}

// NodeOf is the master that serves slot, as the first node that answers sees it; nil when nobody does.
func (c *RedisCluster) NodeOf(slot int) *Server {
	for _, n := range c.live() {
		for _, row := range n.Do("CLUSTER", "SLOTS").Array() {
			cols := row.Array()
			if slot < cols[0].Integer() || slot > cols[1].Integer() {
				continue
			}
			return c.byID(cols[2].Array()[2].String())
		}
	}
	return nil
}

// MoveSlot moves a slot and its keys to another master and waits until all nodes agree.
func (c *RedisCluster) MoveSlot(slot int, to *Server) error {
	if err := c.BeginMove(slot, to); err != nil {
		return err
	}
	return c.FinishMove(slot)
}

// BeginMove opens a slot: the owner is MIGRATING and answers ASK for absent keys, the target is IMPORTING.
// No key has moved yet. FinishMove closes it.
func (c *RedisCluster) BeginMove(slot int, to *Server) error {
	from := c.NodeOf(slot)
	if from == nil || from == to {
		return fmt.Errorf("move slot %d: nobody owns it, or the target does already", slot)
	}
	s := strconv.Itoa(slot)
	if err := run(to, "CLUSTER", "SETSLOT", s, "IMPORTING", c.ids[from]); err != nil {
		return err
	}
	if err := run(from, "CLUSTER", "SETSLOT", s, "MIGRATING", c.ids[to]); err != nil {
		return err
	}
	c.moves[slot] = move{from: from, to: to}
	return nil
}

// FinishMove moves the keys that are left in a slot that BeginMove opened, gives it to the target and waits
// until all nodes agree.
func (c *RedisCluster) FinishMove(slot int) error {
	m, ok := c.moves[slot]
	if !ok {
		return fmt.Errorf("finish the move of slot %d: it was not begun", slot)
	}
	if err := migrateKeys(m, slot); err != nil {
		return err
	}
	// The target first, so that the slot is never without an owner; then the source, then the rest. Replicas
	// refuse and learn it from their masters.
	order := append([]*Server{m.to, m.from}, c.live()...)
	for _, n := range order {
		err := run(n, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", c.ids[m.to])
		if err != nil && !strings.Contains(err.Error(), "only with masters") {
			return err
		}
	}
	delete(c.moves, slot)
	return c.waitForAgreement(slot, m.to)
}

// Failover makes replica the master of its group without losing a write, and waits until all nodes agree.
func (c *RedisCluster) Failover(replica *Server) error {
	if err := run(replica, "CLUSTER", "FAILOVER"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return poll(ctx, func() error {
		role := replica.Do("ROLE").Array()
		if len(role) == 0 || role[0].String() != "master" {
			return fmt.Errorf("failover: %s is not master yet: %v", replica.Addr(), role)
		}
		return c.agree()
	})
}

// Close ends all nodes.
func (c *RedisCluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

func (c *RedisCluster) startNodes(ctx context.Context, opts ClusterOptions) error {
	var (
		mu sync.Mutex // guards c.nodes while the nodes start
		g  errgroup.Group
	)
	nodes := make([]*Server, opts.Masters*(1+opts.ReplicasPerMaster))
	for i := range nodes {
		g.Go(func() error {
			n, err := startClusterNode(ctx, opts)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			nodes[i] = n
			c.nodes = append(c.nodes, n) // In any order, so that Close finds it after an error.
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.nodes = nodes
	return nil
}

func startClusterNode(ctx context.Context, opts ClusterOptions) (*Server, error) {
	var dir string
	if opts.Dir != "" {
		var err error
		if dir, err = os.MkdirTemp(opts.Dir, "node-"); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		// By default the bus listens on the port plus 10000, which nobody has asked the system for.
		bus, err := freePort()
		if err != nil {
			return nil, err
		}
		args := append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus),
			"--cluster-node-timeout", strconv.FormatInt(opts.NodeTimeout.Milliseconds(), 10),
			"--cluster-allow-replica-migration", "no",
		}, opts.Args...)
		n, err := StartRedis(ctx, Options{Dir: dir, Args: args})
		if !errors.Is(err, errPortTaken) || try == 3 {
			return n, err
		}
	}
}

// form makes one cluster of the nodes.
func (c *RedisCluster) form(ctx context.Context, masters int) error {
	for i, n := range c.nodes {
		c.ids[n] = n.Do("CLUSTER", "MYID").String()
		if err := run(n, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		for _, peer := range c.nodes[:i] {
			bus := peer.args[slices.Index(peer.args, "--cluster-port")+1]
			if err := run(n, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(peer.port), bus); err != nil {
				return err
			}
		}
	}
	for i, n := range c.nodes[:masters] {
		from, to := slotCount*i/masters, slotCount*(i+1)/masters-1
		if err := run(n, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(from), strconv.Itoa(to)); err != nil {
			return err
		}
	}
	for i, n := range c.nodes[masters:] {
		// The replica refuses until it knows its master.
		master := c.ids[c.nodes[i%masters]]
		err := poll(ctx, func() error { return run(n, "CLUSTER", "REPLICATE", master) })
		if err != nil {
			return err
		}
	}
	if err := poll(ctx, func() error { return c.complete(masters) }); err != nil {
		return err
	}
	for _, n := range c.nodes[masters:] {
		if err := n.waitForMaster(ctx); err != nil {
			return err
		}
	}
	return poll(ctx, func() error {
		if err := c.agree(); err != nil {
			return err
		}
		return c.listsReplicas()
	})
}

// listsReplicas returns nil when CLUSTER SLOTS shows all nodes: it leaves replicas out until they are known
// to have data. The nodes agree.
func (c *RedisCluster) listsReplicas() error {
	listed := 0
	rows := c.nodes[0].Do("CLUSTER", "SLOTS").Array()
	for _, row := range rows {
		listed += len(row.Array()) - 2
	}
	if listed < len(c.nodes) {
		return fmt.Errorf("only %d of %d nodes are listed: %v", listed, len(c.nodes), rows)
	}
	return nil
}

// complete returns nil when every node knows every other and its role.
func (c *RedisCluster) complete(masters int) error {
	for _, n := range c.nodes {
		text := n.Do("CLUSTER", "NODES").String()
		lines := strings.Count(text, "\n")
		if lines != len(c.nodes) || strings.Count(text, "master") != masters || strings.Contains(text, "handshake") {
			return fmt.Errorf("%s sees\n%s", n.Addr(), text)
		}
	}
	return nil
}

// agree returns nil when all nodes that can answer call the cluster ok and describe it alike.
func (c *RedisCluster) agree() error {
	views := make(map[string][]string) // description -> who gives it
	for _, n := range c.live() {
		if state := infoField(n.Do("CLUSTER", "INFO"), "cluster_state"); state != "ok" {
			return fmt.Errorf("%s says cluster_state:%s", n.Addr(), state)
		}
		view := describe(n.Do("CLUSTER", "SLOTS"))
		views[view] = append(views[view], n.Addr())
	}
	if len(views) != 1 {
		return fmt.Errorf("%d views of the cluster: %v", len(views), views)
	}
	for view := range views {
		if view == "" {
			return errors.New("nobody owns a slot")
		}
	}
	return nil
}

func (c *RedisCluster) waitForAgreement(slot int, owner *Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return poll(ctx, func() error {
		if err := c.agree(); err != nil {
			return err
		}
		if got := c.NodeOf(slot); got != owner {
			return fmt.Errorf("slot %d is not with %s yet", slot, owner.Addr())
		}
		return nil
	})
}

// live lists the nodes that are neither killed nor stopped.
func (c *RedisCluster) live() []*Server {
	var nodes []*Server
	for _, n := range c.nodes {
		if n.answers() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (c *RedisCluster) byID(id string) *Server {
	for n, got := range c.ids {
		if got == id {
			return n
		}
	}
	return nil
}

// migrateKeys moves the keys of an open slot, in batches.
func migrateKeys(m move, slot int) error {
	for {
		keys := m.from.Do("CLUSTER", "GETKEYSINSLOT", strconv.Itoa(slot), "100")
		if err := keys.Error(); err != nil {
			return err
		}
		if len(keys.Array()) == 0 {
			return nil
		}
		args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(m.to.port), "", "0", "5000"}
		if password := passwordOf(m.to.args); password != "" {
			args = append(args, "AUTH", password)
		}
		args = append(args, "KEYS")
		for _, key := range keys.Array() {
			args = append(args, key.String())
		}
		if err := run(m.from, args...); err != nil {
			return err
		}
	}
}

// describe writes a CLUSTER SLOTS reply in a form that is equal for equal views: rows by slot, a row's
// replicas by id.
func describe(slots resp.Value) string {
	var rows []string
	for _, row := range slots.Array() {
		cols := row.Array()
		var nodes []string
		for _, n := range cols[2:] {
			nodes = append(nodes, n.Array()[2].String())
		}
		slices.Sort(nodes[1:])
		rows = append(rows, fmt.Sprintf("%5d-%5d %s", cols[0].Integer(), cols[1].Integer(), strings.Join(nodes, " ")))
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// run runs a command whose reply only matters when it is an error.
func run(n *Server, args ...string) error {
	if err := n.Do(args...).Error(); err != nil {
		return fmt.Errorf("%s on %s: %w", strings.Join(args[:min(len(args), 4)], " "), n.Addr(), err)
	}
	return nil
}
