package check

import (
	"fmt"
	"time"

	"sluice/bench/load"
)

// request is one request of a client, from its making to its reply. Which of the
// pointers is set depends on the operation and on whose the key is.
type request struct {
	op      op
	args    []string
	key     string // the first one
	watched bool

	regs    []*register
	values  []string // written, one per register
	counter *counter
	list    *list
	shared  *generation
	token   string // written to a list or a shared key

	observed []*observed

	call time.Duration
}

func (c *client) request(o op, shared bool) *request {
	if shared {
		if q := c.sharedRequest(o); q != nil {
			return q
		}
	}
	switch o.class() {
	case classValue:
		return c.valueRequest(o)
	case classCounter:
		k := c.counters[c.rng.IntN(len(c.counters))]
		q := &request{op: o, key: k.key, watched: k.watched, counter: k, args: []string{"GET", k.key}}
		if o.writes() {
			q.args = countBy(o, k.key)
			k.sent++
		}
		return q
	case classHash:
		h := c.hashes[c.rng.IntN(len(c.hashes))]
		r := h.fields[c.rng.IntN(len(h.fields))]
		q := &request{op: o, key: h.key, watched: h.watched, regs: []*register{r}, args: []string{"HGET", h.key, r.field}}
		if o == opHSet {
			q.values = []string{r.next()}
			q.args = []string{"HSET", h.key, r.field, q.values[0]}
		}
		return q
	case classList, classText:
		return c.listRequest(o)
	case classes:
	}
	panic("BUG: no request for " + o.String())
}

func (c *client) valueRequest(o op) *request {
	r := c.values[c.rng.IntN(len(c.values))]
	q := &request{op: o, key: r.key, watched: r.watched, regs: []*register{r}}
	switch o {
	case opMGet, opMSet, opMDel:
		q.regs = c.several(r)
		q.watched = false
		for _, r := range q.regs {
			q.watched = q.watched || r.watched
		}
	default:
	}
	switch o {
	case opSet, opGetSet, opSetNX, opMSet:
		for _, r := range q.regs {
			q.values = append(q.values, r.next())
		}
	default:
	}
	name := map[op]string{opGet: "GET", opSet: "SET", opGetSet: "GETSET", opSetNX: "SETNX", opDel: "DEL", opMGet: "MGET", opMSet: "MSET", opMDel: "DEL", opStrLen: "STRLEN"}[o]
	q.args = append(q.args, name)
	for i, r := range q.regs {
		q.args = append(q.args, r.key)
		if q.values != nil {
			q.args = append(q.args, q.values[i])
		}
	}
	return q
}

// several draws the keys of a multi-key command around r: those of its hash tag,
// or as many from anywhere.
func (c *client) several(r *register) []*register {
	group := c.groups[c.groupOf[r]]
	if c.cfg.Tagged || c.rng.IntN(2) == 0 && len(group) > 1 {
		return group
	}
	out := []*register{r}
	for range 3 {
		other := c.values[c.rng.IntN(len(c.values))]
		known := false
		for _, o := range out {
			known = known || o == other
		}
		if !known {
			out = append(out, other)
		}
	}
	return out
}

// maxPutAway bounds the lists and texts of a client that are no longer used.
const maxPutAway = 2000

func (c *client) listRequest(o op) *request {
	lists, command, read := c.lists, "RPUSH", "LRANGE"
	if o.class() == classText {
		lists, command, read = c.texts, "APPEND", "GET"
	}
	i := c.rng.IntN(len(lists))
	l := lists[i]
	if l.version >= c.cfg.KeyHistory || len(l.late) > maxLate || len(l.refused) > maxLate {
		if len(c.putAway) < maxPutAway {
			c.putAway = append(c.putAway, l)
			gen := l.gen + 1
			l = &list{key: fmt.Sprintf("%s:%d", l.stem, gen), stem: l.stem, gen: gen, watched: l.watched, text: l.text, tag: l.tag}
			lists[i] = l
		} else {
			o = map[bool]op{false: opRange, true: opText}[l.text]
		}
	}
	q := &request{op: o, key: l.key, watched: l.watched, list: l}
	switch {
	case o.writes():
		q.token = l.next()
		q.args = []string{command, l.key, q.token}
	case l.text:
		q.args = []string{read, l.key}
	default:
		q.args = []string{read, l.key, "0", "-1"}
	}
	return q
}

// sharedRequest returns nil when no more history may be kept.
func (c *client) sharedRequest(o op) *request {
	keys := c.run.space.shared[o.class()]
	key := keys[c.rng.IntN(len(keys))]
	if c.run.history.Add(1) > int64(c.cfg.History) {
		return nil
	}
	g := key.acquire(c.cfg.KeyHistory)
	q := &request{op: o, key: g.key, watched: g.watched, shared: g}
	if o.writes() && o.class() != classCounter {
		c.sharedVersion++
		tag := "s" // Lists and texts need tokens of one length.
		if g.class == classValue {
			tag = "v"
		}
		q.token = fmt.Sprintf("%s%04d.%09d;", tag, c.id, c.sharedVersion)
	}
	switch o {
	case opSet:
		q.args = []string{"SET", g.key, q.token}
	case opGetSet:
		q.args = []string{"GETSET", g.key, q.token}
	case opIncr, opScript:
		q.op, q.args = opIncr, countBy(o, g.key)
	case opPush:
		q.args = []string{"RPUSH", g.key, q.token}
	case opAppend:
		q.args = []string{"APPEND", g.key, q.token}
	default:
		q.args = readOf(g.class, g.key)
	}
	return q
}

// countBy is the command that increments a counter.
func countBy(o op, key string) []string {
	if o == opScript {
		return []string{"EVAL", countScript.text, "1", key}
	}
	return []string{"INCR", key}
}

// readOf is the command that reads the whole content of a key.
func readOf(c class, key string) []string {
	if c == classList {
		return []string{"LRANGE", key, "0", "-1"}
	}
	return []string{"GET", key}
}

// decodeShared reads a reply into the text and number of a sharedOp.
func decodeShared(o op, r load.Reply) (text string, number int64, err error) {
	switch o {
	case opGet, opGetSet, opText:
		text, err = bulk(r)
	case opCount:
		if r.Kind == '$' && r.Null {
			return "", 0, nil
		}
		number, err = integer(r, '$')
	case opRange:
		var list []string
		list, err = elements(r)
		for _, e := range list {
			text += e
		}
	case opIncr, opPush, opAppend:
		number, err = integer(r, ':')
		if o == opAppend {
			if number%tokenBytes != 0 {
				err = fmt.Errorf("length %d is no multiple of %d", number, tokenBytes)
			}
			number /= tokenBytes
		}
	case opSet:
		err = okay(r)
	case opSetNX, opDel, opMGet, opMSet, opMDel, opHSet, opHGet, opStrLen, opScript, opSwap, opKinds:
		panic("BUG: not sharable: " + o.String())
	}
	return text, number, err
}

func okay(r load.Reply) error {
	if r.Kind != '+' || string(r.Body) != "OK" {
		return fmt.Errorf("%q%.60s, want OK", r.Kind, r.Body)
	}
	return nil
}
