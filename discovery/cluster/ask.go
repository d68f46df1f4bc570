package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"

	"sluice/internal/control"
)

// limits bound what one node may answer at once. The largest true answer, CLUSTER SLOTS of a cluster in which every slot
// is a range of its own and has six nodes with their metadata, has about 20 MB and a million elements.
var limits = control.Limits{Bytes: 64 << 20, Elements: 2 << 20}

// ask asks the node at addr how it sees its cluster, over a connection of its own. Looks are rare, so that
// connections kept for them would mostly be idle, and would have to be watched; a new one proves on top that
// the node still takes connections.
func (s *Source) ask(ctx context.Context, addr string) (view, error) {
	cfg := s.cfg.Load()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return view{}, err
	}
	v, err := askNode(ctx, addr, host, cfg)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return view{}, fmt.Errorf("%s: no answer within %s", addr, cfg.Timeout)
	}
	return v, err
}

// askNode is ask without its time.
func askNode(ctx context.Context, addr, host string, cfg *Config) (view, error) {
	c, err := control.Dial(ctx, addr, control.Options{
		User: cfg.Username, Password: cfg.Password, Name: cfg.ClientName, Limits: limits, Dial: cfg.Dial,
	})
	if err != nil {
		return view{}, err
	}
	defer c.Close()
	return viewOf(ctx, c, host)
}

// viewOf asks for everything at once, and for CLUSTER SLOTS when CLUSTER SHARDS is unknown or not understood.
func viewOf(ctx context.Context, c *control.Conn, host string) (view, error) {
	replies, err := c.Pipe(ctx, []string{"CLUSTER", "INFO"}, []string{"CLUSTER", "MYID"}, []string{"CLUSTER", "SHARDS"})
	if err != nil {
		return view{}, err
	}
	info, myID, shardsReply := replies[0], replies[1], replies[2]
	if err := knowsCluster(info); err != nil {
		return view{}, fmt.Errorf("%s: CLUSTER INFO: %w", c.Addr(), err)
	}
	v := view{from: c.Addr()}
	if myID.Err() == nil && myID.Text != "" {
		v.from = myID.Text
	}
	if v.shards, err = parseShards(shardsReply, host); err != nil {
		if v.shards, err = slotsOf(ctx, c, host, err); err != nil {
			return view{}, err
		}
	}
	forgetSharedIDs(v.shards)
	for _, sh := range v.shards {
		if len(sh.slots) > 0 {
			return v, nil
		}
	}
	return view{}, fmt.Errorf("%s: it knows nobody who owns a slot", c.Addr())
}

// slotsOf asks for CLUSTER SLOTS; shardsErr is why.
func slotsOf(ctx context.Context, c *control.Conn, host string, shardsErr error) ([]shard, error) {
	reply, err := c.Do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		return nil, err
	}
	shards, err := parseSlots(reply, host)
	if err != nil {
		return nil, fmt.Errorf("%s: CLUSTER SHARDS: %w; CLUSTER SLOTS: %w", c.Addr(), shardsErr, err)
	}
	return shards, nil
}
