package proxy

import (
	"bytes"
	"fmt"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/merge"
	"sluice/proxy/resp"
	"sluice/proxy/script"
	"sluice/router"
)

// split is a command whose keys belong to several slots: each part goes to the owner of its keys, and the
// reply is made when all parts are answered. In a pool of the cluster model a part is one slot, because
// servers refuse more; in a Codis pool it is all keys of one node.
//
// The parts run independently. When one fails the client gets that error, and the others may have run.
type split struct {
	gathering

	kind   splitKind
	cmd    *command.Command
	parts  []splitPart
	of     []int  // MGET: the part of each key, in the order of the request
	fan    *fan   // not nil: the parts are whole commands for one master each
	writes uint64 // buckets counted in client.guarantees
	head   []byte // the beginning of the request, for the slow log; from the loop's pool
}

type splitPart struct {
	slot  router.Slot
	node  *backend.Node
	args  int    // arguments of the part's request, the name included
	body  []byte // those behind the name in wire form
	twice bool   // it was sent again after a lost connection

	moving   bool // its keys have to be found, see keyMigration
	atServer bool // sent and not answered

	need  need         // of the keys
	count pendingFlags // how it is counted in client.guarantees
}

// splitKind says how the replies become one.
type splitKind uint8

const (
	splitMGet  splitKind = iota // arrays, values in the order of the keys
	splitMSet                   // OK if all say so
	splitCount                  // numbers, added up
)

// step is how many arguments belong to a key.
func (k splitKind) step() int {
	if k == splitMSet {
		return 2
	}
	return 1
}

// dispatchSplit sends a command in parts, or as it is when one part is enough.
func (c *client) dispatchSplit(v *view, cmd *command.Command, kind splitKind, args [][]byte, raw []byte) stall {
	step := kind.step()
	if (len(args)-1)%step != 0 {
		c.replyError(command.ErrArity(cmd))
		return stallNone
	}
	first := c.pool.Model.Slot(args[1])
	single := true
	reads := c.reads != nil && cmd.Is(command.ReadOnly)
	for i := 1; i < len(args); i += step {
		slot := c.pool.Model.Slot(args[i])
		if !c.takeView(v, slot) {
			return stallDrain
		}
		if v.servingMaster(slot) == nil && !(reads && c.hasReader(v, cmd, slot)) {
			if o, blocked := c.pool.blockReason(v, slot); blocked {
				return c.holdBack(v, o, len(raw))
			}
		}
		if c.reads != nil && c.mustWait(v, cmd, slot) {
			return stallDrain
		}
		if reads && c.waitsForReader(v, cmd, slot) {
			return c.holdBack(v, blockReason{cause: hold.NoReplica, slot: slot}, len(raw))
		}
		single = single && slot == first
	}
	if single {
		return c.forward(v, cmd, first, raw, len(args) > 1+step)
	}
	s := c.newSplit(v, cmd, kind, args)
	s.head = c.loop.pool.Append(nil, raw[:min(len(raw), slowHead)])
	s.seq = c.begin(cmd, anySlot)
	s.countWrites()
	c.splits = append(c.splits, s)
	s.sendParts()
	return stallNone
}

// sendParts sends all parts.
func (s *split) sendParts() {
	for i := range s.parts {
		s.send(i)
	}
}

// newSplit divides the keys, whose slots are all served.
func (c *client) newSplit(v *view, cmd *command.Command, kind splitKind, args [][]byte) *split {
	s := &split{gathering: gathering{client: c}, kind: kind, cmd: cmd}
	step := kind.step()
	index := make(map[any]int) // by node or by slot
	for i := 1; i < len(args); i += step {
		slot := c.pool.Model.Slot(args[i])
		node, moving := v.master(slot), v.table.Move(slot) != nil
		var key any = node
		if c.pool.Model.Cluster() || moving {
			key = slot
		}
		at, ok := index[key]
		if !ok {
			at = len(s.parts)
			index[key] = at
			s.parts = append(s.parts, splitPart{slot: slot, node: node, args: 1, moving: moving})
		}
		part := &s.parts[at]
		part.need.buckets |= bucketOf(slot)
		part.need.since = max(part.need.since, v.settledAt(slot))
		for _, arg := range args[i : i+step] {
			part.body = resp.AppendBulk(part.body, arg)
		}
		part.args += step
		if kind == splitMGet {
			s.of = append(s.of, at)
		}
	}
	s.expect(len(s.parts))
	return s
}

func (s *split) send(i int) {
	c, part := s.client, &s.parts[i]
	l := c.loop
	if s.fan != nil {
		s.sendRaw(i, s.fan.raw)
		return
	}
	l.scratch = resp.AppendArray(l.scratch[:0], part.args)
	l.scratch = resp.AppendBulk(l.scratch, s.cmd.Name)
	l.scratch = append(l.scratch, part.body...)
	part.body = nil
	if part.moving {
		c.addRetry(c.newRetry(s, uint32(i), s.seq, part.slot, l.scratch))
		return
	}
	s.sendRaw(i, l.scratch)
}

// sendRaw sends the request of a part.
func (s *split) sendRaw(i int, raw []byte) {
	l, part := s.client.loop, &s.parts[i]
	b, refusal := s.connFor(part)
	if b == nil {
		s.answer(i, appendErrorLine(nil, refusal))
		return
	}
	if err := b.Send(raw, s, uint32(i), l.now); err != nil {
		s.answer(i, appendErrorLine(nil, sendError(b.Node, err)))
		return
	}
	part.atServer = true
	l.sent(b)
}

// Reply implements backend.Owner for the parts.
func (s *split) Reply(tag uint32, r backend.Reply) {
	c := s.client
	if c.closed {
		return
	}
	part := &s.parts[tag]
	part.atServer = !r.Last
	if r.First && r.Data[0] == '-' && !s.atOnce() && c.retryRejected(s, tag, s.seq, part.slot, r) {
		return
	}
	if s.doubtful(tag, r) {
		s.drop(tag)
		c.askMaster(s, tag, s.seq, part.slot, r.Request)
		return
	}
	if r.First && len(c.retries) > 0 && c.resolveOvertaking(s.seq, s.slots(part), s.cmd, r.Request, r.Last) {
		c.addRetry(c.newRetry(s, tag, s.seq, part.slot, r.Request))
		return
	}
	if r.Last {
		s.noteSlow(c.answeredBy(s.seq, r.Conn, r.Request))
	}
	s.deliver(tag, r.Data, r.First, r.Last)
	if r.Last {
		c.runRetries()
	}
}

// slots is the slot that a part has keys of, or anySlot.
func (s *split) slots(part *splitPart) router.Slot {
	if s.client.pool.Model.Cluster() || part.moving {
		return part.slot
	}
	return anySlot
}

// Fail implements backend.Owner for the parts.
func (s *split) Fail(tag uint32, f backend.Failure) {
	c := s.client
	s.parts[tag].atServer = false
	if c.closed || !s.atOnce() && c.retryLost(s, tag, s.seq, s.parts[tag].slot, f) {
		return
	}
	c.mayHaveOvertaken(s.seq, s.slots(&s.parts[tag]), s.cmd, f)
	s.noteSlow(c.answeredBy(s.seq, f.Conn, f.Request))
	s.deliverFailure(tag, f)
	c.runRetries()
}

// noteSlow is told how a part ended. The parts are sent at once, so the slowest is the last one.
func (s *split) noteSlow(o outcome) {
	if s.left == 1 && s.client.slow(s.seq) {
		o.of = s
		s.client.noteSlow(s.seq, o)
	}
}

func (s *split) deliver(tag uint32, data []byte, _, last bool) {
	s.add(tag, data)
	if last {
		part := &s.parts[tag]
		if part.count != 0 {
			s.client.guarantees.answered(part.need.buckets, part.count)
			part.count = 0
		}
		s.answered()
	}
}

// again implements sink.
func (s *split) beginAgain(tag uint32) bool {
	part := &s.parts[tag]
	if part.twice {
		return false
	}
	part.twice = true
	s.drop(tag)
	return true
}

func (s *split) deliverFailure(tag uint32, f backend.Failure) {
	s.client.noteDoubt(s.cmd, f)
	s.drop(tag)
	s.answer(int(tag), appendErrorLine(nil, failureText(s.cmd, f)))
}

func (s *split) answer(i int, reply []byte) {
	s.deliver(uint32(i), reply, true, true)
}

func (s *split) answered() {
	if !s.outcome() {
		return
	}
	if s.writes != 0 {
		s.client.guarantees.answered(s.writes, countedWrite)
	}
	s.client.splits = slices.DeleteFunc(s.client.splits, func(o *split) bool { return o == s })
	s.client.loop.pool.Put(s.head)
	s.head = nil
	reply := s.merge()
	if s.fan != nil && s.fan.script != "" && reply[0] != '-' {
		s.client.pool.scripts.Add(script.IDOf([]byte(s.fan.script)), s.fan.script, true)
	}
	s.client.deliver(s.seq, reply, true, true)
}

// merge makes the reply of the whole command.
func (s *split) merge() []byte {
	if s.fan != nil {
		return s.mergeFan()
	}
	if failure := s.failure(); failure != nil {
		return failure
	}
	switch s.kind {
	case splitMSet:
		return s.replies[0]
	case splitCount:
		return s.merged(merge.Sum(s.replies))
	case splitMGet:
		return s.merged(merge.Interleave(s.replies, s.of))
	}
	panic("BUG: unknown kind of split")
}

// failure is the error to answer when a part has failed, nil when none has. An error must not say of a write
// that it was not run when other parts were.
func (s *split) failure() []byte {
	var failure []byte
	failures := 0
	for _, reply := range s.replies {
		if reply[0] != '-' {
			continue
		}
		failures++
		if failure == nil || bytes.HasPrefix(reply, unknownOutcome) {
			failure = reply
		}
	}
	if failures == 0 || failures == len(s.parts) || !s.cmd.Is(command.Write) || bytes.HasPrefix(failure, unknownOutcome) {
		return failure
	}
	return appendErrorLine(nil, fmt.Sprintf("ERR outcome unknown: %d of %d parts of %s failed, the first with: %s",
		failures, len(s.parts), s.cmd.Name, bytes.TrimSpace(failure[1:])))
}

var unknownOutcome = []byte("-ERR outcome unknown")

// unexpected is the reply when a server answered something that the command can't answer.
func (s *split) unexpected(i int) []byte {
	reply := s.replies[i]
	return appendErrorLine(nil, fmt.Sprintf("ERR backend %s answered %s with %.40q",
		s.parts[i].node.Addr, s.cmd.Name, reply))
}

var (
	_ backend.Owner = (*split)(nil)
	_ sink          = (*split)(nil)
	_ sink          = (*client)(nil)
)
