package proxy

import (
	"context"
	"time"

	"sluice/proxy/local"
	"sluice/proxy/pubsub"
)

// CLIENT LIST and CLIENT KILL ask every loop for its clients. Those of other pools are neither shown nor closed:
// whoever may use one pool has no part in the others.

func cmdClientList(c *client, args [][]byte) stall {
	f, refusal := local.ListFilter(args)
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	var list []local.Description
	resp3 := c.resp3()
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		if !c.loop.server.visitClients(ctx, c.pool, func(other *client) {
			if f.Takes(other.peer()) {
				list = append(list, other.describe())
			}
		}) {
			return nil
		}
		reply := local.AppendClients(nil, list, resp3)
		return func(dst []byte) []byte { return append(dst, reply...) }
	})
	return stallNone
}

// cmdClientKill closes clients of the pool. One that kills itself gets its answer first, as in Redis.
func cmdClientKill(c *client, args [][]byte) stall {
	f, refusal := local.KillFilter(localClient{c}, args)
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	if !c.pipe.empty() {
		return stallDrain
	}
	killed, self := int64(0), false
	// If it kills itself, what it has asked for behind that is not run: the answer comes alone.
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		if !c.loop.server.visitClients(ctx, c.pool, func(other *client) {
			switch {
			case !f.Takes(other.peer()):
				return
			case other == c:
				self = true
			default:
				other.close()
			}
			killed++
		}) {
			return nil
		}
		return func(dst []byte) []byte {
			if self {
				c.finish()
			}
			return f.AppendKilled(dst, killed)
		}
	})
	return stallNone
}

// cmdClientCaching refuses. A client that sends it in one go with what it wants to keep (rueidis: CACHING YES,
// MULTI, PTTL, GET, EXEC) looks at the last answer alone, so that has to fail as well: see cmdMulti.
func cmdClientCaching(c *client, _ [][]byte) stall {
	c.replyError(errNoCaching)
	c.setMode(modeUncached, true)
	return stallNone
}

// peer says which client it is.
func (c *client) peer() local.Peer {
	p := local.Peer{ID: int64(c.id), Type: local.TypeNormal, Addr: c.addr, LocalAddr: c.laddr, User: c.user,
		Known: !c.is(modeUnauthenticated)}
	if c.subscriptions.Any() {
		p.Type = local.TypePubSub
	}
	return p
}

// describe is what CLIENT LIST shows of the client.
func (c *client) describe() local.Description {
	d := local.Description{
		Peer: c.peer(), Identity: c.Identity, Pool: c.pool.Name, Proxy: c.loop.server.id, FD: -1,
		Age: time.Since(c.created), Idle: time.Duration(c.loop.now - c.heardAt), DB: c.db, Proto: c.proto,
		Command: c.lastCommand(), InFlight: c.pipe.len(), Multi: -1,
		Channels: c.subscriptions.Len(pubsub.Channel), Patterns: c.subscriptions.Len(pubsub.Pattern),
		ShardChannels: c.subscriptions.Len(pubsub.Shard),
		Unparsed:      len(c.in) - c.inOff, UnparsedFree: cap(c.in) - len(c.in), Output: len(c.out), Held: c.held,
		Memory: cap(c.in) + cap(c.out), Monitor: c.monitor != nil, Blocked: c.blocked(), Closing: c.closing,
	}
	if c.conn != nil {
		d.Unsent, d.FD = c.conn.OutboundBuffered(), c.conn.Fd()
	}
	if c.is(modeQueueing) {
		d.Multi = len(c.tx.sizes)
	}
	return d
}

// blocked reports whether a blocking command or WAIT keeps the client waiting at a server, or CLIENT PAUSE here.
func (c *client) blocked() bool {
	if c.waiting != nil || c.postponing() {
		return true
	}
	if len(c.retries) == 0 {
		return false
	}
	x, ok := c.retries[0].exclusive.(*blocking)
	return ok && x.conn != nil
}

// lastCommand is the command that the client has asked for last. Those that took the short way through dispatch
// left it in their place in the pipeline only.
func (c *client) lastCommand() string {
	if c.pipe.tail != c.lastTail && len(c.pipe.ring) > 0 {
		if cmd := c.pipe.at(c.pipe.tail - 1).cmd; cmd != nil {
			return cmd.Name
		}
	}
	if c.last != nil {
		return c.last.Name
	}
	return "NULL"
}
