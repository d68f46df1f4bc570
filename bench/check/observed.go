package check

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"sluice/bench/load"
)

// observed is a key that one client writes and the others read. Its values carry
// the wall clock at their sending, in microseconds, for whoever looks at a server.
type observed struct {
	key     string
	writer  int
	index   int
	watched bool

	mu  sync.Mutex // guards the register and its track
	reg *register
}

// next makes the value of the next write.
func (o *observed) next() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reg.pad = ":" + strconv.FormatInt(time.Now().UnixMicro(), 10)
	return o.reg.next()
}

// observedRequest returns nil if the operation is none for observed keys, or if
// the client writes none.
func (c *client) observedRequest(o op) *request {
	all := c.run.space.observed
	switch o {
	case opSet:
		mine := (len(all) - c.id + c.cfg.Clients - 1) / c.cfg.Clients
		if mine <= 0 {
			return nil
		}
		k := all[c.id+c.rng.IntN(mine)*c.cfg.Clients]
		v := k.next()
		return &request{op: o, key: k.key, watched: k.watched, observed: []*observed{k}, values: []string{v}, args: []string{"SET", k.key, v}}
	case opGet, opMGet:
	default:
		return nil
	}
	q := &request{op: opGet, args: []string{"GET"}}
	n := 1
	if o == opMGet && !c.cfg.Tagged {
		q.op, q.args[0] = opMGet, "MGET"
		n = min(3, len(all))
	}
	for range n {
		i := c.rng.IntN(len(all))
		if all[i].writer == c.id {
			i = (i + 1) % len(all) // That of the next client, unless there is only one key.
		}
		k := all[i]
		q.observed = append(q.observed, k)
		q.args = append(q.args, k.key)
		q.watched = q.watched || k.watched
	}
	q.key = q.observed[0].key
	return q
}

// settleObserved takes a reply that is no error.
func (c *client) settleObserved(q *request, r load.Reply) {
	switch q.op {
	case opSet:
		if err := okay(r); err != nil {
			c.find(c.misfit(q, err), q.key)
			return
		}
		c.find(q.observed[0].wrote(q.values[0], c.repliedAt, c.session), q.key)
	case opMGet:
		values, err := elements(r)
		if err == nil && len(values) != len(q.observed) {
			err = fmt.Errorf("%d elements, want %d", len(values), len(q.observed))
		}
		if err != nil {
			c.find(c.misfit(q, err), q.key)
			return
		}
		for i, k := range q.observed {
			c.find(c.readObserved(q, k, values[i]), k.key)
		}
	default:
		x, err := bulk(r)
		if err != nil {
			c.find(c.misfit(q, err), q.key)
			return
		}
		c.find(c.readObserved(q, q.observed[0], x), q.key)
	}
}

func (o *observed) wrote(v string, at time.Duration, session int) verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reg.wroteAt(v, at, session)
}

func (o *observed) maybe(v string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reg.maybe(v)
}

func (o *observed) refuse(v string) verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reg.refuse(v)
}

// readObserved judges a value that another client's key had.
func (c *client) readObserved(q *request, o *observed, x string) verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	reg := o.reg
	if len(c.floors) == 0 {
		c.floors = make([]floor, len(c.run.space.observed))
	}
	n, v := reg.identify(x)
	if v.text != "" {
		return v
	}
	s := sighting{reads: &c.others, track: reg.track, floor: &c.floors[o.index], version: n, unordered: reg.unordered(x, n), sent: q.call}
	if c.cfg.Consistency == Linearizable {
		s.atLeast = reg.track.known(q.call)
	}
	v = c.sighted(s)
	reg.arrived(x, n)
	return reg.unlessOpen(n, v)
}

// fillObserved makes the observed keys, dealt to the clients in turn.
func (k *keyspace) fillObserved(clients int) error {
	if k.cfg.ObservedPercent == 0 {
		return nil
	}
	for i := range k.cfg.ObservedKeys {
		key, watched, err := k.find(classValue, k.cfg.Prefix+":obs:"+k.run+":%s")
		if err != nil {
			return err
		}
		o := &observed{key: key, writer: i % clients, index: i, watched: watched}
		o.reg = &register{key: key, watched: watched, tag: fmt.Sprintf("c%do%d", o.writer, i), stamped: true}
		o.reg.track = newTrack(k.cfg.Window, true)
		o.reg.wrote(o.next())
		k.observed = append(k.observed, o)
	}
	return nil
}
