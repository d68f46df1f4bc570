package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tidwall/resp"

	"sluice/discovery"
)

// maxReply bounds what one node may send in a look. The largest honest reply, CLUSTER SLOTS of a cluster
// in which every slot is a range of its own and has six nodes, has about 20 MB.
const maxReply = 64 << 20

// ask asks the node at addr how it sees its cluster, over a connection of its own. Looks are rare, so that
// connections kept for them would mostly be idle, and would have to be watched; a new one proves on top that
// the node still takes connections.
func (s *Source) ask(ctx context.Context, addr string) (view, error) {
	cfg := s.cfg.Load()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	conn, err := cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return view{}, err // It names the address and the operation itself.
	}
	defer conn.Close()
	// The reader of tidwall/resp knows neither contexts nor deadlines.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return view{}, err
	}
	c := exchange{conn: conn, rd: resp.NewReader(io.LimitReader(conn, maxReply))}
	v, err := c.view(addr, host, discovery.Greeting(cfg.Username, cfg.Password, cfg.ClientName))
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return view{}, fmt.Errorf("%s: no answer within %s", addr, cfg.Timeout)
	}
	if err != nil {
		return view{}, fmt.Errorf("%s: %w", addr, err)
	}
	return v, nil
}

// exchange is one conversation with a node. Owned by the goroutine that asks. It never sends HELLO: the
// reader would take RESP3 replies for something else without an error.
type exchange struct {
	conn net.Conn
	rd   *resp.Reader
}

// view asks for everything at once, and for CLUSTER SLOTS when CLUSTER SHARDS is unknown or not understood.
func (c *exchange) view(addr, host string, greeting [][]string) (view, error) {
	cmds := append(greeting, []string{"CLUSTER", "INFO"}, []string{"CLUSTER", "MYID"}, []string{"CLUSTER", "SHARDS"})
	replies, err := c.do(cmds)
	if err != nil {
		return view{}, err
	}
	for i, cmd := range greeting {
		if err := replies[i].Error(); err != nil && cmd[0] == "AUTH" {
			return view{}, fmt.Errorf("AUTH: %w", err)
		}
	}
	info, myID, shardsReply := replies[len(greeting)], replies[len(greeting)+1], replies[len(greeting)+2]
	if err := knowsCluster(info); err != nil {
		return view{}, fmt.Errorf("CLUSTER INFO: %w", err)
	}
	v := view{from: addr}
	if myID.Error() == nil && myID.String() != "" {
		v.from = myID.String()
	}
	if v.shards, err = parseShards(shardsReply, host); err != nil {
		if v.shards, err = c.slots(host, err); err != nil {
			return view{}, err
		}
	}
	forgetSharedIDs(v.shards)
	for _, sh := range v.shards {
		if len(sh.slots) > 0 {
			return v, nil
		}
	}
	return view{}, errors.New("it knows nobody who owns a slot")
}

// slots asks for CLUSTER SLOTS; shardsErr is why.
func (c *exchange) slots(host string, shardsErr error) ([]shard, error) {
	replies, err := c.do([][]string{{"CLUSTER", "SLOTS"}})
	if err != nil {
		return nil, err
	}
	shards, err := parseSlots(replies[0], host)
	if err != nil {
		return nil, fmt.Errorf("CLUSTER SHARDS: %w; CLUSTER SLOTS: %w", shardsErr, err)
	}
	return shards, nil
}

// do sends commands in one write and reads a reply for each.
func (c *exchange) do(cmds [][]string) ([]resp.Value, error) {
	var out bytes.Buffer
	for _, cmd := range cmds {
		values := make([]resp.Value, len(cmd))
		for i, arg := range cmd {
			values[i] = resp.StringValue(arg)
		}
		if err := resp.NewWriter(&out).WriteArray(values); err != nil {
			return nil, err
		}
	}
	if _, err := c.conn.Write(out.Bytes()); err != nil {
		return nil, err
	}
	replies := make([]resp.Value, len(cmds))
	for i := range replies {
		v, _, err := c.rd.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("reply to %s: %w", cmds[i][0], err)
		}
		replies[i] = v
	}
	return replies, nil
}
