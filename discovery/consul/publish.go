package consul

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/discovery"
)

// publish publishes the next topology if it can be, else the one in force if its nodes or masters are others.
func (s *Source) publish(publish func(discovery.Snapshot)) {
	t, snap, err := s.ready()
	switch {
	case err != nil && time.Since(s.nextSeen) > s.roles.timeoutNow(): // Until then nodes may not have been asked.
		s.alarm(AlarmWaiting, err)
	case err == nil:
		delete(s.alarms, AlarmWaiting)
	}
	if t == nil || t.rejects(snap) || t == s.current && snap.Equal(s.published) {
		return
	}
	p := &publication{topology: t, snapshot: snap, done: make(chan error, 1)}
	s.inflight = p
	snap.Done = p.done
	publish(snap)
}

// ready finds what could be published, nil when there is nothing, and says why the next topology is not it.
func (s *Source) ready() (*topology, discovery.Snapshot, error) {
	var why error
	if s.next != nil {
		snap, err := s.next.snapshot()
		switch {
		case err != nil:
			why = fmt.Errorf("epoch %d: %w", s.next.doc.Epoch.Epoch, err)
		case s.cfg.MayMove != nil && s.current != nil && s.current.onlyLocks(s.next) && !s.cfg.MayMove():
			why = fmt.Errorf("epoch %d locks slots: %w", s.next.doc.Epoch.Epoch, errUnsure)
		case s.next.rejects(snap): // It has an alarm of its own.
		default:
			return s.next, snap, nil
		}
	}
	if s.current == nil {
		return nil, discovery.Snapshot{}, why
	}
	snap, err := s.current.snapshot()
	if err != nil {
		return nil, discovery.Snapshot{}, errors.Join(why, err)
	}
	return s.current, snap, why
}

// answered takes the Keeper's answer.
func (s *Source) answered(err error) {
	p := s.inflight
	s.inflight = nil
	if err != nil {
		p.topology.rejected = p.snapshot
		s.alarm(AlarmRefused, err)
		return
	}
	s.published, p.topology.rejected = p.snapshot, discovery.Snapshot{}
	s.masters = addMasters(s.masters, p.snapshot)
	if p.topology != s.current {
		owing := s.masters // Any of them may be working for an older table.
		if s.current == nil {
			owing = nil // There was no table.
		}
		s.masters = addMasters(nil, p.snapshot)
		s.current, s.since = p.topology, time.Now()
		if p.topology == s.next {
			s.drop()
		}
		epoch := s.current.doc.Epoch
		if epoch != s.accepted && (s.next == nil || s.next.doc.Epoch != s.accepted) {
			s.accepted = Epoch{}
		}
		s.dropOld()
		if s.fromFile = s.current.saved; !s.fromFile {
			s.acks.add(inForce{epoch: epoch.Epoch, digest: epoch.Digest, barrier: epoch.Barrier, begun: s.nextSeen}, owing)
		}
		s.log.Info("consul topology in force", "epoch", epoch.Epoch, "change", epoch.Change, "from_file", s.fromFile)
		if s.consul != nil { // It may have changed since.
			s.judge(news{doc: s.consul})
		}
	}
	s.save()
}

// addMasters adds the masters of a snapshot, in order.
func addMasters(addrs []string, snap discovery.Snapshot) []string {
	addrs = slices.Clone(addrs)
	for _, g := range snap.Groups {
		addrs = append(addrs, g.Master)
	}
	slices.Sort(addrs)
	return slices.Compact(addrs)
}
