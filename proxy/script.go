package proxy

import (
	"sluice/proxy/command"
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

// scriptSlot is the slot by which a script is routed: that of its keys, or if it has none, which is anySlot, one that is
// chosen by its name, so that the same script always runs on the same node, by its body and by its SHA-1. What comes
// with EVAL is kept for those who will ask for it by its SHA-1.
func (c *client) scriptSlot(q request, slot router.Slot) router.Slot {
	name := q.args[1]
	var id scriptID
	switch scriptKinds[q.cmd.ID] {
	case scriptBody:
		id = c.loop.scriptID(c.pool, name)
		name = id[:]
	case scriptSHA:
		if sha, ok := parseScriptID(name); ok {
			id = sha
			name = id[:]
		}
	case scriptName, noScript:
	}
	if slot != anySlot {
		return slot
	}
	return c.someSlot(name)
}

// noteScripts keeps the cache of scripts up with a SCRIPT LOAD or FLUSH that is about to be sent.
func (c *client) noteScripts(q request) {
	switch q.cmd.Name {
	case "script|load":
		c.pool.scripts.add(scriptIDOf(q.args[2]), string(q.args[2]), true)
	case "script|flush":
		if len(q.args) == 2 || len(q.args) == 3 && (isWord(q.args[2], "sync") || isWord(q.args[2], "async")) {
			c.pool.scripts.clear()
		}
	}
}
