package check

import (
	"slices"
	"strings"

	"sluice/bench/load"
)

// unknownPrefix begins the error of a request that may have run.
const unknownPrefix = "ERR outcome unknown"

// settle takes the reply of q.
func (c *client) settle(q *request, r load.Reply) {
	if r.Kind == '-' {
		text := string(r.Body)
		if strings.HasPrefix(text, unknownPrefix) {
			c.run.journal.outcomeUnknown()
			c.maybe(q)
			return
		}
		c.fail(text, q.key)
		c.refused(q)
		return
	}
	switch {
	case q.shared != nil:
		c.settleShared(q, r)
		return
	case q.observed != nil:
		c.settleObserved(q, r)
		return
	}
	c.find(c.judge(q, r), q.key)
}

// maybe notes that q may take effect now, later or never.
func (c *client) maybe(q *request) {
	switch {
	case q.shared != nil:
		q.shared.add(sharedOp{client: c.id, op: q.op, arg: q.token, call: int64(q.call), unknown: true})
	case !q.op.writes():
	case q.observed != nil:
		q.observed[0].maybe(q.values[0])
	case q.counter != nil:
		q.counter.maybe()
	case q.list != nil:
		q.list.maybe(q.token)
	default:
		for i, r := range q.regs {
			r.maybe(q.written(i))
		}
	}
}

// refused notes that q must not take effect. A linearizability model that knew
// that would only find more; shared keys are lenient here.
func (c *client) refused(q *request) {
	switch {
	case q.shared != nil:
		c.maybe(q)
	case !q.op.writes():
	case q.observed != nil:
		c.find(q.observed[0].refuse(q.values[0]), q.key)
	case q.counter != nil:
		q.counter.refuse()
	case q.list != nil:
		q.list.refuse(q.token)
	default:
		for i, r := range q.regs {
			if v := q.written(i); v != "" {
				c.find(r.refuse(v), r.key)
			} else {
				r.maybe(v) // Nothing marks a deletion as this one's.
			}
		}
	}
}

// written is what q writes into its i'th register: the empty string deletes.
func (q *request) written(i int) string {
	if q.values == nil {
		return ""
	}
	return q.values[i]
}

func (c *client) settleShared(q *request, r load.Reply) {
	text, number, err := decodeShared(q.op, r)
	if err != nil {
		c.find(object(Wrong, "%s answered with %v", q.args[0], err), q.key)
		c.maybe(q)
		return
	}
	q.shared.add(sharedOp{
		client: c.id, op: q.op, arg: q.token, call: int64(q.call), ret: int64(c.line.now()), text: text, number: number,
	})
}

// judge compares the reply of an own key with what is possible.
func (c *client) judge(q *request, r load.Reply) verdict {
	switch q.op {
	case opIncr, opScript, opCount:
		return c.judgeCounter(q, r)
	case opPush, opAppend, opRange, opText:
		return c.judgeList(q, r)
	case opGet, opHGet:
		x, err := bulk(r)
		if err != nil {
			return c.misfit(q, err)
		}
		return c.readValue(q, q.regs[0], x)
	case opGetSet:
		x, err := bulk(r)
		if err != nil {
			return c.misfit(q, err)
		}
		v := q.regs[0].observe(x)
		c.find(q.regs[0].wroteAt(q.values[0], c.repliedAt, c.session), q.key)
		return v
	case opStrLen:
		n, err := integer(r, ':')
		if err != nil {
			return c.misfit(q, err)
		}
		return c.readLength(q, q.regs[0], n)
	case opSet, opMSet:
		if err := okay(r); err != nil {
			return c.misfit(q, err)
		}
		for i, reg := range q.regs {
			c.find(reg.wroteAt(q.values[i], c.repliedAt, c.session), reg.key)
		}
		return verdict{}
	case opSetNX, opHSet:
		n, err := integer(r, ':')
		if err != nil {
			return c.misfit(q, err)
		}
		v := q.regs[0].created(n == 1)
		if n == 1 || q.op == opHSet {
			c.find(q.regs[0].wroteAt(q.values[0], c.repliedAt, c.session), q.key)
		}
		return v
	case opDel, opMDel:
		n, err := integer(r, ':')
		if err != nil {
			return c.misfit(q, err)
		}
		return judgeDel(q.regs, int(n))
	case opMGet:
		return c.judgeMGet(q, r)
	case opSwap, opKinds:
	}
	panic("BUG: no judgement for " + q.op.String())
}

// misfit is a reply of the wrong type: whose ever it is, q may have run.
func (c *client) misfit(q *request, err error) verdict {
	c.maybe(q)
	return object(Wrong, "%s answered with %v", q.args[0], err)
}

func judgeDel(regs []*register, n int) verdict {
	low, high := 0, 0
	for _, r := range regs {
		if r.present() {
			high++
			if !r.absent() {
				low++
			}
		}
		r.wrote("")
	}
	switch {
	case n < low:
		return object(Stale, "DEL found %d of %d keys, want %d..%d", n, len(regs), low, high)
	case n > high:
		return object(Wrong, "DEL found %d of %d keys, want %d..%d", n, len(regs), low, high)
	}
	return verdict{}
}

func (c *client) judgeMGet(q *request, r load.Reply) verdict {
	values, err := elements(r)
	if err != nil {
		return c.misfit(q, err)
	}
	if len(values) != len(q.regs) {
		return object(Wrong, "MGET of %d keys answered with %d", len(q.regs), len(values))
	}
	for i, reg := range q.regs {
		c.find(c.readValue(q, reg, values[i]), reg.key)
	}
	return verdict{}
}

func (c *client) judgeCounter(q *request, r load.Reply) verdict {
	if q.op.writes() {
		n, err := integer(r, ':')
		if err != nil {
			return c.misfit(q, err)
		}
		return q.counter.wroteAt(n, c.repliedAt, c.session)
	}
	if r.Kind == '$' && r.Null {
		return c.readCounter(q, q.counter, 0, true)
	}
	n, err := integer(r, '$')
	if err != nil {
		return c.misfit(q, err)
	}
	return c.readCounter(q, q.counter, n, false)
}

func (c *client) judgeList(q *request, r load.Reply) verdict {
	if q.op.writes() {
		n, err := integer(r, ':')
		if err != nil {
			return c.misfit(q, err)
		}
		return q.list.wrote(q.token, n)
	}
	got, err := listContent(q.list, r)
	if err != nil {
		return c.misfit(q, err)
	}
	return q.list.observe(got)
}

func listContent(l *list, r load.Reply) ([]string, error) {
	if !l.text {
		return elements(r)
	}
	text, err := bulk(r)
	return split(strings.Clone(text)), err
}

// sharedComplete reports whether a history ends with a read that has a reply.
func sharedComplete(history []sharedOp) bool {
	return slices.ContainsFunc(history, func(o sharedOp) bool { return o.client == finalClient && !o.unknown })
}
