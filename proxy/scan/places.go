package scan

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"sluice/router"
)

// Places are those of a pool's groups in the order of a SCAN, each with its master: the cursor of a server says
// nothing to the one that takes its place, which orders its keys in another way and is scanned from its start. Not
// safe for concurrent use. The zero value is ready.
//
// A cursor says that all places before its own are done. So its mark is a hash of the place and all before it: to
// another sidecar, and to this one after a restart, it is either the same place behind the same places, where the scan
// goes on, or none, and the scan begins anew. That a mark of another history is known by chance happens once in 2^20
// for each place.
type Places struct {
	of    map[string]int // by PlaceName; never changed, but replaced
	marks []Mark         // by place, see Marks
	chain [sha256.Size]byte
}

// MaxPlaces bounds marks, and how many of them a SCAN looks at.
const MaxPlaces = 4096

// PlaceName tells groups apart for places. IDs come first in it, so that it sorts by them.
func PlaceName(g *router.Group) string { return string(g.ID) + " " + g.Master.Addr }

// Assign gives places to groups that have none, in the order of their IDs, and forgets those of groups that are gone:
// one that comes back is a new one. It returns the places of all. When they are used up all are given out anew, and
// scans that are going on then begin anew.
func (p *Places) Assign(groups []*router.Group) map[string]int {
	of := make(map[string]int, len(groups))
	var fresh []string
	for _, g := range groups {
		name := PlaceName(g)
		if place, ok := p.of[name]; ok {
			of[name] = place
			continue
		}
		fresh = append(fresh, name)
	}
	if len(fresh) > 0 && len(p.marks)+len(fresh) > MaxPlaces {
		fresh = slices.AppendSeq(fresh, maps.Keys(of))
		p.marks = nil
	}
	slices.Sort(fresh)
	for _, name := range fresh {
		of[name] = len(p.marks)
		p.marks = append(p.marks, p.nextMark(name))
	}
	p.of = of
	return of
}

// Marks are by place, also of groups that are gone. Never changed, but appended to, or replaced.
func (p *Places) Marks() []Mark { return p.marks }

// nextMark is the mark of the place behind those that have one.
func (p *Places) nextMark(name string) Mark {
	for {
		p.chain = sha256.Sum256(append(p.chain[:], name...))
		m := Mark(binary.BigEndian.Uint32(p.chain[:]) >> (32 - markBits))
		if m != 0 && !slices.Contains(p.marks, m) {
			return m
		}
	}
}
