package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/internal/control"
	"sluice/internal/paced"
)

// lookAtParameters gives the parameters to masters that do not have them, and compares all from time to time.
func (u *Upkeep) lookAtParameters(ctx context.Context, servers []Server, now time.Time) {
	list, version := u.cfg.Parameters()
	if len(list) == 0 {
		clear(u.known)
		u.report(nil)
		return
	}
	all := now.Sub(u.checked) >= checkEvery
	var due []Server
	for _, s := range servers {
		m := u.known[s.Addr]
		if !s.Up && m != nil && m.process == 0 {
			delete(u.known, s.Addr) // Whoever comes back may be another one.
		}
		if s.Up && (all || m == nil || m.version != version || s.Process != 0 && m.process != s.Process) {
			due = append(due, s)
		}
	}
	asked := u.askAll(ctx, due, list, version)
	if !all || ctx.Err() != nil {
		return
	}
	u.checked = now
	problems := u.faults(servers)
	suspected := u.compare(asked, list, version)
	for _, s := range suspected {
		if slices.Contains(u.suspected, s) {
			problems = append(problems, s)
		} else {
			u.checked = time.Time{} // A CONFIG SET may be on its way to the masters; a second look tells.
		}
	}
	u.suspected = suspected
	u.report(problems)
}

// askAll asks servers at the same time, and returns those that have answered.
func (u *Upkeep) askAll(ctx context.Context, servers []Server, list []Parameter, version uint64) (asked []string) {
	found := make([]*master, len(servers))
	paced.Each(len(servers), func(i int) {
		s := servers[i]
		m, err := u.tend(ctx, s, u.known[s.Addr], list, version)
		if err != nil && ctx.Err() == nil {
			u.cfg.Log.Warn("a master could not be asked for its parameters", "backend", s.Addr, "err", err)
		}
		found[i] = m
	})
	for i, s := range servers {
		if found[i] != nil {
			u.known[s.Addr] = found[i]
			asked = append(asked, s.Addr)
		}
	}
	return asked
}

// tend asks one master, and sets all parameters at it, in their order, if it is another process than before, or has
// been asked for others, and shows a difference.
func (u *Upkeep) tend(
	ctx context.Context, s Server, before *master, list []Parameter, version uint64,
) (*master, error) {
	var get, set [][]string
	for _, p := range list {
		get = append(get, []string{"CONFIG", "GET", p.Name})
		set = append(set, []string{"CONFIG", "SET", p.Name, p.Value})
	}
	replies, process, err := s.Ask(ctx, get...)
	if err != nil {
		return nil, err
	}
	m := &master{process: process, version: version, now: shown(list, replies)}
	if before != nil && before.process == process && before.version == version && before.fault == "" {
		m.shown = before.shown
		return m, nil
	}
	m.shown = m.now
	if !slices.ContainsFunc(list, func(p Parameter) bool { return m.now[p.Name] != p.Value }) {
		return m, nil
	}
	replies, again, err := s.Ask(ctx, append(set, get...)...)
	if err != nil {
		return nil, err
	}
	if again != process {
		return nil, errors.New("another process answers than a moment ago")
	}
	for i, p := range list {
		if err := replies[i].Err(); err != nil && m.fault == "" {
			m.fault = fmt.Sprintf("master %s does not take the parameter %s: %s", s.Addr, p.Name, err)
		}
	}
	before, m.now = &master{now: m.now}, shown(list, replies[len(list):])
	m.shown = m.now
	for _, p := range list {
		if before.now[p.Name] != m.now[p.Name] {
			u.cfg.Log.Info("a master was given what CONFIG SET has set",
				"backend", s.Addr, "parameter", p.Name, "was", before.now[p.Name], "is", m.now[p.Name])
		}
	}
	return m, nil
}

// shown reads the replies of a CONFIG GET for each parameter.
func shown(list []Parameter, replies []control.Value) map[string]string {
	values := make(map[string]string, len(list))
	for i, p := range list {
		values[p.Name] = replies[i].At(1).Text
	}
	return values
}

// faults are what masters do not take.
func (u *Upkeep) faults(servers []Server) (problems []string) {
	for _, s := range servers {
		if m := u.known[s.Addr]; m != nil && m.fault != "" {
			problems = append(problems, m.fault)
		}
	}
	return problems
}

// compare takes over what somebody else has set at all masters that were asked, and says what only some of them show.
func (u *Upkeep) compare(asked []string, list []Parameter, version uint64) (differences []string) {
	for _, p := range list {
		var changed []string
		agreed := true
		for _, addr := range asked {
			m := u.known[addr]
			if m.now[p.Name] != m.shown[p.Name] {
				changed = append(changed, fmt.Sprintf("%q at %s", m.now[p.Name], addr))
			}
			agreed = agreed && m.now[p.Name] == u.known[asked[0]].now[p.Name]
		}
		switch {
		case len(changed) == 0:
		case agreed:
			value := u.known[asked[0]].now[p.Name]
			u.cfg.Log.Warn("somebody else has set a parameter at all masters, and masters that come will get that",
				"parameter", p.Name, "was", p.Value, "is", value)
			u.cfg.Adopt(p.Name, value, version)
			for _, addr := range asked {
				u.known[addr].shown[p.Name] = value
			}
		default:
			differences = append(differences, fmt.Sprintf(
				"the parameter %s was set to %q at all masters, and somebody has changed it: it is %s; set it again",
				p.Name, p.Value, strings.Join(changed, ", ")))
		}
	}
	return differences
}
