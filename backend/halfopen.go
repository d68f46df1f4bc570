package backend

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"sluice/internal/clock"
	"sluice/internal/control"
)

// A connection that was given up with requests unanswered is half open: requests may lie in the server's receive buffer,
// where a reset does not reach them, and a server that was frozen runs them when it wakes up. Their clients were told that
// the outcome is unknown, so that is allowed; but no slot may change hands before it is over, or such a write could be
// carried to the new owner and undo one that was acknowledged there. So the node remembers these connections, and the probe
// has the server end them: what CLIENT LIST does not show any more can't run anything (Redis works on one command at a time;
// a Pika may have one in hand still, in another thread).
//
//	given up --> half open --CLIENT LIST without it--> forgotten
//	                |  ^
//	                v  | CLIENT KILL, if CLIENT LIST has it
//
// It is forgotten, too, when the server does not know CLIENT LIST or KILL or does not allow them, when nobody listens
// at its address, and after Options.HungAfter: a server that does not even answer for so long must not keep its slots
// for ever. A probe looks when somebody has asked for it (EndHalfOpen): a list of thousands of clients holds a server
// up for milliseconds.

// halfOpen is a connection that Sluice has ended and its server maybe not.
type halfOpen struct {
	conn  *Conn
	id    int64  // its number at the server, 0 when that is not known
	name  string // its name there, if the server keeps names
	local string // our address on it
	ended int64  // clock.Now when it was given up
}

// halfOpens are those of a node. Safe for concurrent use; no request comes here.
type halfOpens struct {
	mu     sync.Mutex
	list   []halfOpen
	wanted bool // somebody waits for their end
}

// addHalfOpen remembers a connection that ends because of err, also when its other end has closed it: that may be
// somebody in between.
func (n *Node) addHalfOpen(c *Conn, err error) {
	if c.log.sent == c.log.consumed || errors.Is(err, syscall.ECONNREFUSED) {
		return
	}
	h := &n.halfOpens
	h.mu.Lock()
	h.list = append(h.list, halfOpen{conn: c, id: c.ServerID, name: c.peer.name, local: c.peer.local, ended: clock.Now()})
	h.mu.Unlock()
}

// HalfOpen is the number of connections that were given up and that the server may still read requests from, of those
// that ended before a time (clock.Now) and those that are in among. Safe for concurrent use.
func (n *Node) HalfOpen(before int64, among map[*Conn]bool) int {
	h := &n.halfOpens
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := clock.Now() - int64(n.Options().HungAfter())
	h.list = slices.DeleteFunc(h.list, func(o halfOpen) bool { return o.ended < oldest })
	count := 0
	for _, o := range h.list {
		if o.ended <= before || among[o.conn] {
			count++
		}
	}
	return count
}

// EndHalfOpen has the next probe end the connections that were given up. Safe for concurrent use.
func (n *Node) EndHalfOpen() {
	n.halfOpens.mu.Lock()
	defer n.halfOpens.mu.Unlock()
	n.halfOpens.wanted = true
}

// endHalfOpen has the server end the connections that were given up. If that fails they stay in the list. Only the probe calls
// it.
func (n *Node) endHalfOpen(ctx context.Context) {
	n.halfOpens.mu.Lock()
	wanted, gone := n.halfOpens.wanted, slices.Clone(n.halfOpens.list)
	n.halfOpens.wanted = false
	n.halfOpens.mu.Unlock()
	if !wanted || len(gone) == 0 {
		return
	}
	if ended, err := n.kill(ctx, gone); err != nil && !errors.Is(err, syscall.ECONNREFUSED) || err == nil && !ended {
		return // The next probe looks again.
	}
	n.halfOpens.mu.Lock()
	n.halfOpens.list = slices.DeleteFunc(n.halfOpens.list, func(o halfOpen) bool { return slices.Contains(gone, o) })
	n.halfOpens.mu.Unlock()
}

// kill looks for connections at the server and has it end them. It reports whether none was left, or nothing can be
// done.
func (n *Node) kill(ctx context.Context, gone []halfOpen) (ended bool, err error) {
	c, err := n.OpenControl(ctx, false, clientListLimits)
	if err != nil {
		return false, err
	}
	defer c.Close()
	replies, err := c.Do(ctx, listOf(gone))
	if err == nil && replies[0].Kind == control.Error {
		replies, err = c.Do(ctx, []string{"CLIENT", "LIST"})
	}
	if err != nil {
		return false, err
	}
	if replies[0].Kind == control.Error {
		return isRefusal(replies[0]), nil
	}
	var kills [][]string
	for line := range strings.Lines(replies[0].Text) {
		if kill := killOf(line, gone); kill != nil {
			kills = append(kills, kill)
		}
	}
	if len(kills) == 0 {
		return true, nil
	}
	if replies, err = c.Do(ctx, kills...); err != nil {
		return false, err
	}
	return slices.ContainsFunc(replies, isRefusal), nil
}

// listOf asks for the connections alone, if all have numbers (Redis 6.2; earlier ones refuse it).
func listOf(gone []halfOpen) []string {
	list := []string{"CLIENT", "LIST", "ID"}
	for _, o := range gone {
		if o.id == 0 {
			return list[:2]
		}
		list = append(list, strconv.FormatInt(o.id, 10))
	}
	return list
}

// isRefusal reports whether a server will give the same answer again: it does not know the command, or does not allow
// it. One that is busy with a script or loads its data will not.
func isRefusal(v control.Value) bool {
	if v.Kind != control.Error {
		return false
	}
	word, _, _ := strings.Cut(v.Text, " ")
	return word == "NOPERM" || word == "ERR" || word == "NOAUTH"
}

// killOf is the command that ends the client in a line of CLIENT LIST if that is one of gone, nil if it is not. The
// lines of Redis have id=, addr= and name=, those of Pika addr= only.
func killOf(line string, gone []halfOpen) []string {
	id, _ := strconv.ParseInt(fieldOf(line, "id"), 10, 64)
	name, addr := fieldOf(line, "name"), fieldOf(line, "addr")
	for _, o := range gone {
		switch {
		case o.id != 0 && o.id != id:
		case name != "" && name != o.name: // A server that was restarted gives numbers out again.
		case name == "" && addr != o.local:
		case o.id == 0:
			return []string{"CLIENT", "KILL", addr}
		default:
			return []string{"CLIENT", "KILL", "ID", strconv.FormatInt(id, 10)}
		}
	}
	return nil
}

// fieldOf is the value of a field in a line of CLIENT LIST, "" when there is none.
func fieldOf(line, name string) string {
	_, rest, ok := strings.Cut(" "+line, " "+name+"=")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, " ")
	return strings.TrimSpace(value)
}
