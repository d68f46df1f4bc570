package cluster

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"sluice/internal/control"
	"sluice/router"
)

// Two replies describe a cluster. CLUSTER SHARDS (Redis 7, Dragonfly) has the health of each node, CLUSTER
// SLOTS is understood by everybody. What real servers put into them:
//
//   - SHARDS is an array of maps, in RESP2 flat arrays of names and values, with the fields in no
//     particular order. The host is in "endpoint". Redis 7.0 writes an unknown endpoint as an empty string
//     here, and as a null in SLOTS.
//   - An empty or null host means: the host through which the question came. "?" means that the node should
//     be called by a host name that nobody has configured; its address is in "ip", in SLOTS in the metadata.
//   - A node in SLOTS is [host, port, id, metadata] or shorter: Dragonfly leaves the metadata out.
//   - A shard may have no slots, and after an election on Redis 7.2 and newer it may list two masters, of
//     which one has failed.
//   - A node that only speaks TLS has no "port", or port 0.

// view is what one node says of its cluster. Immutable once parsed.
type view struct {
	from   string // Who says it: the id of the node, else its address.
	shards []shard
}

// shard is a master with its slots and replicas.
type shard struct {
	slots    []router.Range
	master   node
	failed   bool   // The cluster has given the master up, and has nobody in its place.
	replicas []node // Those in good health.
}

type node struct {
	id   string // Empty where the server tells none.
	addr string
}

// errOnlyTLS is returned by the parsers when no master has a port that can be used.
var errOnlyTLS = errors.New("no master has a port without TLS")

// parseShards reads a reply of CLUSTER SHARDS. host is where the question was sent.
func parseShards(v control.Value, host string) ([]shard, error) {
	items, err := v.List()
	if err != nil {
		return nil, err
	}
	var shards []shard
	masters := 0
	for i, item := range items {
		fields, err := item.Fields()
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", i, err)
		}
		sh := shard{}
		if sh.slots, err = parseSlotPairs(fields["slots"]); err != nil {
			return nil, fmt.Errorf("shard %d: slots: %w", i, err)
		}
		nodes, err := fields["nodes"].List()
		if err != nil {
			return nil, fmt.Errorf("shard %d: nodes: %w", i, err)
		}
		for j, n := range nodes {
			if err := sh.addNode(n, host, &masters); err != nil {
				return nil, fmt.Errorf("shard %d: node %d: %w", i, j, err)
			}
		}
		// A master that failed and lost its slots stays in the list until somebody makes the nodes forget it.
		if sh.master.addr != "" && (!sh.failed || len(sh.slots) > 0) {
			shards = append(shards, sh)
		}
	}
	if masters > 0 && len(shards) == 0 {
		return nil, errOnlyTLS
	}
	return shards, nil
}

// addNode takes a node of CLUSTER SHARDS into its shard, and counts it if it is a master.
func (sh *shard) addNode(v control.Value, host string, masters *int) error {
	fields, err := v.Fields()
	if err != nil {
		return err
	}
	health := strings.ToLower(fields["health"].Text)
	isMaster := fields["role"].Text == "master"
	if isMaster {
		*masters++
	}
	endpoint, named := fields["endpoint"]
	if !named || endpoint.Text == "?" {
		endpoint = fields["ip"]
		if endpoint.Text == "" {
			endpoint = fields["hostname"]
		}
	}
	addr, err := nodeAddr(endpoint, fields["port"], host)
	if err != nil || addr == "" {
		return err
	}
	n := node{id: fields["id"].Text, addr: addr}
	switch {
	case isMaster && (sh.master.addr == "" || sh.failed):
		sh.master, sh.failed = n, health == "fail"
	case !isMaster && (health == "online" || health == ""):
		sh.replicas = append(sh.replicas, n)
	}
	return nil
}

// parseSlots reads a reply of CLUSTER SLOTS. host is where the question was sent.
func parseSlots(v control.Value, host string) ([]shard, error) {
	rows, err := v.List()
	if err != nil {
		return nil, err
	}
	var shards []shard
	for i, row := range rows {
		cols, err := row.List()
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		if len(cols) < 3 {
			return nil, fmt.Errorf("row %d: %d columns", i, len(cols))
		}
		sh := shard{}
		if sh.slots, err = parseSlotPairs(control.Value{Kind: control.Array, Elems: cols[:2]}); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		for j, col := range cols[2:] {
			n, err := parseSlotsNode(col, host)
			if err != nil {
				return nil, fmt.Errorf("row %d: node %d: %w", i, j, err)
			}
			switch {
			case j == 0:
				sh.master = n
			case n.addr != "":
				sh.replicas = append(sh.replicas, n)
			}
		}
		if sh.master.addr != "" {
			shards = append(shards, sh)
		}
	}
	if len(rows) > 0 && len(shards) == 0 {
		return nil, errOnlyTLS
	}
	return shards, nil
}

// parseSlotsNode reads a node of CLUSTER SLOTS; its address is empty if it has no usable port.
func parseSlotsNode(v control.Value, host string) (node, error) {
	cols, err := v.List()
	if err != nil {
		return node{}, err
	}
	if len(cols) < 2 {
		return node{}, fmt.Errorf("%d columns", len(cols))
	}
	var n node
	if len(cols) > 2 {
		n.id = cols[2].Text
	}
	endpoint := cols[0]
	if endpoint.Text == "?" && len(cols) > 3 {
		meta, err := cols[3].Fields()
		if err != nil {
			return node{}, fmt.Errorf("metadata: %w", err)
		}
		endpoint = meta["ip"]
		if endpoint.Text == "" {
			endpoint = meta["hostname"]
		}
	}
	n.addr, err = nodeAddr(endpoint, cols[1], host)
	return n, err
}

// nodeAddr joins a host and a port. It returns "" for a node without a usable port or with a host that
// nobody knows.
func nodeAddr(endpoint, port control.Value, host string) (string, error) {
	name := endpoint.Text // Of a null: "".
	if name == "?" {
		return "", nil
	}
	if name == "" {
		name = host
	}
	if port.Kind == 0 { // There is none.
		return "", nil
	}
	p, err := number(port, 65535)
	if err != nil {
		return "", fmt.Errorf("port: %w", err)
	}
	if p == 0 {
		return "", nil
	}
	return net.JoinHostPort(name, strconv.Itoa(p)), nil
}

// parseSlotPairs reads [from, to, from, to …].
func parseSlotPairs(v control.Value) ([]router.Range, error) {
	bounds, err := v.List()
	if err != nil {
		return nil, err
	}
	if len(bounds)%2 != 0 {
		return nil, fmt.Errorf("%d bounds", len(bounds))
	}
	var ranges []router.Range
	for i := 0; i < len(bounds); i += 2 {
		from, err := number(bounds[i], router.ClusterSlots-1)
		if err != nil {
			return nil, err
		}
		to, err := number(bounds[i+1], router.ClusterSlots-1)
		if err != nil {
			return nil, err
		}
		if from > to {
			return nil, fmt.Errorf("from %d to %d", from, to)
		}
		ranges = append(ranges, router.Range{From: router.Slot(from), To: router.Slot(to)})
	}
	return ranges, nil
}

// forgetSharedIDs drops ids that stand for several addresses: something that only poses as a cluster may give
// all its nodes the same, and then only the addresses tell them apart.
func forgetSharedIDs(shards []shard) {
	addrs := make(map[string]string)
	shared := make(map[string]bool)
	each := func(do func(n *node)) {
		for i := range shards {
			do(&shards[i].master)
			for j := range shards[i].replicas {
				do(&shards[i].replicas[j])
			}
		}
	}
	each(func(n *node) {
		if addr, ok := addrs[n.id]; ok && addr != n.addr {
			shared[n.id] = true
		}
		addrs[n.id] = n.addr
	})
	each(func(n *node) {
		if shared[n.id] {
			n.id = ""
		}
	})
}

// knowsCluster reads CLUSTER INFO and reports whether the node calls the cluster ok.
func knowsCluster(v control.Value) error {
	if v.Kind != control.Bulk {
		return v.Unexpected()
	}
	for line := range strings.Lines(v.Text) {
		if state, ok := strings.CutPrefix(line, "cluster_state:"); ok {
			if state = strings.TrimSpace(state); state != "ok" {
				return fmt.Errorf("cluster_state:%s", state)
			}
			return nil
		}
	}
	return errors.New("no cluster_state")
}

// number reads an integer in 0..limit, which some servers send as text.
func number(v control.Value, limit int) (int, error) {
	if v.Kind != control.Integer && v.Kind != control.Bulk {
		return 0, v.Unexpected()
	}
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%q is not a number in 0-%d", v, limit)
	}
	return n, nil
}
