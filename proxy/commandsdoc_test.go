package proxy

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"sluice/proxy/command"
	"sluice/proxy/local"
)

var update = flag.Bool("update", false, "write docs/COMMANDS.md")

const commandsPage = "../docs/COMMANDS.md"

// docs/COMMANDS.md is what the table of commands and the plans make of it.
func TestCommandsPageIsCurrent(t *testing.T) {
	got := appendCommandsPage(nil)
	if *update {
		if err := os.WriteFile(commandsPage, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(commandsPage)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s is not current (-want +got), `go test ./proxy -run TestCommandsPageIsCurrent -update` writes it:\n%s", commandsPage, d)
	}
}

// Every reason belongs to a command that is refused.
func TestRefusalReasonsAreNeeded(t *testing.T) {
	for name := range refusalReasons {
		if cmd := command.Lookup([]byte(name)); cmd == nil || len(refusedWithin(cmd)) == 0 {
			t.Errorf("a reason for %q, which is not refused", name)
		}
	}
}

// refusedWithin lists what is refused of a command and its subcommands.
func refusedWithin(cmd *command.Command) []*command.Command {
	var refused []*command.Command
	for _, c := range append([]*command.Command{cmd}, cmd.Subcommands...) {
		if plans[c.ID].kind == planRefuse && len(c.Subcommands) == 0 {
			refused = append(refused, c)
		}
	}
	return refused
}

const commandsPageHead = `# Commands

What Sluice does with every command of Redis up to 8.12 and of Valkey up to 9.1. Commands of modules are declared, or learned
from servers ([USERS.md](USERS.md)). Made from the command table and the plans of ` + "`proxy/plan.go`" + ` by
` + "`go test ./proxy -run TestCommandsPageIsCurrent -update`" + `; do not edit it.

| What happens | Means |
|---|---|
`

const commandsPageMiddle = `
All keys of a command that is passed on must be on one group, so that a pool of one group does what its server does
([SESSIONS.md](SESSIONS.md)). With ` + "`multi_key = \"slot\"`" + `, and in a Redis Cluster, they must be in one slot. If they are not, it is
answered with CROSSSLOT; a hash tag, ` + "`{user1}:name`" + `, keeps keys together in both. *Access* is what the command does with keys:
reads may go to replicas if the pool says so. *Since* is the version of Redis that brought the command, and that of Valkey where
it is named; what Redis 7.2 has all versions of Valkey have. A server that is older answers that it does not know it.
`

// commandsPageTail is what Redis' own tests find. They are run by hand: fetched, in front of one server, as
// tests/README.md of Redis says for a server that is there already.
const commandsPageTail = `
## Redis' own tests

The test suite of Redis 7.0.15 in external mode, with the tag ` + "`cluster-mode`" + ` and without those that need DEBUG, replication or SAVE
(` + "`--cluster-mode --tags \"-needs:debug -needs:repl -needs:pfdebug -needs:save -needs:reset\"`" + `), in front of one server: 1758 tests succeed at the server itself, 1645 of them
through Sluice. All of strings, lists, sets, sorted sets, hashes, geo, bitfields, HyperLogLog, SORT, EXPIRE, SCAN, pub/sub, DUMP, the protocol and
redis-cli. What is left:

| Tests | Why |
|---|---|
| 51 | CLIENT TRACKING is refused: nobody tells Sluice what its servers invalidate |
| 15 | a script that runs for long: PING is answered all the same, and what others ask stands behind the script on the connection that all share, up to the request timeout, instead of BUSY at once. SCRIPT KILL and FUNCTION KILL work |
| 13 | LATENCY samples nothing here, and latency-monitor-threshold is not set at the servers |
| 5 | SLOWLOG has no entries of what Sluice answers itself, and one for a whole transaction |
| 4 | CONFIG SET of parameters that would break the pool ([INTROSPECTION.md](INTROSPECTION.md)) |
| 4 | CONFIG RESETSTAT leaves the counters of the servers alone |
| 4 | CLIENT LIST and INFO show the buffers of Sluice, not those of a server |
| 3 | OOM shows at EXEC, not when a command is queued |
| 3 | CLIENT PAUSE inside of MULTI is refused; FCALL is held by CLIENT PAUSE WRITE whatever its function does |
| 2 | INFO commandstats does not count the commands of scripts and transactions |
| 2 | MONITOR does not show what scripts call |
| 2 | ACL SETUSER: users are in the configuration |
| 2 | CONFIG SET inside of MULTI is refused |
| 1 each | INFO has no master_repl_offset; COMMAND INFO tells nothing of MIGRATE, which is refused; an XREAD BLOCK may be overtaken by the SET of another client, since it gets a connection of its own first |

Without these tags 174 more fail, all because DEBUG, SYNC, SAVE and REPLICAOF are refused.
`

// commandGroups are the groups of the table in the order of the page, with their titles.
var commandGroups = [][2]string{
	{"string", "Strings"}, {"bitmap", "Bitmaps"}, {"hyperloglog", "HyperLogLog"}, {"list", "Lists"}, {"set", "Sets"},
	{"sorted-set", "Sorted sets"}, {"hash", "Hashes"}, {"stream", "Streams"}, {"geo", "Geo"}, {"array", "Arrays"},
	{"vector-set", "Vector sets"}, {"generic", "Generic"},
	{"scripting", "Scripts and functions"}, {"transactions", "Transactions"}, {"pubsub", "Pub/sub"},
	{"connection", "Connection"}, {"server", "Server"}, {"cluster", "Cluster"},
}

func appendCommandsPage(dst []byte) []byte {
	dst = append(dst, commandsPageHead...)
	counts := make(map[planKind]int)
	groups := make(map[string][]*command.Command)
	for id := range command.Count {
		cmd := command.At(id)
		if len(cmd.Subcommands) > 0 && plans[id].kind == planRefuse {
			continue // A container is not called by itself.
		}
		counts[plans[id].kind]++
		groups[cmd.Group] = append(groups[cmd.Group], cmd)
	}
	var kinds []planKind
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b planKind) int {
		switch {
		case a == planRefuse:
			return 1 // It comes last.
		case b == planRefuse:
			return -1
		}
		return cmp.Compare(a, b)
	})
	for _, kind := range kinds {
		title, means := kind.describe()
		dst = fmt.Appendf(dst, "| %s (%d) | %s |\n", title, counts[kind], means)
	}
	dst = append(dst, commandsPageMiddle...)
	for _, g := range commandGroups {
		dst = appendCommandGroup(dst, g[1], groups[g[0]])
		delete(groups, g[0])
	}
	for name := range groups {
		panic("BUG: no title for group " + name)
	}
	return append(dst, commandsPageTail...)
}

func appendCommandGroup(dst []byte, title string, list []*command.Command) []byte {
	dst = fmt.Appendf(dst, "\n## %s\n\n| Command | What happens | Access | Keys | Since |\n|---|---|---|---|---|\n", title)
	slices.SortFunc(list, func(a, b *command.Command) int { return cmp.Compare(a.Name, b.Name) })
	for _, cmd := range list {
		p := plans[cmd.ID]
		what, _ := p.kind.describe()
		if p.kind == planRefuse {
			what += ": " + refusalReason(cmd, p)
		}
		name := strings.ToUpper(strings.ReplaceAll(cmd.Name, "|", " "))
		dst = fmt.Appendf(dst, "| `%s` | %s | %s | %s | %s |\n", name, what, accessOf(cmd), keysOf(cmd), sinceOf(cmd))
	}
	return dst
}

func sinceOf(cmd *command.Command) string {
	switch {
	case cmd.OnlyValkey:
		return "Valkey " + cmd.Valkey
	case cmd.Valkey != "":
		return cmd.Since + ", Valkey " + cmd.Valkey
	}
	return cmd.Since
}

// describe is the entry of the legend.
func (k planKind) describe() (title, means string) {
	switch k {
	case planForward:
		return "passed on", "sent as it is to the server of its slot, and the reply passed back as it is"
	case planSplit:
		return "split", "keys may be of several slots: each server gets its part, and the replies become one. " +
			"The parts are not atomic together"
	case planLocal:
		return "answered here", "answered by Sluice, as far as it is about the connection, Sluice itself or the command table"
	case planSession:
		return "session", "goes a way of its own: it changes what the commands behind it do, waits on server connections of its " +
			"own, or tells what clients and servers have together"
	case planPublish:
		return "published", "sent to the master of the slot of its channel; the reply counts clients, not the connections of Sluice"
	case planFanOut:
		return "fanned out", "sent to every master, and the replies become one. The masters are not asked at one instant"
	case planRefuse:
		return "refused", "answered with an error, whatever its arguments are; no server hears of it"
	}
	panic(fmt.Sprintf("BUG: plan kind %d is not described", k))
}

func accessOf(cmd *command.Command) string {
	switch {
	case cmd.Is(command.Write):
		return "writes"
	case cmd.Is(command.ReadOnly):
		return "reads"
	}
	return ""
}

func keysOf(cmd *command.Command) string {
	isChannel := func(s command.KeySpec) bool { return s.Flags&command.KeyNotKey != 0 }
	switch {
	case len(cmd.Keys) == 0 || cmd.Name == "clusterscan": // It has a cursor.
		return ""
	case !slices.ContainsFunc(cmd.Keys, func(s command.KeySpec) bool { return !isChannel(s) }):
		return "channels"
	case cmd.KeyAt > 0:
		return "1"
	case plans[cmd.ID].kind == planSplit:
		return "any"
	}
	return "of one group"
}

// refusalReasons say more than the error does. A container's reason holds for its subcommands.
var refusalReasons = map[string]string{
	"acl":            "shows or changes the users of one server; who may use Sluice is in its configuration",
	"backup":         "acts on one server",
	"bgrewriteaof":   "acts on one server",
	"bgsave":         "acts on one server",
	"clusterscan":    "its cursors name a node; SCAN goes through the keys of all servers",
	"debug":          "acts on one server, and may stop it",
	"failover":       "changes roles behind the back of whoever manages the servers",
	"himport":        "sets what its connection has prepared, and connections to servers are shared",
	"hotkeys":        "acts on one server",
	"migrate":        "moves a key to where its slot is not",
	"module":         "acts on one server, and changes what it understands",
	"pfdebug":        "for those who work on Redis",
	"pfselftest":     "for those who work on Redis",
	"psync":          "for replicas",
	"replconf":       "for replicas",
	"replicaof":      "changes roles behind the back of whoever manages the servers",
	"restore-asking": "for servers that move slots",
	"save":           "acts on one server, and stops it meanwhile",
	"sflush":         "empties slots behind the back of whoever moves them",
	"shutdown":       "ends one server",
	"slaveof":        "changes roles behind the back of whoever manages the servers",
	"sync":           "for replicas",
	"trimslots":      "for servers that move slots",
}

func refusalReason(cmd *command.Command, p plan) string {
	top, _, _ := strings.Cut(cmd.Name, "|")
	if reason := refusalReasons[top]; reason != "" {
		return reason
	}
	switch p.refusal {
	case unsupported(top), unsupported(cmd.Name):
		return "not in this version"
	case local.ErrNotCluster:
		return "to its clients Sluice is a server without cluster mode"
	}
	return p.refusal
}
