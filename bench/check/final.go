package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/bench/load"
)

// finalClient marks the reads of shared keys when the load has ended.
const finalClient = maxClients

// finalRead is one read of what is there when all writers have ended.
type finalRead struct {
	key   string
	args  []string
	judge func(load.Reply) (verdict, error)
	last  verdict // what a read found that was repeated
}

// finals lists the reads of a client's own keys.
func (c *client) finals() []finalRead {
	var out []finalRead
	add := func(key string, args []string, judge func(load.Reply) (verdict, error)) {
		out = append(out, finalRead{key: key, args: args, judge: judge})
	}
	register := func(r *register) func(load.Reply) (verdict, error) {
		return func(reply load.Reply) (verdict, error) {
			x, err := bulk(reply)
			if err != nil {
				return verdict{}, err
			}
			return r.final(x), nil
		}
	}
	for _, r := range c.values {
		add(r.key, []string{"GET", r.key}, register(r))
	}
	for _, h := range c.hashes {
		for _, r := range h.fields {
			add(h.key, []string{"HGET", h.key, r.field}, register(r))
		}
	}
	for _, o := range c.run.space.observed {
		if o.writer == c.id {
			add(o.key, []string{"GET", o.key}, register(o.reg))
		}
	}
	for _, k := range c.counters {
		add(k.key, []string{"GET", k.key}, func(reply load.Reply) (verdict, error) {
			if reply.Kind == '$' && reply.Null {
				if !k.loaded && k.acked == 0 {
					return verdict{}, nil
				}
				v := object(Lost, "the key is gone with %d acknowledged increments", k.acked)
				v.n = uint64(max(k.acked, 1))
				return v, nil
			}
			n, err := integer(reply, '$')
			if err != nil {
				return verdict{}, err
			}
			return k.final(n), nil
		})
	}
	for _, lists := range [][]*list{c.lists, c.texts, c.putAway} {
		for _, l := range lists {
			class := classList
			if l.text {
				class = classText
			}
			add(l.key, readOf(class, l.key), func(reply load.Reply) (verdict, error) {
				got, err := listContent(l, reply)
				if err != nil {
					return verdict{}, err
				}
				return l.final(got), nil
			})
		}
	}
	return out
}

// sharedFinals lists the last operation of every shared history.
func (r *Run) sharedFinals(gens []*generation) []finalRead {
	var out []finalRead
	for _, g := range gens {
		o := map[class]op{classValue: opGet, classCounter: opCount, classList: opRange, classText: opText}[g.class]
		call := int64(r.line.now())
		out = append(out, finalRead{key: g.key, args: readOf(g.class, g.key), judge: func(reply load.Reply) (verdict, error) {
			text, number, err := decodeShared(o, reply)
			if err != nil {
				return verdict{}, err
			}
			g.add(sharedOp{client: finalClient, op: o, call: call, ret: int64(r.line.now()), text: text, number: number})
			return verdict{}, nil
		}})
	}
	return out
}

// fillerFinals lists the reads of the keys that nobody has touched.
func (r *Run) fillerFinals() []finalRead {
	var out []finalRead
	for _, key := range r.space.filler {
		out = append(out, finalRead{key: key, args: []string{"GET", key}, judge: func(reply load.Reply) (verdict, error) {
			x, err := bulk(reply)
			if err == nil && x != key {
				return object(Lost, "filler key: got %s", show(x)), nil
			}
			return verdict{}, err
		}})
	}
	return out
}

// read does final reads and repeats those with an error reply, and those that a
// lost connection took along, until ctx ends. What is then left is Unread. What
// replicas may serve is also repeated while it is too old.
func (c *client) read(ctx context.Context, todo []finalRead) {
	reason := "no connection"
	for len(todo) > 0 && ctx.Err() == nil {
		if !c.connect(ctx) {
			break
		}
		n := min(len(todo), batchCommands)
		again, err := c.readBatch(ctx, todo[:n])
		todo = append(todo[n:], again...)
		if len(again) > 0 {
			reason = err.Error()
			rest(ctx, redialEvery)
		}
	}
	for _, f := range todo {
		if f.last.text == "" {
			f.last = object(Unread, "%s", reason)
		}
		c.find(f.last, f.key)
	}
}

func (c *client) readBatch(ctx context.Context, batch []finalRead) (again []finalRead, err error) {
	commands := make([][]string, len(batch))
	for i, f := range batch {
		commands[i] = f.args
	}
	if deadline, ok := ctx.Deadline(); ok {
		c.wire.deadline(deadline)
	}
	done := 0
	lost := c.wire.exchange(commands, func(i int, r load.Reply) {
		done++
		if r.Kind == '-' {
			again = append(again, batch[i])
			err = fmt.Errorf("%s", r.Body)
			return
		}
		v, misfit := batch[i].judge(r)
		if misfit != nil {
			v = object(Wrong, "%s at the end answered with %v", commands[i][0], misfit)
		}
		if v.kind == Lost && v.text != "" && c.cfg.Consistency != Linearizable {
			batch[i].last = v
			again, err = append(again, batch[i]), errors.New(v.text)
			return
		}
		c.find(v, batch[i].key)
	})
	if lost != nil {
		c.wire.hangUp()
		return append(again, batch[done:]...), fmt.Errorf("connection lost: %w", lost)
	}
	return again, err
}

// endContext bounds one part of Stop.
func (r *Run) endContext() (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), time.Now().Add(r.cfg.EndLimit))
}
