package consul

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"sluice/router"
)

// Validate reports everything that makes the document unfit for a pool of the given model, all problems joined.
func (d *Document) Validate(model router.Model) error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if got, err := d.Format.Model(); err != nil {
		complain("%w", err)
	} else if got != model {
		complain("it is for %d slots by %s, the pool is configured for %d by %s",
			d.Format.Slots, d.Format.Hash, model.Slots(), FormatOf(model).Hash)
	}
	ids := make(map[string]bool)
	owners := make(map[string]string) // group by address
	for i, g := range d.Groups {
		switch {
		case g.ID == "" || strings.ContainsAny(g.ID, "/ \t\r\n"):
			complain("group %d has no usable id: %q", i, g.ID)
		case ids[g.ID]:
			complain("group %s is listed twice", g.ID)
		}
		ids[g.ID] = true
		for _, n := range g.Nodes {
			if err := checkAddr(n.Addr); err != nil {
				complain("group %s: %w", g.ID, err)
			} else if other, taken := owners[n.Addr]; taken {
				complain("%s is in group %s and in group %s", n.Addr, other, g.ID)
			}
			owners[n.Addr] = g.ID
		}
	}
	for _, s := range d.Slots {
		if err := s.check(ids); err != nil {
			complain("slots %s: %w", s.Slots, err)
		}
	}
	list, err := d.Assignments(model)
	if err != nil {
		errs = append(errs, err)
	}
	if free := router.RangesOf(len(list), func(s router.Slot) bool { return list[s] == (Assignment{}) }); len(free) > 0 {
		complain("slots %s have no group", router.FormatRanges(free))
	}
	return errors.Join(errs...)
}

// check reports what is wrong with the state of a range, all problems joined.
func (s SlotRange) check(groups map[string]bool) error {
	var errs []error
	if !groups[s.Group] {
		errs = append(errs, fmt.Errorf("there is no group %q", s.Group))
	}
	if s.To != "" && !groups[s.To] {
		errs = append(errs, fmt.Errorf("there is no group %q to move to", s.To))
	}
	if s.To != "" && s.To == s.Group {
		errs = append(errs, fmt.Errorf("they move from group %s to itself", s.To))
	}
	switch s.State {
	case Stable:
		if s.To != "" || s.Method != "" || s.Token != 0 {
			errs = append(errs, errors.New("they are stable and move"))
		}
	case Locked:
	case Moving:
		if s.To == "" {
			errs = append(errs, errors.New("they move to nowhere"))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown state %q; there are stable, locked and moving", s.State))
	}
	switch s.Method {
	case "", MethodSync, MethodSemiAsync:
	default:
		errs = append(errs, fmt.Errorf("unknown method %q; there are sync and semi-async", s.Method))
	}
	return errors.Join(errs...)
}

// checkAddr refuses what nobody could dial.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		return fmt.Errorf("address %q is not host:port", addr)
	}
	return nil
}
