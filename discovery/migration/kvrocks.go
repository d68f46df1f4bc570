package migration

import (
	"strings"

	"sluice/internal/control"
)

// parseKvrocks reads the lines of CLUSTER INFO that Kvrocks adds, on the source
//
//	migrating_slot(s): 10-20    (migrating_slot: in older versions)
//	destination_node: ID
//	migrating_state: none|start|success|fail
//
// and on the target importing_slot(s) and import_state: none|start|success|error. They are absent while nothing ever
// ran. A node remembers the last one only.
func parseKvrocks(reply control.Value) ([]report, error) {
	if err := reply.Err(); err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for line := range strings.Lines(reply.Text) {
		if name, text, ok := strings.Cut(line, ":"); ok {
			fields[strings.Replace(strings.TrimSpace(name), "_slot(s)", "_slot", 1)] = strings.TrimSpace(text)
		}
	}
	var list []report
	add := func(out bool, slots, peer, word string) {
		if state := kvrocksState(word); slots != "" && state != "" {
			list = append(list, report{out: out, peer: peer, slots: slotList(slots), state: state, word: word, keys: -1, copied: -1, retries: -1})
		}
	}
	add(true, fields["migrating_slot"], fields["destination_node"], fields["migrating_state"])
	add(false, fields["importing_slot"], "", fields["import_state"])
	return list, nil
}

// kvrocksState is "" when nothing is moved.
func kvrocksState(word string) State {
	switch word {
	case "", "none":
		return ""
	case "start":
		return Copying
	case "success":
		return Finished
	case "fail", "error":
		return Failed
	}
	return Unknown
}
