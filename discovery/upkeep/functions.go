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
	for _, s := range servers {
		process, seen := u.equipped[s.Addr]
		if !s.Up || seen && process == s.Process {
			continue
		}
		if err := u.equip(ctx, s, servers, version); err != nil {
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
func (u *Upkeep) equip(ctx context.Context, s Server, servers []Server, version uint64) error {
	replies, _, err := s.Ask(ctx, functionList)
	if err != nil {
		return err
	}
	if !replies[0].IsList() || s.Slots && len(replies[0].Elems) > 0 {
		return nil // It does not know functions, or has its own.
	}
	dump, from, err := u.source(ctx, s, servers)
	if err != nil || from == "" {
		return err
	}
	policy := "APPEND"
	if !s.Slots {
		policy = "FLUSH"
	}
	if u.cfg.Functions() != version {
		return nil // They are about to change; the next look begins anew.
	}
	if replies, _, err = s.Ask(ctx, []string{"FUNCTION", "RESTORE", dump, policy}); err != nil {
		return err
	}
	if err := replies[0].Err(); err != nil {
		return fmt.Errorf("FUNCTION RESTORE: %w", err)
	}
	u.cfg.Log.Info("a master was given the functions of another", "backend", s.Addr, "from", from)
	return nil
}

// source finds a master that owns slots and has functions.
func (u *Upkeep) source(ctx context.Context, without Server, servers []Server) (dump, from string, err error) {
	for _, s := range servers {
		if s.Addr == without.Addr || !s.Up || !s.Slots {
			continue
		}
		replies, _, err := s.Ask(ctx, functionList, functionDump)
		if err != nil {
			return "", "", err
		}
		if len(replies[0].Elems) > 0 && replies[1].Kind == control.Bulk {
			return replies[1].Text, s.Addr, nil
		}
	}
	return "", "", nil
}
