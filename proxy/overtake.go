package proxy

import (
	"fmt"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/router"
)

// Commands of one client on one key run in order although any of them may bounce. When a request bounces,
// others that the client sent behind it are on their way already, and the server may run them: a slot was
// handed over and back, a server has just finished loading, a TRYAGAIN was for two keys and the next command
// is for one of them. So a retry waits until what was sent behind it on its slot is answered (awaited), and
// what was answered behind it with one of its keys counts as having overtaken it (resolveOvertaking): if that only
// reads, its answer is dropped and it is run again behind the retry; if it writes, the retry must not run
// any more, and its client is told so.

// awaited reports whether a request behind d, on its slot, is at a server. What was found answered is not looked at
// again.
func (c *client) awaited(d *retry) bool {
	if d.behind == 0 {
		d.behind = 1
	}
	for ; d.seq+d.behind != c.pipe.tail; d.behind++ {
		seq := d.seq + d.behind
		p := c.pipe.at(seq)
		if p.cmd == nil || p.flags&answered != 0 {
			continue
		}
		if p.flags&multiSlot != 0 {
			if p.flags&retried == 0 {
				return true
			}
			continue
		}
		if p.slot == anySlot {
			if c.splitAtServer(seq, d.slot) {
				return true
			}
			continue
		}
		if (p.slot == d.slot || d.slots != nil) && p.flags&retried == 0 {
			return true
		}
	}
	return false
}

// splitAtServer reports whether a part of the split command seq, with keys of slot, is at a server.
func (c *client) splitAtServer(seq uint32, slot router.Slot) bool {
	for _, s := range c.splits {
		if s.seq != seq {
			continue
		}
		for i := range s.parts {
			if part := &s.parts[i]; part.atServer && (part.slot == slot || !c.pool.Model.Cluster()) {
				return true
			}
		}
	}
	return false
}

// resolveOvertaking is told that the request seq was answered, which its server may have run. Retries of older
// requests with a key of it are given up if it writes; if it only reads it returns true: the answer has to be
// dropped and the request run again. The client may be closed then.
func (c *client) resolveOvertaking(seq uint32, slot router.Slot, cmd *command.Command, raw []byte, whole bool) bool {
	passed := c.passed(seq, slot, cmd, raw)
	if len(passed) == 0 {
		return false
	}
	if cmd.Is(command.ReadOnly) && whole {
		return true
	}
	c.giveUpPassed(passed)
	return false
}

// mayHaveOvertaken is resolveOvertaking for a request that has failed: a write that was sent may have been run, or will be.
func (c *client) mayHaveOvertaken(seq uint32, slot router.Slot, cmd *command.Command, f backend.Failure) {
	if !f.Sent || cmd == nil || cmd.Is(command.ReadOnly) {
		return
	}
	c.giveUpPassed(c.passed(seq, slot, cmd, f.Request))
}

func (c *client) giveUpPassed(passed []*retry) {
	for _, d := range passed {
		if d.script != nil {
			d.giveUp(hold.Released, errNoScript) // What the server has said, in its place.
			continue
		}
		d.giveUp(hold.Released, fmt.Sprintf("TRYAGAIN slot %d: the command was not run in time, and a later one of this connection on its key was", d.slot))
	}
}

// passed lists the retries of requests before seq that have a key of it and have not been sent again. With no raw,
// which is forgotten after a timeout, any of them on its slot may.
func (c *client) passed(seq uint32, slot router.Slot, cmd *command.Command, raw []byte) []*retry {
	shared := make(map[string]bool) // keys of the request that retries have
	for _, key := range requestKeys(cmd, raw) {
		if c.retriedKeys[string(key)] > 0 {
			shared[string(key)] = true
		}
	}
	if raw != nil && len(shared) == 0 {
		return nil // So it is with most requests: they are not compared with each retry.
	}
	var list []*retry
	for _, d := range c.retries {
		older := int32(seq-d.seq) > 0 && (d.state == retryIdle || d.state == retryQueued)
		if older && (d.slot == slot || d.slots != nil || slot == anySlot) && (raw == nil || slices.ContainsFunc(d.keys, func(key []byte) bool { return shared[string(key)] })) {
			list = append(list, d)
		}
	}
	return list
}

// noteKeys counts the keys of a retry into client.retriedKeys, or out of it.
func (d *retry) noteKeys(n int) {
	c := d.client
	if c.retriedKeys == nil {
		c.retriedKeys = make(map[string]int)
	}
	for _, key := range d.keys {
		if c.retriedKeys[string(key)] += n; c.retriedKeys[string(key)] == 0 {
			delete(c.retriedKeys, string(key))
		}
	}
}
