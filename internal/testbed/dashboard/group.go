package dashboard

import (
	"context"
	"fmt"
	"slices"
)

// Group is a master and its replicas.
type Group struct {
	ID      int      // from 1
	Servers []string // the first is the master
	// ReplicaReads lists all servers in replica_groups, the master too, as Pika's fork does by itself.
	ReplicaReads bool
}

// group is a Group and how far its promotion is.
type group struct {
	id           int
	servers      []string
	replicaReads bool
	promoting    state // nothing, preparing, prepared or finished
	index        int   // of the server that is promoted
}

// master is the address of the master, "" when there is none.
func (g *group) master() string {
	if g == nil || len(g.servers) == 0 {
		return ""
	}
	return g.servers[0]
}

func (g *group) locked() bool { return g != nil && g.promoting == prepared }

// replicaGroups lists the servers as those on the same machine as the proxy.
func (g *group) replicaGroups() [][]string {
	if g == nil || !g.replicaReads || g.promoting != nothing || len(g.servers) < 2 {
		return nil
	}
	return [][]string{slices.Clone(g.servers)}
}

// Promote makes the server at addr the master of its group: all its slots are locked, the server is told, all are
// filled in again. It is refused while keys are moved. After an error it may be called again and goes on where it was.
func (d *Dashboard) Promote(ctx context.Context, id int, addr string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[id]
	if g == nil || slices.Index(g.servers, addr) < 0 {
		return fmt.Errorf("group %d has no server %s", id, addr)
	}
	index := slices.Index(g.servers, addr)
	switch {
	case g.promoting != nothing && index != g.index:
		return fmt.Errorf("group %d promotes %s already", id, g.servers[g.index])
	case g.promoting == nothing && index == 0:
		return fmt.Errorf("group %d: %s is the master", id, addr)
	case d.running > 0:
		return fmt.Errorf("slots-migration is running = %d", d.running)
	}
	g.index = index
	if g.promoting == nothing {
		g.promoting = preparing
	}
	if g.promoting == preparing {
		g.promoting = prepared
		if err := d.resync(ctx, d.slotsOf(id)); err != nil {
			g.promoting = preparing
			_ = d.resync(ctx, d.slotsOf(id))
			return err
		}
	}
	if g.promoting == prepared {
		// The old master goes to the end.
		g.servers = slices.Concat([]string{addr}, slices.Delete(slices.Clone(g.servers), index, index+1)[1:], g.servers[:1])
		g.index, g.promoting = 0, finished
		if err := d.makeMaster(ctx, addr); err != nil {
			d.progress.failed(fmt.Errorf("group %d: %s: %w", id, addr, err))
		}
	}
	if err := d.resync(ctx, d.slotsOf(id)); err != nil {
		return err
	}
	g.promoting = nothing
	return nil
}

// SwitchMaster takes note of a failover that the sentinels have made. The proxies hear of it with the next fill.
func (d *Dashboard) SwitchMaster(id int, addr string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[id]
	if g == nil || slices.Index(g.servers, addr) < 0 {
		return fmt.Errorf("group %d has no server %s", id, addr)
	}
	i := slices.Index(g.servers, addr)
	g.servers[0], g.servers[i] = g.servers[i], g.servers[0]
	return nil
}

// Resync fills in all slots of a group again.
func (d *Dashboard) Resync(ctx context.Context, id int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resync(ctx, d.slotsOf(id))
}

// slotsOf lists the slots of a group, and those on their way to it. d.mu is held.
func (d *Dashboard) slotsOf(id int) []mapping {
	var slots []mapping
	for _, m := range d.slots {
		if m.group == id || m.action != nothing && m.target == id {
			slots = append(slots, m)
		}
	}
	return slots
}

// makeMaster tells a server to follow nobody, within the second that the dashboard gives it.
func (d *Dashboard) makeMaster(ctx context.Context, addr string) error {
	s, err := dialServer(ctx, addr, d.opts.Auth, statsTimeout)
	if err != nil {
		return err
	}
	defer s.close()
	commands := [][]string{
		{"MULTI"}, {"CONFIG", "SET", "masterauth", d.opts.Auth}, {"SLAVEOF", "NO", "ONE"}, {"CONFIG", "REWRITE"},
		{"CLIENT", "KILL", "TYPE", "normal"}, {"EXEC"},
	}
	if d.opts.Pika {
		commands = [][]string{{"CONFIG", "SET", "masterauth", d.opts.Auth}, {"SLAVEOF", "NO", "ONE"}, {"CONFIG", "REWRITE"}}
	}
	for _, args := range commands {
		if _, err := s.do(ctx, args...); err != nil {
			return fmt.Errorf("%q: %w", args, err)
		}
	}
	return nil
}
