package consul

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/router"
)

// judge decides whether a document is to come into force.
func (s *Source) judge(n news) {
	delete(s.alarms, AlarmMissing)
	delete(s.alarms, AlarmInvalid)
	if s.consul = n.doc; n.err != nil {
		s.consul = nil
		kind := AlarmInvalid
		if errors.Is(n.err, ErrNoTopology) {
			kind = AlarmMissing
		}
		s.alarm(kind, n.err)
		s.dropOld()
		return
	}
	s.refused = nil
	defer func() {
		if s.refused == nil {
			delete(s.alarms, AlarmRegressed)
		}
	}()
	was, whose := s.floor, "what was in force here last"
	if s.current != nil {
		was, whose = &s.current.doc.Epoch, "what is in force"
	}
	switch is := n.doc.Epoch; {
	case was == nil || is.Epoch > was.Epoch || is == s.accepted && is != *was:
		s.propose(n.doc)
	case is == *was && s.current == nil:
		s.propose(n.doc)
	case is == *was:
		s.drop()
		if s.fromFile {
			s.fromFile = false
			s.acks.add(inForce{epoch: is.Epoch, digest: is.Digest, barrier: is.Barrier, begun: time.Now()}, nil)
		}
	default:
		if s.current != nil {
			s.drop()
		} else if s.next == nil || !s.next.saved {
			s.drop()
			s.takeFile(time.Now())
		}
		s.refused = n.doc
		what := "is older than " + whose
		if is.Epoch == was.Epoch {
			what = "is another one than " + whose + " under that number"
		}
		s.alarm(AlarmRegressed, fmt.Errorf("epoch %d in Consul %s (%d): was a snapshot restored? `sluice ctl topology accept` takes it",
			is.Epoch, what, was.Epoch))
	}
}

// propose makes a document the next topology.
func (s *Source) propose(doc *Document) {
	if s.next != nil && s.next.doc.Epoch == doc.Epoch {
		return // It is on its way.
	}
	s.next, s.nextSeen = newTopology(doc, s.cfg.Model, s.current), time.Now()
	delete(s.alarms, AlarmRefused)
}

// drop forgets the next topology.
func (s *Source) drop() {
	s.next = nil
	delete(s.alarms, AlarmWaiting)
	delete(s.alarms, AlarmRefused)
}

// dropOld forgets the next topology if it would be a regress that nobody has accepted.
func (s *Source) dropOld() {
	if s.current != nil && s.next != nil && s.next.doc.Epoch.Epoch <= s.current.doc.Epoch.Epoch && s.next.doc.Epoch != s.accepted {
		s.drop()
	}
}

// list takes what the catalog says, unless it says that all nodes are gone: a source that lost its sight looks like that.
func (s *Source) list(l listing) {
	delete(s.alarms, AlarmCatalog)
	s.gone = len(l.nodes) == 0 && s.current != nil && s.current.usesCatalog()
	if s.gone {
		s.alarm(AlarmCatalog, fmt.Errorf("service %s has no instance of pool %s any more (or the token may not see them): its nodes stay; `sluice ctl topology accept` lets them go",
			s.cfg.Service, s.cfg.Pool))
		return
	}
	s.listed = &l
}

// usesCatalog reports whether there are nodes from the catalog.
func (t *topology) usesCatalog() bool {
	return slices.ContainsFunc(t.doc.Groups, func(g Group) bool { return len(g.Nodes) == 0 && len(t.groups[g.ID].members) > 0 })
}

// alarm raises an alarm, and logs it when it is a new one.
func (s *Source) alarm(kind string, err error) {
	if s.alarms[kind] != err.Error() {
		s.alarms[kind] = err.Error()
		s.log.Warn("consul topology alarm; what is in force stays", "kind", kind, "err", err)
	}
}

// takeWishes does what SetMaster and Accept have asked for.
func (s *Source) takeWishes() {
	s.mu.Lock()
	orders, accept, saveErr := s.orders, s.accept, s.saveErr
	s.orders, s.accept = make(map[router.GroupID]string), false
	s.mu.Unlock()
	for id, addr := range orders {
		for _, t := range []*topology{s.current, s.next} {
			if t == nil || t.groups[string(id)] == nil {
				continue
			}
			if g := t.groups[string(id)]; g.members[addr] != nil {
				g.order = order{addr: addr, against: g.choose(s.roles.last)}
			}
		}
	}
	if accept && s.refused != nil {
		s.log.Warn("older topology accepted", "epoch", s.refused.Epoch.Epoch)
		s.accepted = s.refused.Epoch
		s.propose(s.refused)
		s.refused = nil
		delete(s.alarms, AlarmRegressed)
	}
	if accept && s.gone {
		s.listed, s.gone = &listing{}, false
		delete(s.alarms, AlarmCatalog)
	}
	if saveErr != nil {
		s.alarm(AlarmState, saveErr)
	} else if s.current != nil {
		delete(s.alarms, AlarmState)
	}
}
