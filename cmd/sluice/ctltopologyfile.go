package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sluice/conf"
	"sluice/discovery/consul"
)

// topologyFile is a topology as a document for people: what `ctl topology export` prints and `import` reads. It is TOML,
// or JSON of the same names.
type topologyFile struct {
	// Epoch is where it comes from. An import makes a new number of its own.
	Epoch  uint64       `json:"epoch,omitempty" toml:"epoch,omitempty" comment:"Of the topology that was exported; an import goes on from the one that is there."`
	Format *fileFormat  `json:"format,omitempty" toml:"format,omitempty"`
	Groups []fileGroup  `json:"groups" toml:"groups"`
	Slots  []fileAssign `json:"slots" toml:"slots"`
}

type fileFormat struct {
	Version int    `json:"version" toml:"version"`
	Slots   int    `json:"slots" toml:"slots"`
	Hash    string `json:"hash" toml:"hash"`
}

type fileGroup struct {
	ID    string     `json:"id" toml:"id"`
	Nodes []fileNode `json:"nodes,omitempty" toml:"nodes,omitempty,inline"`
}

type fileNode struct {
	Addr string `json:"addr" toml:"addr"`
	Zone string `json:"zone,omitempty" toml:"zone,omitempty"`
}

type fileAssign struct {
	Slots  string `json:"slots" toml:"slots"`
	Group  string `json:"group" toml:"group"`
	State  string `json:"state,omitempty" toml:"state,omitempty"` // without it stable
	To     string `json:"to,omitempty" toml:"to,omitempty"`
	Method string `json:"method,omitempty" toml:"method,omitempty"`
	Token  uint64 `json:"token,omitempty" toml:"token,omitempty"`
}

func fileOf(d *consul.Document) *topologyFile {
	f := &topologyFile{
		Epoch:  d.Epoch.Epoch,
		Format: &fileFormat{Version: d.Format.Version, Slots: d.Format.Slots, Hash: d.Format.Hash},
		Groups: []fileGroup{}, Slots: []fileAssign{},
	}
	for _, g := range d.Groups {
		group := fileGroup{ID: g.ID}
		for _, n := range g.Nodes {
			group.Nodes = append(group.Nodes, fileNode{Addr: n.Addr, Zone: n.Zone})
		}
		f.Groups = append(f.Groups, group)
	}
	for _, s := range d.Slots {
		f.Slots = append(f.Slots, fileAssign{Slots: s.Slots, Group: s.Group, State: s.State, To: s.To, Method: s.Method, Token: s.Token})
	}
	return f
}

// document is the opposite of fileOf. A file without a format has that of the pool.
func (f *topologyFile) document(format consul.Format) *consul.Document {
	d := &consul.Document{Format: format, Epoch: consul.Epoch{Epoch: f.Epoch}, Groups: []consul.Group{}, Slots: []consul.SlotRange{}}
	if f.Format != nil {
		d.Format = consul.Format{Version: f.Format.Version, Slots: f.Format.Slots, Hash: f.Format.Hash}
	}
	for _, g := range f.Groups {
		group := consul.Group{ID: g.ID}
		for _, n := range g.Nodes {
			group.Nodes = append(group.Nodes, consul.Node{Addr: n.Addr, Zone: n.Zone})
		}
		d.Groups = append(d.Groups, group)
	}
	for _, s := range f.Slots {
		if s.State == "" {
			s.State = consul.Stable
		}
		d.Slots = append(d.Slots, consul.SlotRange{Slots: s.Slots, Group: s.Group, State: s.State, To: s.To, Method: s.Method, Token: s.Token})
	}
	return d
}

// parseTopology reads TOML or JSON, which it tells apart by the first character.
func parseTopology(name string, data []byte) (*topologyFile, error) {
	f := new(topologyFile)
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(f); err != nil {
			line := 1 + bytes.Count(data[:min(len(data), int(d.InputOffset()))], []byte("\n"))
			return nil, fmt.Errorf("%s:%d: %s", name, line, strings.TrimPrefix(err.Error(), "json: "))
		}
		return f, nil
	}
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(f)
	var strict *toml.StrictMissingError
	var broken *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		var errs []error
		for _, e := range strict.Errors {
			line, _ := e.Position()
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %s; see sluice ctl topology export for what there is", name, line, strings.Join(e.Key(), ".")))
		}
		return nil, errors.Join(errs...)
	case errors.As(err, &broken):
		line, column := broken.Position()
		return nil, fmt.Errorf("%s:%d:%d: %s", name, line, column, strings.TrimPrefix(broken.Error(), "toml: "))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// tomlText is the document with what it is in front.
func (f *topologyFile) tomlText(pool string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Topology of pool %s. `sluice ctl topology import FILE` writes it back.\n", pool)
	e := toml.NewEncoder(&b)
	if err := e.Encode(f); err != nil {
		return "", err
	}
	return b.String(), nil
}

// fromGroups makes a document of the groups of a configuration file.
func fromGroups(groups []conf.Group, format consul.Format) *consul.Document {
	d := &consul.Document{Format: format}
	for i := range groups {
		g := &groups[i]
		group := consul.Group{ID: g.ID}
		for _, addr := range append([]string{g.Master}, g.Replicas...) {
			group.Nodes = append(group.Nodes, consul.Node{Addr: addr, Zone: g.Zone(addr)})
		}
		d.Groups = append(d.Groups, group)
		if g.Slots.Len() > 0 {
			d.Slots = append(d.Slots, consul.SlotRange{Slots: g.Slots.String(), Group: g.ID, State: consul.Stable})
		}
	}
	return d
}

// evenSplit makes a document of groups that have about the same number of slots. Each is "ID", with nodes from the services
// of Consul, or "ID=ADDR,ADDR".
func evenSplit(groups []string, format consul.Format) (*consul.Document, error) {
	d := &consul.Document{Format: format}
	for _, text := range groups {
		id, addrs, given := strings.Cut(text, "=")
		if !given {
			for id := range strings.SplitSeq(text, ",") {
				d.Groups = append(d.Groups, consul.Group{ID: strings.TrimSpace(id)})
			}
			continue
		}
		group := consul.Group{ID: strings.TrimSpace(id)}
		for addr := range strings.SplitSeq(addrs, ",") {
			group.Nodes = append(group.Nodes, consul.Node{Addr: strings.TrimSpace(addr)})
		}
		d.Groups = append(d.Groups, group)
	}
	n := len(d.Groups)
	if n > format.Slots {
		return nil, fmt.Errorf("--groups: %d groups for %d slots, some would have none", n, format.Slots)
	}
	for i, g := range d.Groups {
		r := conf.Range{From: uint16(i * format.Slots / n), To: uint16((i+1)*format.Slots/n - 1)}
		d.Slots = append(d.Slots, consul.SlotRange{Slots: r.String(), Group: g.ID, State: consul.Stable})
	}
	return d, nil
}
