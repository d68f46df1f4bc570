package proxy

import (
	"bytes"
	"fmt"

	"sluice/proxy/command"
	"sluice/router"
)

// Commands of one client on one key run in order although any of them may bounce. When a request bounces,
// others that the client sent behind it are on their way already, and the server may run them: a slot was
// handed over and back, a server has just finished loading, a TRYAGAIN was for two keys and the next command
// is for one of them. So a detour waits until what was sent behind it on its slot is answered (awaited), and
// what was answered behind it with one of its keys counts as having overtaken it (overtook): if that only
// reads, its answer is dropped and it is run again behind the detour; if it writes, the detour must not run
// any more, and its client is told so.

// awaited reports whether a request behind d, on its slot, is at a server.
func (c *client) awaited(d *detour) bool {
	for seq := d.seq + 1; seq != c.pipe.tail; seq++ {
		p := c.pipe.at(seq)
		if p.cmd == nil || p.flags&answered != 0 {
			continue
		}
		if p.slot == anySlot {
			if c.splitAtServer(seq, d.slot) {
				return true
			}
			continue
		}
		if p.slot == d.slot && p.flags&detoured == 0 {
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

// overtook is told that the request seq was answered, which its server may have run. Detours of older requests with a
// key of it are given up if it writes; if it only reads it returns true: the answer has to be dropped and the
// request run again.
func (c *client) overtook(seq uint32, slot router.Slot, cmd *command.Command, raw []byte, whole bool) bool {
	if len(c.detours) == 0 || raw == nil {
		return false
	}
	var passed []*detour
	for _, d := range c.detours {
		if int32(seq-d.seq) > 0 && d.state != detourSent && d.state != detourDone && (d.slot == slot || d.wide || slot == anySlot) &&
			shareKey(requestKeys(d.cmd, d.raw), requestKeys(cmd, raw)) {
			passed = append(passed, d)
		}
	}
	if len(passed) == 0 {
		return false
	}
	if cmd.Is(command.ReadOnly) && whole {
		return true
	}
	for _, d := range passed {
		d.giveUp(HoldReleased, fmt.Sprintf("TRYAGAIN slot %d %s: it was not run, because a later command of this connection on its key was", d.slot, d.why))
	}
	return false
}

func shareKey(a, b [][]byte) bool {
	for _, x := range a {
		for _, y := range b {
			if bytes.Equal(x, y) {
				return true
			}
		}
	}
	return false
}
