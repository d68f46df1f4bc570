package proxy

import (
	"slices"
	"strconv"
	"time"

	"sluice/proxy/resp"
	"sluice/router"
)

// A turn of a cross-group command: whose it is, what it asks and for how long.

// owners divides the keys by who has them, in the order of the first of each.
func (x *crossGroup) owners() (parts [][]int) {
	c := x.client
	v, bySlot := c.pool.view.Load(), c.pool.keepsToSlot()
	type owner struct {
		group *router.Group
		slot  router.Slot
	}
	index := make(map[owner]int)
	for _, at := range x.keys {
		slot := c.pool.Model.Slot(x.args[at])
		who := owner{slot: slot}
		if v != nil && !bySlot {
			who = owner{group: v.table.Owner(slot)}
		}
		i, known := index[who]
		if !known {
			i = len(parts)
			index[who], parts = i, append(parts, nil)
		}
		parts[i] = append(parts[i], at)
	}
	return parts
}

// served reports whether all slots of some keys are served now.
func (x *crossGroup) served(keys []int) bool {
	v := x.client.pool.view.Load()
	return !slices.ContainsFunc(keys, func(at int) bool {
		_, blocked := x.client.pool.blockReason(v, x.client.pool.Model.Slot(x.args[at]))
		return blocked
	})
}

// look makes the turn one that does not wait.
func (x *crossGroup) look() {
	c := x.client
	slot := c.pool.Model.Slot(x.args[x.asked[0]])
	raw, _ := x.request(x.asked)
	x.turn = nil
	if isStreamRead(x.cmd) {
		x.current = c.newRetry(x, 0, x.seq, slot, raw)
		return
	}
	batch := slices.Concat(multiRequest, raw, execRequest)
	d := c.newRetry(x, 0, x.seq, slot, batch)
	d.keys = keysAt(x.args, x.asked)
	if !c.pool.Model.Cluster() {
		d.spread()
	}
	d.noteKeys(1)
	d.exclusive = &execution{d: d, sizes: []int{len(multiRequest), len(raw), len(execRequest)}, writes: true}
	x.current = d
}

// wait makes the turn one that waits at its server for a slice.
func (x *crossGroup) wait() {
	c := x.client
	raw, timeAt := x.request(x.asked)
	d := c.newRetry(x, 0, x.seq, c.pool.Model.Slot(x.args[x.asked[0]]), raw)
	x.turn = &blocking{d: d, args: splitRequest(d.raw), brief: true, sliced: !x.bad && !c.pool.Family.Unblocks}
	if !x.bad {
		slice := x.slice()
		x.turn.timeout = blockTime{at: timeAt, unit: x.timeout.unit, time: slice}
		x.turn.until = c.loop.now + int64(slice)
	}
	if x.cmd.Name == "xread" {
		x.turn.tails.find(x.turn.args)
	}
	d.exclusive = x.turn
	x.current = d
}

// slice is how long the server may wait whose turn it is.
func (x *crossGroup) slice() time.Duration {
	slice := min(firstSlice<<min(x.pass-1, 8), longestSlice)
	if x.until != 0 {
		slice = min(slice, time.Duration(x.until-x.client.loop.now))
	}
	return max(slice, leastBlock)
}

// request is the client's request with some of its keys, and where the time to wait is in it.
func (x *crossGroup) request(keys []int) (raw []byte, timeAt int) {
	first, last := x.keys[0], x.keys[len(x.keys)-1]
	head, tail := x.args[:first], x.args[last+1:]
	if isStreamRead(x.cmd) { // Behind the keys come as many IDs.
		tail = nil
		for _, at := range keys {
			tail = append(tail, x.args[at+len(x.keys)])
		}
	}
	timeAt = x.timeout.at
	switch x.cmd.Name {
	case "blmpop", "bzmpop":
		head = slices.Clone(head)
		head[2] = strconv.AppendInt(nil, int64(len(keys)), 10)
	case "xread", "xreadgroup":
		if at := x.timeout.at - 1; x.pass == 0 && !x.bad && !x.once { // Without BLOCK and the time.
			head = slices.Delete(slices.Clone(head), at, at+2)
		}
	default:
		timeAt = first + len(keys)
	}
	raw = resp.AppendArray(nil, len(head)+len(keys)+len(tail))
	for _, part := range [][][]byte{head, keysAt(x.args, keys), tail} {
		for _, arg := range part {
			raw = resp.AppendBulk(raw, arg)
		}
	}
	return raw, timeAt
}
