package proxy

import (
	"bytes"
	"slices"
	"strings"

	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/proxy/script"
	"sluice/router"
)

// scriptKind says how a command names the script that it runs.
type scriptKind uint8

const (
	noScript   scriptKind = iota
	scriptBody            // EVAL
	scriptSHA             // EVALSHA
	scriptName            // FCALL
)

// scriptKinds is by command.Command.ID. Immutable after construction.
var scriptKinds = makeScriptKinds()

func makeScriptKinds() (table [command.Declared + 1]scriptKind) {
	for name, kind := range map[string]scriptKind{
		"eval": scriptBody, "eval_ro": scriptBody, "evalsha": scriptSHA, "evalsha_ro": scriptSHA,
		"fcall": scriptName, "fcall_ro": scriptName,
	} {
		table[command.Lookup([]byte(name)).ID] = kind
	}
	return table
}

// isScript reports whether a command runs code of the client, which may end with any error it likes.
func isScript(cmd *command.Command) bool { return cmd != nil && scriptKinds[cmd.ID] != noScript }

// mayWriteByScript reports whether a command runs a script that is not bound to read only.
func mayWriteByScript(cmd *command.Command) bool { return isScript(cmd) && !cmd.Is(command.ReadOnly) }

// declaresNoWrites reports whether the first line of a script says that it only reads, as in "#!lua
// flags=no-writes" (redis 7.0, src/eval.c evalExtractShebangFlags). Servers before 7.0 don't know such a line and
// refuse the script.
func declaresNoWrites(body []byte) bool {
	line, _, ok := bytes.Cut(body, []byte("\n"))
	words := bytes.Fields(line)
	if !ok || !bytes.HasPrefix(line, []byte("#!lua")) || string(words[0]) != "#!lua" {
		return false
	}
	for _, word := range words[1:] {
		flags, ok := bytes.CutPrefix(word, []byte("flags="))
		if ok && slices.Contains(strings.Split(string(flags), ","), "no-writes") {
			return true
		}
	}
	return false
}

// forwardScript sends a command that runs a script. One with keys is routed by their slots; one without, for which
// slot is anySlot, by its name, so that the same script always runs on the same node, by its body and by its SHA-1.
func (c *client) forwardScript(q request, k keySlots) stall {
	name := q.args[1]
	var id script.ID
	kept := true
	switch scriptKinds[q.cmd.ID] {
	case scriptBody:
		id, kept = c.loop.seenScripts(c.pool).ID(&c.pool.scripts, name)
		kept = kept || len(name) > script.MaxScript
		name = id[:]
	case scriptSHA:
		if sha, ok := script.ParseID(name); ok {
			id = sha
			name = id[:]
		}
	case scriptName, noScript:
	}
	if k.slot == anySlot {
		k.slot = c.someSlot(name)
	}
	if k.all == nil && c.mustWaitAlone(q, k.slot) {
		return stallDrain
	}
	seq := c.pipe.tail
	done := c.forwardTo(q, k)
	if !kept && c.pipe.tail != seq {
		c.bringsScript(seq, id)
	}
	return done
}

// mustWaitAlone reports whether a script has to wait for a migration and for what its client has in flight before that:
// when it goes on its slot may have another owner, and it must not get there first.
func (c *client) mustWaitAlone(q request, slot router.Slot) bool {
	if !c.pool.Family.LosesAtomics || !mayWriteByScript(q.cmd) || c.pipe.empty() {
		return false
	}
	node := q.v.servingMaster(slot)
	return node != nil && c.pool.isLeaving(node, slot)
}

// noteFlush empties the cache of scripts for a SCRIPT FLUSH that is about to be sent.
func (c *client) noteFlush(q request) {
	if q.cmd.Name != "script|flush" {
		return
	}
	if len(q.args) == 2 || len(q.args) == 3 && (command.IsWord(q.args[2], "sync") || command.IsWord(q.args[2], "async")) {
		c.pool.scripts.Clear()
	}
}

// scriptBody is the script with a SHA-1 in hex, in any case; nil when it is not known. The caller may keep it.
func (p *Pool) scriptBody(sha []byte) []byte {
	id, ok := script.ParseID(sha)
	if !ok {
		return nil
	}
	body, ok := p.scripts.Body(id)
	if !ok {
		return nil
	}
	return []byte(body)
}

// loadRequests are the SCRIPT LOADs of those of the scripts that are known, one for each.
func (c *client) loadRequests(shas [][]byte) (requests [][]byte) {
	seen := make(map[script.ID]bool)
	for _, sha := range shas {
		id, ok := script.ParseID(sha)
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		if body := c.pool.scriptBody(id[:]); body != nil {
			requests = append(requests, resp.AppendCommand(nil, "SCRIPT", "LOAD", string(body)))
		}
	}
	return requests
}

// seenScripts are those of a pool that the loop has seen.
func (l *loop) seenScripts(p *Pool) *script.Seen {
	seen := l.scripts[p]
	if seen == nil {
		if l.scripts == nil {
			l.scripts = make(map[*Pool]*script.Seen)
		}
		seen = new(script.Seen)
		l.scripts[p] = seen
	}
	return seen
}

// keepScript keeps a script that has come with EVAL.
func (l *loop) keepScript(p *Pool, id script.ID, body []byte) {
	l.seenScripts(p).Keep(&p.scripts, id, body)
}
