package replication

import (
	"context"
	"errors"
	"time"

	"sluice/internal/clock"
	"sluice/internal/control"
	"sluice/router/lag"
)

// A suspect is a replica whose INFO is all right, and that was never seen to get a full copy of the master's data. It
// is compared with the master before it is read: keys that each of them picks at random, their types, lengths and, of
// short strings, values. A key that is written meanwhile proves nothing, so a difference counts only if the
// master says the same before and after, and the replica had reached the moment of the first question.
const (
	// sampleKeys is how many keys of each end are compared.
	sampleKeys = 256
	// scanSlots is how many slots they are from, where keys at random can't be had otherwise.
	scanSlots = 64
	// compareTries is how often differences are looked at again before they count.
	compareTries = 5
	// compareTime bounds a comparison.
	compareTime = 10 * time.Second
	// compareAgain is when a replica that differs is compared again: it may have been mended.
	compareAgain = 5 * time.Second
	// comparePatience is how long a replica is left to catch up where nothing tells that it has.
	comparePatience = 300 * time.Millisecond
	// compareKick is the time between two questions to the nodes while a comparison waits for their evidence.
	compareKick = 20 * time.Millisecond
	// compareRetry is when a comparison that could not be made is tried again.
	compareRetry = 500 * time.Millisecond
	// compareMuch is when one is tried again that failed because the names of keys are too long.
	compareMuch = time.Minute
	// compareGap is the least time between two comparisons of one proxy.
	compareGap = 50 * time.Millisecond
	// namedKeys is how many keys that differ are named.
	namedKeys = 3
	// expirySoon is the time to live below which a key may be there for one clock and gone for another.
	expirySoon = 10 * time.Second
	// longestValue is how many bytes of a string are compared.
	longestValue = 1024
)

// compareLimits bound what a node may answer about a sample: 256 names of keys, of 256 KB each on average, or the kilobyte of
// each that is compared. Names that are longer make the sample an error.
var compareLimits = control.Limits{Bytes: 64 << 20, Elements: 1 << 16}

// comparer is when each replica of a group was compared last.
type comparer struct{ last map[string]int64 }

// suspect is a comparison that is due.
type suspect struct {
	group           *group
	master, replica string
	life            uint64

	masterProcess, replicaProcess uint64 // whom the evidence is about
}

// compareSuspects compares one suspect after the other.
func (w *Watcher) compareSuspects(ctx context.Context) {
	again := time.NewTicker(compareRetry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-again.C: // A comparison could not be made.
		}
		for s := w.nextSuspect(); s != nil && ctx.Err() == nil; s = w.nextSuspect() {
			w.examine(ctx, s)
			pause := time.NewTimer(compareGap)
			select {
			case <-ctx.Done():
				pause.Stop()
			case <-pause.C:
			}
		}
	}
}

// nextSuspect finds a comparison that is due, the one that has waited longest; nil when none is.
func (w *Watcher) nextSuspect() *suspect {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := clock.Now()
	var next *suspect
	oldest := now
	for _, g := range w.sorted() {
		for _, r := range g.spec.Replicas {
			v, _ := g.Verdict(r.Addr)
			sample, ok := g.Sample(r.Addr)
			wait := compareRetry
			if v.State == lag.Diverged {
				wait = compareAgain
			}
			last := g.comparer.last[r.Addr]
			if !ok || !v.Suspect || last != 0 && now-last < int64(wait) || last >= oldest {
				continue
			}
			oldest = last
			of, _ := g.Sample(g.spec.Master.Addr)
			next = &suspect{
				group: g, master: g.spec.Master.Addr, replica: r.Addr, life: sample.Life,
				masterProcess: of.Process, replicaProcess: sample.Process,
			}
		}
	}
	if next == nil {
		return nil
	}
	if next.group.comparer.last == nil {
		next.group.comparer.last = make(map[string]int64)
	}
	next.group.comparer.last[next.replica] = now
	next.group.Comparing(next.replica)
	return next
}

// current reports whether what a comparison finds still says something. The caller holds mu.
func (w *Watcher) current(s *suspect) bool {
	spec := s.group.spec
	return w.groups[spec.ID] == s.group && spec.Master.Addr == s.master
}

// examine compares a suspect and tells the group what came of it. When the comparison itself fails nothing is told, and
// it is tried again with the next evidence.
func (w *Watcher) examine(ctx context.Context, s *suspect) {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	mismatch, err := w.compare(ctx, s)
	w.mu.Lock()
	defer w.mu.Unlock()
	tooMuch := new(control.LimitError)
	switch {
	case err == nil:
	case errors.As(err, &tooMuch):
		w.cfg.Log.Warn("replica not compared, so it is not read", "node", s.replica, "err", err)
		s.group.comparer.last[s.replica] = clock.Now() + int64(compareMuch-compareRetry)
		return
	case ctx.Err() == nil:
		w.cfg.Log.Debug("replica not compared", "node", s.replica, "err", err)
		return
	default:
		return
	}
	if !w.current(s) {
		return
	}
	s.group.Compared(s.replica, s.life, mismatch)
	w.judge(s.group, clock.Now())
}
