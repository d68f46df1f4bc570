package proxy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/router"
)

// Some commands of a transaction are not the server's to run as they stand there.
//
//	own      what Sluice answers itself (CLIENT SETNAME, SLOWLOG, COMMAND, ...): a PING goes in its place, and the answer
//	         takes the place of the PONG when the reply of EXEC comes
//	SELECT   the connection is shared by all clients with that database, so the last command selects that one again; the
//	         answer to it is cut off, and the client has the new database from then on
//	MOVE     and COPY ... DB: nothing but that they wait for moves of their slots, as does SELECT
//	whole    what is about all keys (FLUSHALL, DBSIZE, ...): only while one master has all of them, also when it is sent
//
// apart is what is to be done about it. Owned by the transaction and then by its execution; nil where there is nothing.
type apart struct {
	own     []ownCommand
	selects []selectCommand
	others  bool // it uses other databases than the client's
	whole   bool
	kept    int    // bytes of the commands in own
	reply   []byte // of EXEC, as far as it has come; from the loop's pool
}

// ownCommand is a command that Sluice answers, and selectCommand a SELECT: both by their place in the transaction.
type ownCommand struct {
	at  int
	raw []byte
}

type selectCommand struct {
	at int
	db int
}

// mostOwn bounds the commands of one transaction that Sluice answers itself: they are run in one turn of the event
// loop.
const mostOwn = 100

// ownInTransaction are commands that Sluice answers in transactions too, by full name or container. They answer at
// once, and change nothing but the client or Sluice's own books. Immutable after construction.
var ownInTransaction = map[string]bool{
	"client|setname": true, "client|getname": true, "client|id": true, "client|info": true,
	"client|setinfo": true, "client|no-evict": true, "client|no-touch": true, "client|trackinginfo": true, "client|getredir": true, "client|help": true,
	"command": true, "slowlog": true, "latency": true, "acl": true, "role": true, "lolwut": true,
	"config|help": true,
}

// wholeInTransaction are kinds of commands over all nodes that one server can run in a transaction.
func wholeInTransaction(kind fanKind) bool {
	switch kind {
	case fanAll, fanSum, fanMin, fanAnd, fanKeys, fanKey, fanAny, fanStats, fanSingle, fanCommon:
		return true
	case fanOne, fanScan, fanConfigGet, fanConfigSet, fanSame:
	}
	return false
}

// queueApart notes what is to be done about a command of the transaction, and returns the request that goes to the
// server.
func (c *client) queueApart(q request) (raw []byte) {
	tx, p := &c.tx, &plans[q.cmd.ID]
	at := len(tx.sizes)
	note := func() *apart {
		if tx.apart == nil {
			tx.apart = new(apart)
		}
		return tx.apart
	}
	switch {
	case q.cmd.Name == "select" && c.offersDB(q.args[1]):
		n, _ := command.Integer(q.args[1])
		a := note()
		a.selects, a.others = append(a.selects, selectCommand{at, int(n)}), true
	case q.cmd.Name == "select", answersInside(q.cmd):
		a := note()
		a.own = append(a.own, ownCommand{at, bytes.Clone(q.raw)})
		a.kept += len(q.raw)
		return pingRequest
	case usesOtherDB(q):
		note().others = true
	case p.kind == planFanOut || q.cmd.Name == "info":
		note().whole = true
		c.noteFlush(q)
		if q.cmd.Parent != nil && q.cmd.Parent.Name == "function" && q.cmd.Is(command.Write) {
			c.pool.functionChanges.Add(1)
		}
		tx.bringsScripts = tx.bringsScripts || q.cmd.Name == "script|load"
		tx.writes = tx.writes || q.cmd.Is(command.Write)
	}
	return q.raw
}

func answersInside(cmd *command.Command) bool {
	return plans[cmd.ID].kind == planLocal && (ownInTransaction[cmd.Name] || cmd.Parent != nil && ownInTransaction[cmd.Parent.Name])
}

// mayQueueApart says why a command that no server runs as it is can't be part of the transaction. It is not ok for
// one that has no place in any.
func (c *client) mayQueueApart(q request) (refusal string, ok bool) {
	switch p := &plans[q.cmd.ID]; {
	case q.cmd.Name == "select", answersInside(q.cmd):
		if a := c.tx.apart; a != nil && len(a.own) >= mostOwn {
			return fmt.Sprintf("ERR a transaction has at most %d commands that Sluice answers itself", mostOwn), true
		}
		return "", true
	case p.kind == planFanOut && wholeInTransaction(p.fan), q.cmd.Name == "info":
		if refusal := c.fanRefusal(q, p.fan); p.kind == planFanOut && refusal != "" {
			return refusal, true
		}
		if q.v != nil && len(q.v.shares) > 1 {
			return fmt.Sprintf("ERR '%s' is about all %d masters, and a transaction through Sluice runs at one", q.cmd.Name, len(q.v.shares)), true
		}
		return "", true
	}
	return "", false
}

// offersDB reports whether SELECT would succeed. One that would not is Sluice's to answer: the server may have more
// databases.
func (c *client) offersDB(arg []byte) bool {
	n, ok := command.Integer(arg)
	return ok && n >= 0 && n < int64(c.databases())
}

// last is the request that goes in front of EXEC, nil when there is none.
func (a *apart) last(db int) []byte {
	if a == nil || len(a.selects) == 0 {
		return nil
	}
	return resp.AppendCommand(nil, "SELECT", strconv.Itoa(db))
}

// waitsFor is the move that the transaction waits for before it is sent: what is about all keys must not miss one
// on its way, and keys of a slot that moves are looked for in the database of the client, not in one that the
// transaction selects.
func (a *apart) waitsFor(v *view, slots []router.Slot) (o blockReason, blocked bool) {
	if a == nil || v == nil {
		return o, false
	}
	for _, m := range v.table.Moves() {
		if a.whole || a.others && slices.Contains(slots, m.Slot) {
			return inOtherDBs(m), true
		}
	}
	return o, false
}

// usesOtherDB reports whether a command uses another database beside the client's.
func usesOtherDB(q request) bool {
	switch q.cmd.Name {
	case "move":
		return true
	case "copy":
		return slices.ContainsFunc(q.args[min(3, len(q.args)):], func(arg []byte) bool { return command.IsWord(arg, "db") })
	}
	return false
}

// inOtherDBs is a move that a command waits for because it is about other databases: keys of a slot that moves are
// looked for in that of the client alone.
func inOtherDBs(m *router.Move) blockReason {
	why := fmt.Sprintf("is %s, and the request is about other databases, or about all keys", m)
	return blockReason{cause: hold.Moving, slot: m.Slot, move: m, why: why}
}

// refusal says why the transaction can't be run any more, "" when it can.
func (a *apart) refusal(v *view) string {
	if a == nil || !a.whole || v == nil || len(v.shares) < 2 {
		return ""
	}
	return fmt.Sprintf("EXECABORT Transaction discarded because of: it is about all keys, and these belong to %d masters now", len(v.shares))
}

// size is how many bytes are kept of the transaction beside its queue.
func (a *apart) size() int {
	if a == nil {
		return 0
	}
	return a.kept
}

// closeOverflowing closes a client whose reply is put together here and has become larger than client_output: at
// one server it would be closed as well.
func (c *client) closeOverflowing(cmd string) {
	c.loop.server.often.Warn("client does not read its replies, closing it", "client", c.id, "addr", c.addr, "cmd", cmd,
		"limit_bytes", c.loop.server.limits().ClientOutput)
	c.close()
}

// take takes a part of the reply of EXEC. When it is whole it returns what the client gets, nil before that and
// when the client was closed.
func (a *apart) take(c *client, r backend.Reply) []byte {
	pool := c.loop.pool
	a.reply = pool.Append(a.reply, r.Data)
	if !r.Last {
		return nil
	}
	defer func() {
		pool.Put(a.reply)
		a.reply = nil
	}()
	elements, ok := resp.Elements(a.reply)
	if !ok { // Null, or an error.
		return bytes.Clone(a.reply)
	}
	if len(a.selects) > 0 && len(elements) > 0 {
		elements = elements[:len(elements)-1]
	}
	for _, s := range a.selects {
		if s.at < len(elements) && string(elements[s.at]) == string(okReply) {
			c.db = s.db
		}
	}
	size := len(a.reply)
	for _, own := range a.own {
		if own.at >= len(elements) {
			continue
		}
		elements[own.at] = c.answerOwn(own.raw)
		if size += len(elements[own.at]); size > c.loop.server.limits().ClientOutput {
			c.closeOverflowing("exec")
			return nil
		}
	}
	return append(resp.AppendArray(nil, len(elements)), bytes.Join(elements, nil)...)
}

// answerOwn runs a command that Sluice answers itself and returns the answer.
func (c *client) answerOwn(raw []byte) []byte {
	var answer []byte
	c.loop.capture = &answer
	defer func() { c.loop.capture = nil }()
	args := splitRequest(raw)
	cmd := command.Resolve(args)
	if c.dispatchLocal(cmd, plans[cmd.ID].local, args) != stallNone || answer == nil {
		panic("BUG: " + cmd.Name + " does not answer at once")
	}
	return answer
}

// release gives back what is kept of a reply.
func (a *apart) release(c *client) {
	if a != nil {
		c.loop.pool.Put(a.reply)
		a.reply = nil
	}
}
