package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/proxy/command"
	"sluice/proxy/local"
	"sluice/proxy/pubsub"
	"sluice/proxy/resp"
)

// clientFilter chooses clients for CLIENT LIST and CLIENT KILL; nil fields choose all.
type clientFilter struct {
	ids         []int64
	kind        string
	addr, laddr *string
	user        *string
	not         *client
}

func (f *clientFilter) takes(c *client) bool {
	return (f.ids == nil || slices.Contains(f.ids, int64(c.id))) && (f.kind == "" || f.kind == c.peer().Type) &&
		(f.addr == nil || *f.addr == c.addr) && (f.laddr == nil || *f.laddr == c.laddr) &&
		(f.user == nil || !c.is(modeUnauthenticated) && *f.user == c.user) && f.not != c
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

// clientKind reads the type of a client. What Redis knows and Sluice never has is valid and chooses nobody.
func clientKind(arg []byte) (kind, refusal string) {
	kind = strings.ToLower(string(arg))
	switch kind {
	case "normal", "pubsub", "master", "replica":
		return kind, ""
	case "slave":
		return "replica", ""
	}
	return "", fmt.Sprintf("ERR Unknown client type '%s'", arg)
}

// cmdClientList asks every loop for its clients. Those of other pools are not shown: whoever may use one pool has
// no part in the others.
func cmdClientList(c *client, args [][]byte) stall {
	f, refusal := parseListFilter(args)
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	type line struct {
		id   uint64
		text string
	}
	var lines []line
	resp3 := c.resp3()
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		if !c.loop.server.visitClients(ctx, c.pool, func(other *client) {
			if f.takes(other) {
				lines = append(lines, line{other.id, other.describe()})
			}
		}) {
			return nil
		}
		slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.id, b.id) })
		var list strings.Builder
		for _, l := range lines {
			list.WriteString(l.text)
		}
		reply := resp.AppendVerbatim(nil, list.String(), resp3)
		return func(dst []byte) []byte { return append(dst, reply...) }
	})
	return stallNone
}

func parseListFilter(args [][]byte) (f clientFilter, refusal string) {
	switch {
	case len(args) == 2:
	case len(args) == 4 && command.IsWord(args[2], "type"):
		f.kind, refusal = clientKind(args[3])
	case len(args) > 3 && command.IsWord(args[2], "id"):
		for _, arg := range args[3:] {
			id, ok := command.Integer(arg)
			if !ok {
				return f, "ERR Invalid client ID"
			}
			f.ids = append(f.ids, id)
		}
	default:
		refusal = errSyntax
	}
	return f, refusal
}

func cmdClientInfo(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte {
		return resp.AppendVerbatim(dst, c.describe(), c.resp3())
	})
	return stallNone
}

// describe is the client's line of CLIENT LIST: the fields of Redis, 0 where they mean nothing here, then our own.
func (c *client) describe() string {
	waiting, fd := 0, -1
	if c.conn != nil {
		waiting, fd = c.conn.OutboundBuffered(), c.conn.Fd()
	}
	multi, redirect := -1, -1
	if c.is(modeQueueing) {
		multi = len(c.tx.sizes)
	}
	if c.optIn {
		redirect = 0
	}
	var b strings.Builder
	fmt.Fprintf(&b, "id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=%d multi=%d",
		c.id, c.addr, c.laddr, fd, c.name, int(time.Since(c.created).Seconds()), time.Duration(c.loop.now-c.heardAt)/time.Second,
		c.flags(), c.db, c.subscriptions.Len(pubsub.Channel), c.subscriptions.Len(pubsub.Pattern),
		c.subscriptions.Len(pubsub.Shard), multi)
	fmt.Fprintf(&b, " qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=%d oll=0 omem=%d tot-mem=%d events=%s",
		len(c.in)-c.inOff, cap(c.in)-len(c.in), len(c.out), waiting+c.held, cap(c.in)+cap(c.out)+waiting+c.held, c.events(waiting))
	fmt.Fprintf(&b, " cmd=%s user=%s redir=%d resp=%d lib-name=%s lib-ver=%s pool=%s inflight=%d proxy=%s\n",
		c.lastCommand(), c.user, redirect, c.proto, c.libName, c.libVer, c.pool.Name, c.pipe.len(), c.loop.server.id)
	return b.String()
}

// flags are Redis' letters for what a client is.
func (c *client) flags() string {
	flags := ""
	for _, f := range []struct {
		on     bool
		letter string
	}{
		{c.monitor != nil, "O"},
		{c.subscriptions.Any(), "P"},
		{c.is(modeQueueing), "x"},
		{c.blocked(), "b"},
		{c.optIn, "t"},
		{c.closing, "c"},
		{strings.HasPrefix(c.laddr, "/"), "U"},
		{c.noEvict, "e"},
		{c.noTouch, "T"},
	} {
		if f.on {
			flags += f.letter
		}
	}
	return cmp.Or(flags, "N")
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

// events says what is waited for on the socket.
func (c *client) events(waiting int) string {
	if waiting > 0 {
		return "rw"
	}
	return "r"
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
