package consul

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice/internal/statefile"
	"sluice/router"
)

// The last good file lets a proxy start while Consul is away: the topology in force, with the nodes and masters of then.
// Roles are asked again anyway.

const savedVersion = 1

// saved is what is saved.
type saved struct {
	Version int       `json:"version"`
	Root    string    `json:"root"`
	Pool    string    `json:"pool"`
	Seen    time.Time `json:"seen"` // when Consul has said so last

	Format  Format                `json:"format"`
	Epoch   Epoch                 `json:"epoch"`
	Groups  []Group               `json:"groups"`
	Slots   []SlotRange           `json:"slots"`
	Members map[string]savedGroup `json:"members"`
}

// savedGroup is a group as it was in force.
type savedGroup struct {
	Master string `json:"master"`
	Nodes  []Node `json:"nodes"`
}

// save makes what is to be saved of a topology.
func (t *topology) save(root, pool string, seen time.Time) saved {
	s := saved{
		Version: savedVersion, Root: root, Pool: pool, Seen: seen.UTC().Truncate(time.Second),
		Format: t.doc.Format, Epoch: t.doc.Epoch, Groups: t.doc.Groups, Slots: t.doc.Slots,
		Members: make(map[string]savedGroup),
	}
	for id, g := range t.groups {
		sg := savedGroup{Master: g.master}
		for _, addr := range slices.Sorted(maps.Keys(g.members)) {
			sg.Nodes = append(sg.Nodes, Node{Addr: addr, Zone: g.members[addr].zone})
		}
		s.Members[id] = sg
	}
	return s
}

// writeSaved replaces the file.
func writeSaved(path string, s saved) error {
	if err := statefile.Write(path, s); err != nil {
		return fmt.Errorf("save the topology: %w", err)
	}
	return nil
}

// readSaved reads the file of a pool. What it returns is fit for the model. With one that is older than maxAge it returns an
// error too: only its epoch counts.
func readSaved(path, root, pool string, model router.Model, maxAge time.Duration, now time.Time) (*topology, time.Time, error) {
	complain := func(format string, args ...any) (*topology, time.Time, error) {
		return nil, time.Time{}, fmt.Errorf("saved topology %s: "+format, append([]any{path}, args...)...)
	}
	var s saved
	err := statefile.Read(path, &s)
	if err != nil {
		return complain("%w", err)
	}
	switch {
	case s.Version != savedVersion:
		return complain("it has version %d, known is %d", s.Version, savedVersion)
	case s.Root != root || s.Pool != pool:
		return complain("it is of pool %q at %s, not of %q at %s", s.Pool, s.Root, pool, root)
	}
	doc := &Document{Format: s.Format, Epoch: s.Epoch, Groups: s.Groups, Slots: s.Slots}
	if err := doc.Validate(model); err != nil {
		return complain("%w", err)
	}
	t := newTopology(doc, model, nil)
	t.saved = true
	for id, sg := range s.Members {
		g := t.groups[id]
		if g == nil {
			continue
		}
		for _, n := range sg.Nodes {
			g.members[n.Addr] = &member{addr: n.Addr, zone: n.Zone, catalog: "saved"}
		}
		if g.members[sg.Master] != nil {
			g.master = sg.Master
		}
	}
	switch age := now.Sub(s.Seen); {
	case age > maxAge:
		_, _, err = complain("Consul confirmed it %s ago, and max_state_age is %s: it is not used", age.Round(time.Second), maxAge)
	case age < -maxAge:
		_, _, err = complain("it is from the future (%s): a clock is wrong", s.Seen.Format(time.RFC3339))
	}
	return t, s.Seen, err
}
