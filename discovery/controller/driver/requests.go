package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/router"
)

// What operators ask of a controller, and read of it. They talk to Consul: no controller has to run.

// ErrNoMove is returned for a move that there is not.
var ErrNoMove = errors.New("there is no such move; `sluice ctl moves` shows those that there are")

// Site is what there is of a pool's moves.
type Site struct {
	Moves    []controller.Move // in the order in which they were asked for
	Topology *consul.Document
	Index    uint64 // of the topology, for consul.WriteDocument
	Active   bool   // a controller has the lock
}

// Read reads the moves of a pool, and the topology that they are in.
func Read(ctx context.Context, kv *api.KV, root string, model router.Model) (*Site, error) {
	pairs, _, err := kv.List(root, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("consul: list %s: %w", root, err)
	}
	s, err := readSite(root, pairs, model)
	if err != nil {
		return nil, err
	}
	out := &Site{Topology: s.doc, Index: s.index}
	for _, m := range s.moves {
		out.Moves = append(out.Moves, m.Move)
	}
	out.Active = slices.ContainsFunc(pairs, func(p *api.KVPair) bool {
		return p.Key == root+keyLeader && p.Session != ""
	})
	return out, nil
}

// Check says what is wrong with a move that is to be asked for.
func (s *Site) Check(m controller.Move, model router.Model) error {
	doc := s.Topology
	if !slices.ContainsFunc(doc.Groups, func(g consul.Group) bool { return g.ID == m.To }) {
		var groups []string
		for _, g := range doc.Groups {
			groups = append(groups, g.ID)
		}
		return fmt.Errorf("there is no group %q; there are %s", m.To, strings.Join(groups, ", "))
	}
	wanted, err := router.ParseRanges(m.Slots)
	if err != nil {
		return err
	}
	for _, r := range wanted {
		if int(r.To) >= model.Slots() {
			return fmt.Errorf("slots %s are outside of 0-%d", r, model.Slots()-1)
		}
	}
	for _, other := range s.Moves {
		if other.Over() {
			continue
		}
		taken, err := router.ParseRanges(other.Slots)
		if err != nil {
			return err
		}
		for _, r := range taken {
			for slot := r.From; slot <= r.To; slot++ {
				if router.InRanges(wanted, slot) {
					return fmt.Errorf("slot %d is one of move %s, which is %s", slot, other.ID, other.State)
				}
			}
		}
	}
	return nil
}

// Ask writes a new move. A controller begins it when it sees it.
func Ask(ctx context.Context, kv *api.KV, root string, m controller.Move) error {
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return consul.Commit(ctx, kv, api.KVTxnOps{{Verb: api.KVCAS, Key: root + dirMoves + m.ID, Value: value}})
}

// SetWish says what is wanted of a move from now on.
func SetWish(ctx context.Context, kv *api.KV, root, id string, verb controller.Verb, by string) error {
	opts := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	move, _, err := kv.Get(root+dirMoves+id, opts)
	if err == nil && move == nil {
		return fmt.Errorf("move %s: %w", id, ErrNoMove)
	}
	var m controller.Move
	if err == nil {
		err = json.Unmarshal(move.Value, &m)
	}
	if err != nil {
		return fmt.Errorf("consul: read move %s: %w", id, err)
	}
	if m.Over() {
		return fmt.Errorf("move %s is over: %s", id, m.State)
	}
	before, _, err := kv.Get(root+dirWishes+id, opts)
	if err != nil {
		return fmt.Errorf("consul: read the wish for move %s: %w", id, err)
	}
	var w controller.Wish
	index := uint64(0)
	if before != nil {
		index = before.ModifyIndex
		if err := json.Unmarshal(before.Value, &w); err != nil {
			return fmt.Errorf("consul: read the wish for move %s: %w", id, err)
		}
	}
	value, err := json.Marshal(controller.Wish{Number: w.Number + 1, Verb: verb, By: by})
	if err != nil {
		return err
	}
	return consul.Commit(ctx, kv, api.KVTxnOps{{Verb: api.KVCAS, Key: root + dirWishes + id, Value: value, Index: index}})
}
