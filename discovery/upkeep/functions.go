package upkeep

import (
	"context"
	"fmt"

	"sluice/internal/control"
)

// Functions are loaded at all masters that own slots. A group that joins has none, and FCALL of a key that moves
// there would fail; so it is given those of another master. The replicas of a group have them by replication.
//
// A master that owns slots is given functions only if it has none at all: what of several it should have nobody here
// knows. One that owns no slots yet is given exactly those of another, each time that a client has changed them.

// lookAtFunctions looks at masters that are new, and at all after a change.
func (u *Upkeep) lookAtFunctions(ctx context.Context, servers []Server) {
	version := u.cfg.Functions()
	if version != u.functions {
		clear(u.equipped)
		u.functions = version
	}
	src := source{servers: servers}
	for _, s := range servers {
		process, seen := u.equipped[s.Addr]
		if !s.Up || seen && process == s.Process {
			continue
		}
		if err := u.equip(ctx, s, &src, version); err != nil {
			if ctx.Err() == nil {
				u.cfg.Log.Warn("a master could not be given the functions of the pool", "backend", s.Addr, "err", err)
			}
			continue
		}
		u.equipped[s.Addr] = s.Process
	}
}

var (
	functionList = []string{"FUNCTION", "LIST"}
	functionDump = []string{"FUNCTION", "DUMP"}
)

// equip gives a master the functions of another one, if it needs them and that has some.
func (u *Upkeep) equip(ctx context.Context, s Server, src *source, version uint64) error {
	replies, _, err := s.Ask(ctx, functionList)
	if err != nil {
		return err
	}
	if !replies[0].IsList() || s.Slots && len(replies[0].Elems) > 0 {
		return nil // It does not know functions, or has its own.
	}
	if err := src.find(ctx); err != nil || src.from == "" {
		return err
	}
	policy := "APPEND"
	if !s.Slots {
		policy = "FLUSH"
	}
	if u.cfg.Functions() != version {
		return nil // They are about to change; the next look begins anew.
	}
	if replies, _, err = s.Ask(ctx, []string{"FUNCTION", "RESTORE", src.dump, policy}); err != nil {
		return err
	}
	if err := replies[0].Err(); err != nil {
		return fmt.Errorf("FUNCTION RESTORE: %w", err)
	}
	u.cfg.Log.Info("a master was given the functions of another", "backend", s.Addr, "from", src.from)
	return nil
}

// source is the master that has functions for others: one that owns slots and has some. One search does for all that a
// look finds to be new; with a search for each, a thousand masters without functions would be asked a million times.
type source struct {
	servers    []Server
	sought     bool
	dump, from string // empty when there is none
	err        error  // why that is not known
}

func (src *source) find(ctx context.Context) error {
	if src.sought {
		return src.err
	}
	src.sought = true
	for _, s := range src.servers {
		if !s.Up || !s.Slots {
			continue
		}
		var replies []control.Value
		if replies, _, src.err = s.Ask(ctx, functionList, functionDump); src.err != nil {
			return src.err
		}
		if len(replies[0].Elems) > 0 && replies[1].Kind == control.Bulk {
			src.dump, src.from = replies[1].Text, s.Addr
			return nil
		}
	}
	return nil
}
