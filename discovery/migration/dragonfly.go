package migration

import (
	"fmt"
	"strings"

	"sluice/internal/control"
)

// parseDragonfly reads DFLYCLUSTER SLOT-MIGRATION-STATUS (src/server/cluster/cluster_family.cc at the tags):
//
//	v1.14         *  +"out host:port FULL_SYNC"      +NO_STATE when there is none, up to v1.22
//	v1.16, v1.17  *  +"out host:port SYNC"
//	v1.18-v1.21   *  $"out ID SYNC keys:5 errors: 0" one +line when it was asked for one node
//	v1.22         *  $"out ID SYNC keys:5 errors:0"
//	v1.23-v1.39   *  *5 out ID SYNC :5 ERROR         *0 when there is none
//	v1.40         *  *6 the same and "[0, 5], [7, 7]"
//
// The error is 0 for none, and else the last one there was, also when all is well again.
func parseDragonfly(reply control.Value) ([]report, error) {
	if !reply.IsList() {
		if err := reply.Err(); err != nil {
			return nil, err
		}
		reply = control.Value{Kind: control.Array, Elems: []control.Value{reply}}
	}
	var list []report
	for _, e := range reply.Elems {
		r, ok := parseDragonflyEntry(e)
		if !ok {
			return nil, fmt.Errorf("not understood: %.120q", e)
		}
		if r.word != "NO_STATE" {
			list = append(list, r)
		}
	}
	return list, nil
}

func parseDragonflyEntry(e control.Value) (report, bool) {
	r := report{keys: -1, copied: -1, retries: -1}
	var direction, errText string
	switch {
	case e.IsList() && len(e.Elems) >= 5:
		direction, r.peer, r.word = e.At(0).Text, e.At(1).Text, e.At(2).Text
		r.keys, errText, r.slots = number(e.At(3).Text), e.At(4).Text, slotList(e.At(5).Text)
	case e.IsList():
		return report{}, false
	case e.Text == "NO_STATE":
		return report{word: e.Text}, true
	default:
		head, text, _ := strings.Cut(e.Text, " errors:")
		words := strings.Fields(head)
		if len(words) < 3 || len(words) > 4 {
			return report{}, false
		}
		direction, r.peer, r.word = words[0], words[1], words[2]
		if len(words) == 4 {
			keys, ok := strings.CutPrefix(words[3], "keys:")
			if !ok {
				return report{}, false
			}
			r.keys = number(keys)
		}
		errText = strings.TrimSpace(text)
	}
	if errText != "0" {
		r.err = errText
	}
	r.out = direction == "out"
	r.state = dragonflyState(r.word)
	return r, r.out || direction == "in"
}

func dragonflyState(word string) State {
	switch word {
	case "CONNECTING", "ERROR": // v1.40 shows ERROR between two attempts.
		return Connecting
	case "SYNC", "FULL_SYNC", "STABLE_SYNC":
		return Copying
	case "FINISHED":
		return Finished
	case "FATAL":
		return Failed
	}
	return Unknown
}
