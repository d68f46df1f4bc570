package consul

import (
	"errors"
	"fmt"
	"time"

	"sluice/discovery"
)

// publish publishes the next topology if it can be, else the one in force if its nodes or masters are others.
func (s *Source) publish(publish func(discovery.Snapshot)) {
	t, snap, err := s.ready()
	switch {
	case err != nil && time.Since(s.nextSeen) > s.cfg.Timeout: // Until then nodes may not have been asked.
		s.alarm(AlarmWaiting, err)
	case err == nil:
		delete(s.alarms, AlarmWaiting)
	}
	if t == nil || t.rejects(snap) || t == s.current && snap.Equal(s.published) {
		return
	}
	p := &publication{topology: t, snapshot: snap, done: make(chan error, 1)}
	if s.current != nil {
		p.left = s.current.left(t)
	}
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
		case s.cfg.MayMove != nil && s.current != nil && s.current.locks(s.next) && !s.cfg.MayMove():
			why = fmt.Errorf("epoch %d locks slots, and this proxy is not sure of its membership", s.next.doc.Epoch.Epoch)
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
	if p.topology != s.current {
		s.current, s.since = p.topology, time.Now()
		if p.topology == s.next {
			s.drop()
		}
		epoch := s.current.doc.Epoch
		if epoch != s.accepted {
			s.accepted = Epoch{}
		}
		if s.fromFile = s.current.saved; !s.fromFile {
			s.acks.add(inForce{epoch: epoch.Epoch, barrier: epoch.Barrier, begun: s.nextSeen}, p.left)
		}
		s.log.Info("consul topology in force", "epoch", epoch.Epoch, "change", epoch.Change, "from_file", s.fromFile)
		if s.consul != nil { // It may have changed since.
			s.judge(news{doc: s.consul})
		}
	}
	s.save()
}
