package driver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/router"
)

// The directories of the moves, below the root.
const (
	dirMoves  = "migrations/"
	dirWishes = "wishes/"
)

// site is everything below the root of a pool at one moment. Immutable.
type site struct {
	listed  uint64 // index of the listing
	doc     *consul.Document
	index   uint64 // of the document
	slots   []controller.Owner
	members []controller.Member
	moves   []kept // in the order in which they were asked for
	wishes  map[string]controller.Wish
}

// kept is a move and the index of its key.
type kept struct {
	controller.Move
	index uint64
}

// readSite reads the keys below root.
func readSite(root string, pairs api.KVPairs, model router.Model) (*site, error) {
	s := &site{wishes: make(map[string]controller.Wish)}
	var err error
	if s.doc, s.index, err = consul.DocumentOf(root, pairs); err != nil {
		return nil, err
	}
	list, err := s.doc.Assignments(model)
	if err != nil {
		return nil, fmt.Errorf("the topology makes no sense: %w", err)
	}
	for _, a := range list {
		s.slots = append(s.slots, ownerOf(a))
	}
	s.members = readMembers(root, pairs, s.doc)
	for _, p := range pairs {
		name := strings.TrimPrefix(p.Key, root)
		if id, ok := strings.CutPrefix(name, dirMoves); ok && id != "" {
			m := kept{index: p.ModifyIndex}
			if err := json.Unmarshal(p.Value, &m.Move); err != nil {
				return nil, fmt.Errorf("%s: %w", p.Key, err)
			}
			s.moves = append(s.moves, m)
		}
		if id, ok := strings.CutPrefix(name, dirWishes); ok && id != "" {
			var w controller.Wish
			if err := json.Unmarshal(p.Value, &w); err != nil {
				return nil, fmt.Errorf("%s: %w", p.Key, err)
			}
			s.wishes[id] = w
		}
	}
	slices.SortFunc(s.moves, func(a, b kept) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return s, nil
}

// readMembers lists the proxies. An acknowledgement counts for its epoch and digest together.
func readMembers(root string, pairs api.KVPairs, doc *consul.Document) []controller.Member {
	acked, alive := make(map[string]uint64), make(map[string]bool)
	var members []controller.Member
	for _, p := range pairs {
		name := strings.TrimPrefix(p.Key, root)
		if id, ok := strings.CutPrefix(name, "proxies/"); ok {
			alive[id] = p.Session != ""
		}
		if id, ok := strings.CutPrefix(name, "acks/"); ok {
			var a consul.AckRecord
			if json.Unmarshal(p.Value, &a) != nil {
				continue
			}
			acked[id] = a.Epoch
			if a.Epoch == doc.Epoch.Epoch && a.Digest != doc.Epoch.Digest {
				acked[id]-- // Of another topology with this number.
			}
		}
	}
	for _, p := range pairs {
		id, ok := strings.CutPrefix(strings.TrimPrefix(p.Key, root), "members/")
		if !ok || id == "" {
			continue
		}
		m := controller.Member{ID: id, Acked: acked[id]}
		if !alive[id] {
			m.Why = "its session is over; `sluice ctl proxies forget " + id + "` when its process has ended"
		}
		members = append(members, m)
	}
	return members
}

// ownerOf and assignmentOf are the same in the words of controller and of the document.
func ownerOf(a consul.Assignment) controller.Owner {
	return controller.Owner{Group: a.Group, State: controller.SlotState(a.State), To: a.To, Method: a.Method, Token: a.Token}
}

func assignmentOf(o controller.Owner) consul.Assignment {
	return consul.Assignment{Group: o.Group, State: string(o.State), To: o.To, Method: o.Method, Token: o.Token}
}
