package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/backend/dialect"
	"sluice/conf"
	"sluice/internal/control"
)

// backendNode is a server and what it is meant to be.
type backendNode struct {
	pool   *conf.Pool
	group  string // "" when it is not known
	addr   string
	role   string // "master" or "replica" as the configuration says; "" when nothing says so
	master string // of a replica, when it is known
}

// examined is what a server says of itself.
type examined struct {
	backendNode
	err      error  // it can't be asked
	fix      string // what to do about err
	version  string // family and version
	says     string // its role: "master", "replica" or "unknown"
	replicas int    // that it lists as its own
	linkUp   bool   // of a replica, to its master
	follows  string // host:port that a replica says it follows
	off      time.Duration
	timed    bool   // off is known
	admin    string // where the node is asked about migrations, if that is another place
	adminErr error
	settings map[string]string
}

// examineAtOnce bounds the connections that the doctor has open.
const examineAtOnce = 16

// checkBackends asks every server that the configuration, or the topology in Consul, names.
func (d *doctor) checkBackends(ctx context.Context) {
	var nodes []backendNode
	for i := range d.cfg.Pools {
		p := &d.cfg.Pools[i]
		switch p.Discovery.Kind {
		case conf.DiscoverStatic:
			for _, g := range p.Groups {
				nodes = append(nodes, backendNode{pool: p, group: g.ID, addr: g.Master, role: "master"})
				for _, r := range g.Replicas {
					nodes = append(nodes, backendNode{pool: p, group: g.ID, addr: r, role: "replica", master: g.Master})
				}
			}
		case conf.DiscoverCluster:
			for _, seed := range p.Discovery.Seeds {
				nodes = append(nodes, backendNode{pool: p, addr: seed})
			}
		case conf.DiscoverCodis:
			d.found(fine, "backends", "", "pool %s: codis-dashboard names them, they are not checked", p.Name)
		case conf.DiscoverConsul: // Found in checkConsul.
		}
	}
	nodes = append(nodes, d.nodes...)
	results := examineAll(ctx, nodes)
	for i := range results {
		d.judge(&results[i])
	}
	d.checkMasters(results)
	d.checkClocks(results)
	d.checkSettings(results)
}

// checkMasters sees that each group of which no node has a given role has one master.
func (d *doctor) checkMasters(results []examined) {
	type place struct{ pool, group string }
	masters := make(map[place][]string)
	var order []place
	for i := range results {
		x := &results[i]
		at := place{x.pool.Name, x.group}
		if x.role != "" || x.group == "" {
			continue
		}
		if _, known := masters[at]; !known {
			masters[at] = nil
			order = append(order, at)
		}
		if x.err == nil && x.says == "master" {
			masters[at] = append(masters[at], x.addr)
		}
	}
	for _, at := range order {
		subject := fmt.Sprintf("pool %s, group %s", at.pool, at.group)
		switch list := masters[at]; len(list) {
		case 0:
			d.found(fail, subject, "make one of its nodes the master: REPLICAOF NO ONE there", "no node says that it is the master")
		case 1:
		default:
			d.found(fail, subject, "make all but one replicas of that one: REPLICAOF HOST PORT", "%s all say that they are the master", strings.Join(list, ", "))
		}
	}
}

// examine asks one server.
func examine(ctx context.Context, n backendNode) examined {
	ctx, cancel := within(ctx)
	defer cancel()
	out := examined{backendNode: n, settings: map[string]string{}}
	auth := n.pool.Auth
	c, err := control.Dial(ctx, n.addr, control.Options{User: auth.BackendUser, Password: auth.BackendPassword.Reveal()})
	if err != nil {
		out.err, out.fix = err, dialFix(err)
		return out
	}
	defer c.Close()
	out.ask(ctx, c)
	access := watcherAccess(n.pool, "")
	if out.admin = access.AdminAddr(n.addr); out.admin != n.addr {
		admin, err := control.Dial(ctx, out.admin, control.Options{User: auth.BackendUser, Password: auth.BackendPassword.Reveal()})
		if out.adminErr = err; err == nil {
			admin.Close()
		}
	}
	return out
}

// dialFix is what to do about a server that can't be reached, or lets nobody in.
func dialFix(err error) string {
	var said control.ReplyError
	switch {
	case !errors.As(err, &said) && errors.Is(err, syscall.ECONNREFUSED):
		return "start it, or correct the address: nothing listens there"
	case !errors.As(err, &said):
		return "start it, or correct the address; is there a firewall in between?"
	case strings.Contains(string(said), "no password is set"), strings.Contains(string(said), "without any password configured"):
		return "it wants no password: remove backend_password of [pool.auth], or set requirepass there"
	}
	return "correct backend_user and backend_password of [pool.auth]"
}

// checkedSettings are those that matter to who reads replicas and to who fails over.
var checkedSettings = []string{
	"repl-backlog-size", "repl-diskless-sync", "repl-diskless-sync-delay", "replica-serve-stale-data", "min-replicas-to-write",
}

// ask fills in what the server says.
func (x *examined) ask(ctx context.Context, c *control.Conn) {
	v, err := c.Do(ctx, "INFO")
	if err == nil && v.Err() != nil {
		err = fmt.Errorf("INFO: %w", v.Err())
	}
	if err != nil {
		x.err, x.fix = err, "is that a Redis?"
		switch said := v.Text; {
		case strings.HasPrefix(said, "NOAUTH"):
			x.fix = "it asks for a password: set backend_password of [pool.auth]"
		case strings.HasPrefix(said, "NOPERM"):
			x.fix = "let backend_user of [pool.auth] run INFO"
		case strings.HasPrefix(said, "LOADING"):
			x.fix = "wait until it has loaded its data"
		}
		return
	}
	fields := infoFields(v.Text)
	x.version = serverName(fields)
	r := dialect.ParseReplication([]byte(v.Text))
	x.says, x.follows, x.linkUp, x.replicas = r.Role.String(), r.MasterAddr, r.LinkUp, len(r.Replicas)
	x.askTime(ctx, c)
	for _, name := range checkedSettings {
		v, err := c.Do(ctx, "CONFIG", "GET", name)
		if err != nil || v.Err() != nil {
			return // Renamed, not allowed, not known: it is not ours to insist.
		}
		if len(v.Elems) == 2 {
			x.settings[name] = v.At(1).Text
		}
	}
}

// askTime compares the clocks: the server's is read between two looks at ours.
func (x *examined) askTime(ctx context.Context, c *control.Conn) {
	before := time.Now()
	v, err := c.Do(ctx, "TIME")
	after := time.Now()
	if err != nil || len(v.Elems) != 2 {
		return
	}
	seconds, err1 := strconv.ParseInt(v.At(0).Text, 10, 64)
	micros, err2 := strconv.ParseInt(v.At(1).Text, 10, 64)
	if err1 != nil || err2 != nil {
		return
	}
	at := time.Unix(seconds, micros*1000)
	x.off, x.timed = max(0, before.Sub(at), at.Sub(after)), true
}

func infoFields(info string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// serverName is the family and version of a server, whichever of the family's fields it has.
func serverName(fields map[string]string) string {
	for _, f := range []struct{ field, name string }{
		{"dragonfly_version", "dragonfly"}, {"pika_version", "pika"}, {"kvrocks_version", "kvrocks"}, {"valkey_version", "valkey"}, {"redis_version", "redis"},
	} {
		if v := fields[f.field]; v != "" {
			return f.name + " " + v
		}
	}
	return "a server of unknown version"
}

// speaks reports whether a server of this family is one that the dialect is for. One without a name may be anything.
func speaks(d conf.Dialect, family string) bool {
	switch family {
	case "pika", "dragonfly", "kvrocks":
		return family == string(d)
	case "valkey", "redis":
		return d == conf.DialectRedis || d == conf.DialectCodis
	}
	return true
}

// judge says what is wrong with one server.
func (d *doctor) judge(x *examined) {
	subject := "backend " + x.addr
	where := "pool " + x.pool.Name
	family, version, _ := strings.Cut(x.version, " ")
	fault := dialect.Of(string(x.pool.Dialect)).ReplicaFault(version)
	if x.group != "" {
		where += ", group " + x.group
	}
	switch {
	case x.err != nil:
		d.found(fail, subject, x.fix, "%s: %s", where, strings.TrimPrefix(consulError(x.err), x.addr+": "))
	case x.role == "master" && x.says == "replica":
		d.found(fail, subject, fmt.Sprintf("make it the master, or name %s as the master in the configuration", cmp.Or(x.follows, "its master")),
			"%s: configured as master, but it is a replica of %s", where, cmp.Or(x.follows, "another node"))
	case x.role == "replica" && x.says == "master":
		d.found(fail, subject, "REPLICAOF "+spaced(x.master)+" there, or correct the configuration", "%s: configured as replica, but it is a master: its data is not that of the group", where)
	case x.role == "replica" && x.follows != "" && !sameServer(x.follows, x.master):
		d.found(warn, subject, "REPLICAOF "+spaced(x.master)+" there, unless that is another name of the same node", "%s: it follows %s, the configured master is %s", where, x.follows, x.master)
	case x.says == "replica" && !x.linkUp:
		d.found(fail, subject, "look at its log: is its master reachable from there, and masterauth right?", "%s: %s, replica of %s, but the link to it is down", where, x.version, x.follows)
	case !speaks(x.pool.Dialect, family):
		d.found(fail, subject, fmt.Sprintf("set dialect = %q, or correct the address", family),
			"%s: it is %s, and the pool has dialect %q", where, x.version, x.pool.Dialect)
	case x.adminErr != nil:
		d.found(fail, subject, "correct discovery.admin_port", "%s: it can't be asked about migrations at %s: %s", where, x.admin,
			strings.TrimPrefix(x.adminErr.Error(), x.admin+": "))
	case fault != "" && readsReplicas(x.pool):
		fix := `let them be written by SET and then EXPIRE, and set accept_expiry_loss = true of [pool.reads], or policy = "master"`
		d.found(warn, subject, fix, "%s: %s", where, fault)
	default:
		text := fmt.Sprintf("%s: %s, %s", where, x.version, x.says)
		if x.says == "replica" && x.follows != "" {
			text += " of " + x.follows
		}
		d.found(fine, subject, "", "%s", text)
	}
}

// sameServer reports whether two addresses are one, as far as names can be resolved here.
func sameServer(a, b string) bool {
	if a == b {
		return true
	}
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	if portA != portB {
		return false
	}
	ctx, cancel := within(context.Background())
	defer cancel()
	addrsA, _ := net.DefaultResolver.LookupHost(ctx, hostA)
	addrsB, _ := net.DefaultResolver.LookupHost(ctx, hostB)
	return slices.ContainsFunc(addrsA, func(addr string) bool { return slices.Contains(addrsB, addr) })
}

func spaced(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "HOST PORT"
	}
	return host + " " + port
}

// checkClocks compares the clocks of the servers with that of this host.
func (d *doctor) checkClocks(results []examined) {
	timed := 0
	for i := range results {
		x := &results[i]
		if !x.timed {
			continue
		}
		timed++
		if x.off > clockTolerance {
			d.found(warn, "clock against "+x.addr, "let NTP set the clocks of both hosts; keys expire by the clock of their server", "they differ by %s", x.off.Round(time.Millisecond))
			timed--
		}
	}
	if timed > 0 {
		d.found(fine, "clocks of the backends", "", "%d agree with this host", timed)
	}
}

// smallBacklog is what a busy master writes in a second or so: a replica that is away for longer needs a full copy.
const smallBacklog = 16 << 20

// checkSettings finds settings that hurt replicas, and names the servers that have them, one line for each.
func (d *doctor) checkSettings(results []examined) {
	type advice struct{ text, fix string }
	servers := make(map[advice][]string)
	add := func(x *examined, text, fix string) {
		servers[advice{text, fix}] = append(servers[advice{text, fix}], x.addr)
	}
	asked := 0
	for i := range results {
		x := &results[i]
		if len(x.settings) == 0 {
			continue
		}
		asked++
		if n, err := strconv.ParseInt(x.settings["repl-backlog-size"], 10, 64); err == nil && n < smallBacklog {
			add(x, fmt.Sprintf("repl-backlog-size %v is small: a replica that was cut off for a moment needs a full copy", conf.Bytes(n)), "CONFIG SET repl-backlog-size 64mb, or more")
		}
		if x.settings["replica-serve-stale-data"] == "no" {
			add(x, "replica-serve-stale-data no: while a replica copies, its reads fail with MASTERDOWN and go to the master", "CONFIG SET replica-serve-stale-data yes; Sluice reads no replica that is too old")
		}
		isMaster := x.says == "master"
		if isMaster && x.settings["min-replicas-to-write"] == "0" && x.hasReplicas(results) {
			add(x, "min-replicas-to-write 0: a master that is cut off takes writes that are lost when a replica takes its place", "CONFIG SET min-replicas-to-write 1, if losing them is worse than refusing them")
		}
		delay, err := strconv.Atoi(x.settings["repl-diskless-sync-delay"])
		if isMaster && err == nil && delay > 0 && x.settings["repl-diskless-sync"] == "yes" && x.hasReplicas(results) {
			add(x, fmt.Sprintf("repl-diskless-sync-delay %d: a replica that needs a full copy waits %d s for others before it begins", delay, delay), "CONFIG SET repl-diskless-sync-delay 0, where groups have few replicas")
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(servers), func(a, b advice) int { return cmp.Compare(a.text, b.text) }) {
		list := servers[a]
		names := strings.Join(list[:min(len(list), 4)], ", ")
		if more := len(list) - 4; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		d.found(warn, "settings", a.fix, "%s (%s)", a.text, names)
	}
	if asked > 0 && len(servers) == 0 {
		d.found(fine, "settings", "", "those for replication are fine on %d server(s)", asked)
	}
}

// hasReplicas reports whether the group of a master has other nodes.
func (x *examined) hasReplicas(results []examined) bool {
	if x.group == "" {
		return x.replicas > 0
	}
	return slices.ContainsFunc(results, func(other examined) bool {
		return other.pool == x.pool && other.group == x.group && other.addr != x.addr
	})
}
