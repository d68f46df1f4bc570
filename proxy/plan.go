package proxy

import (
	"slices"

	"sluice/proxy/command"
	"sluice/proxy/local"
	"sluice/proxy/pubsub"
)

// plan says what happens to a command. There is one per command of the table; docs and COMMAND are made
// from the same table, so what is not planned here does not exist.
type plan struct {
	kind    planKind
	split   splitKind   // planSplit
	local   localFunc   // planLocal
	session sessionFunc // planSession
	fan     fanKind     // planFanOut
	refusal string      // planRefuse
}

type planKind uint8

const (
	planRefuse  planKind = iota // answered with plan.refusal
	planForward                 // sent as it is to the owner of its slot
	planSplit                   // sent in parts to the owners of its keys
	planLocal                   // answered by Sluice
	planSession                 // bound to what the connection has said before, or to a server connection of its own
	planFanOut                  // sent to every master, one reply made of theirs
	planPublish                 // sent to the owner of its channel's slot
)

// request is the request at hand. Its slices are valid during the dispatch.
type request struct {
	v    *view
	cmd  *command.Command
	args [][]byte
	raw  []byte
}

// sessionFunc runs a command that is bound to the connection. It waits with stallDrain until nothing of
// the client is in flight.
type sessionFunc func(c *client, q request) stall

// localFunc runs a command on the client's loop. It waits with stallDrain until nothing of
// the client is in flight.
type localFunc func(c *client, args [][]byte) stall

// plans is indexed by command.Command.ID. Immutable after construction.
var plans = makePlans()

var splitCommands = map[string]splitKind{
	"mget": splitMGet, "mset": splitMSet,
	"del": splitCount, "unlink": splitCount, "exists": splitCount, "touch": splitCount,
}

// sessionCommands are bound to the connection, by full name. Immutable after construction.
var sessionCommands = map[string]sessionFunc{
	"multi": cmdMulti, "exec": cmdExec, "discard": cmdDiscard, "watch": cmdWatch, "unwatch": cmdUnwatch,

	"blpop": cmdBlock, "brpop": cmdBlock, "brpoplpush": cmdBlock, "blmove": cmdBlock, "blmpop": cmdBlock,
	"bzpopmin": cmdBlock, "bzpopmax": cmdBlock, "bzmpop": cmdBlock, "wait": cmdWait, "waitaof": cmdWait,
	"blmovem": cmdBlock, "bzmove": cmdBlock,
	"cluster|countkeysinslot": cmdClusterSlotKeys, "cluster|getkeysinslot": cmdClusterSlotKeys,
	"subscribe": subscribeTo(pubsub.Channel), "unsubscribe": unsubscribeFrom(pubsub.Channel),
	"psubscribe": subscribeTo(pubsub.Pattern), "punsubscribe": unsubscribeFrom(pubsub.Pattern),
	"ssubscribe": subscribeTo(pubsub.Shard), "sunsubscribe": unsubscribeFrom(pubsub.Shard),
	"pubsub|channels":      queryPubsub(pubsub.QueryChannels, pubsub.Channel),
	"pubsub|shardchannels": queryPubsub(pubsub.QueryChannels, pubsub.Shard),
	"pubsub|numsub":        queryPubsub(pubsub.QueryCounts, pubsub.Channel),
	"pubsub|shardnumsub":   queryPubsub(pubsub.QueryCounts, pubsub.Shard),
	"pubsub|numpat":        queryPubsub(pubsub.QueryPatterns, pubsub.Pattern),
}

// forbidden are commands that would act on a server behind Sluice's back.
var forbidden = []string{
	"backup", "bgrewriteaof", "bgsave", "debug", "failover", "hotkeys", "migrate", "module", "pfdebug", "pfselftest",
	"psync", "replconf", "replicaof", "restore-asking", "save", "sflush", "shutdown", "slaveof", "sync", "trimslots",
}

// blockByOption wait only with BLOCK; forwardKeys looks for it.
var blockByOption = map[string]bool{"xread": true, "xreadgroup": true}

func makePlans() []plan {
	refusals := make(map[string]string)
	for _, name := range forbidden {
		refusals[name] = notAllowed(name)
	}
	refusals["acl"] = errACL
	refusals["himport|set"] = unsupported("himport|set") // Of what its connection has prepared.
	table := make([]plan, command.Declared+1)
	for id := range command.Count {
		table[id] = planOf(command.At(id), refusals)
	}
	table[command.Declared] = plan{kind: planForward}
	return table
}

func planOf(cmd *command.Command, refusals map[string]string) plan {
	top := cmd
	if cmd.Parent != nil {
		top = cmd.Parent
	}
	if run := localCommands[cmd.Name]; run != nil {
		return plan{kind: planLocal, local: run}
	}
	if run := local.Commands[cmd.Name]; run != nil {
		return plan{kind: planLocal, local: locally(run)}
	}
	if run := sessionCommands[cmd.Name]; run != nil {
		return plan{kind: planSession, session: run}
	}
	if cmd.Name == "publish" || cmd.Name == "spublish" {
		return plan{kind: planPublish}
	}
	if top.Name == "cluster" {
		return plan{kind: planLocal, local: clusterWide(cmd.Name)}
	}
	if kind, ok := fanCommands[cmd.Name]; ok {
		return plan{kind: planFanOut, fan: kind}
	}
	if text := refusals[cmd.Name]; text != "" {
		return plan{refusal: text}
	}
	if text := refusals[top.Name]; text != "" && len(cmd.Keys) == 0 { // MEMORY USAGE has a key.
		return plan{refusal: text}
	}
	if kind, ok := splitCommands[cmd.Name]; ok {
		return plan{kind: planSplit, split: kind}
	}
	if waits := cmd.Is(command.Blocking) && !blockByOption[cmd.Name]; hasKeys(cmd) && !waits {
		return plan{kind: planForward}
	}
	return plan{refusal: unsupported(cmd.Name)}
}

// hasKeys reports whether a command has keys to be routed by. A channel is none, and neither is a cursor.
func hasKeys(cmd *command.Command) bool {
	return slices.ContainsFunc(cmd.Keys, func(s command.KeySpec) bool { return s.Flags&command.KeyNotKey == 0 })
}
