package migration

import (
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/control"
)

// State is how far a migration is, whatever the family calls it.
type State string

// The states. Only Finished, Failed, Cancelled, Reverted and Gone are ends.
const (
	// Connecting is before keys are copied, also between an attempt that failed and the next one.
	Connecting State = "connecting"
	// Copying is while the source serves and its keys are copied.
	Copying State = "copying"
	// Finalising is the hand-over: the source does not take writes, or nothing at all.
	Finalising State = "finalising"
	// Finished is when the target serves.
	Finished State = "finished"
	// Failed is an end without success: the server will not try again.
	Failed State = "failed"
	// Cancelled is an end that somebody asked for.
	Cancelled State = "cancelled"
	// Reverted is when a configuration of before was pushed after the hand-over: what the target has taken is deleted.
	Reverted State = "reverted"
	// Gone is when nobody reports the migration any more and its end was not seen.
	Gone State = "gone"
	// Unknown is a word that this version does not know.
	Unknown State = "unknown"
)

// States lists all of them.
var States = []State{Connecting, Copying, Finalising, Finished, Failed, Cancelled, Reverted, Gone, Unknown}

// active reports whether keys are moving or soon will.
func (s State) active() bool {
	return s == Connecting || s == Copying || s == Finalising || s == Unknown
}

// report is what one node says of one migration.
type report struct {
	out  bool   // It is the source.
	peer string // Node id or host:port of the other side; "" when it does not say.

	slots   string // As in the configuration, "0-511,600"; "" when it does not say.
	state   State
	word    string // The state in the words of the server.
	keys    int64  // Keys that it has of these slots; -1 when it does not say.
	copied  int64  // Source only: keys that have left; -1 when it does not say.
	err     string // The last error; "" for none.
	retries int64  // -1 when it does not say.
}

// parser reads the reply to a question. An error says that the reply was not understood.
type parser func(reply control.Value) ([]report, error)

// question is a command and who reads its reply.
type question struct {
	command []string
	parse   parser
}

// family is how a family is asked.
type family struct {
	questions []question
	myID      []string // The command that answers a node's id; nil: nodes are named by their addresses.
	owners    []string // The command that answers what a node's configuration says of the slots; nil: not asked.
}

// families by their names in the configuration.
var families = map[string]family{
	"dragonfly": {
		questions: []question{{[]string{"DFLYCLUSTER", "SLOT-MIGRATION-STATUS"}, parseDragonfly}},
		myID:      []string{"CLUSTER", "MYID"},
		owners:    []string{"CLUSTER", "SLOTS"},
	},
	"redis": {
		questions: []question{
			{[]string{"CLUSTER", "MIGRATION", "STATUS", "ALL"}, parseRedis},
			{[]string{"CLUSTER", "GETSLOTMIGRATIONS"}, parseValkey},
		},
		myID: []string{"CLUSTER", "MYID"},
	},
	"kvrocks": {
		questions: []question{{[]string{"CLUSTER", "INFO"}, parseKvrocks}},
		myID:      []string{"CLUSTERX", "MYID"},
	},
	"codis": {questions: []question{{[]string{"SLOTSMGRT-ASYNC-STATUS"}, parseCodis}}},
	"pika":  {questions: []question{{[]string{"INFO", "stats"}, parsePika}}},
}

// slotList turns "[0, 5], [7, 7]", "0-5 7" and "0-5, 7-7" into "0-5,7".
func slotList(text string) string {
	text = strings.NewReplacer("[", "", "]", ";", ", ", "-").Replace(text)
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
	var out []string
	for _, word := range words {
		from, to, isRange := strings.Cut(strings.Trim(word, "-"), "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil {
			return text
		}
		if a == b {
			out = append(out, from)
			continue
		}
		out = append(out, fmt.Sprintf("%d-%d", a, b))
	}
	return strings.Join(out, ",")
}

// number is text as an integer, -1 when it is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
