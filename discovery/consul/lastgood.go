package consul

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sluice/router"
)

// The last good file lets a proxy start while Consul is away: the topology in force, with the nodes and masters of then.
// Roles are asked again anyway.

const savedVersion = 1

// savedFile is the file: what is saved, and a sum that finds a torn or edited one.
type savedFile struct {
	Sum   string          `json:"sha256"`
	State json.RawMessage `json:"state"`
}

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

// writeSaved replaces the file: whoever reads it, also after a crash, finds the old one or the new one.
func writeSaved(path string, s saved) (err error) {
	state, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(state)
	data, err := json.Marshal(savedFile{Sum: hex.EncodeToString(sum[:]), State: state})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("save the topology: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("save the topology: %w", err)
		}
	}()
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readSaved reads the file of a pool. What it returns is fit for the model. With one that is older than maxAge it returns an
// error too: only its epoch counts.
func readSaved(path, root, pool string, model router.Model, maxAge time.Duration, now time.Time) (*topology, time.Time, error) {
	complain := func(format string, args ...any) (*topology, time.Time, error) {
		return nil, time.Time{}, fmt.Errorf("saved topology %s: "+format, append([]any{path}, args...)...)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return complain("%w", err)
	}
	var file savedFile
	if err := json.Unmarshal(data, &file); err != nil {
		return complain("it is damaged: %w", err)
	}
	if sum := sha256.Sum256(file.State); file.Sum != hex.EncodeToString(sum[:]) {
		return complain("it is damaged: its checksum is not that of its content")
	}
	var s saved
	if err := json.Unmarshal(file.State, &s); err != nil {
		return complain("it is damaged: %w", err)
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
