package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/router"
)

// BarrierTimeout is how long proxies may take to acknowledge a lock before it is taken back: their clients wait.
const BarrierTimeout = 5 * time.Second

// Next decides what happens to a move. It may be called at any time and as often as one likes: the same world makes the
// same decision.
func Next(m Move, w World) Decision {
	s := &step{Decision: Decision{Move: m.clone()}, w: w}
	if !m.Over() {
		s.move()
	}
	return s.Decision
}

// step is one call of Next.
type step struct {
	Decision
	w World
}

func (s *step) move() {
	m := &s.Move
	if m.State == Stopped && s.w.Wish.Number == m.Wish {
		return
	}
	m.Wish = s.w.Wish.Number
	if m.Batch == nil {
		s.idle()
		return
	}
	m.State = Running
	slots, err := slotSet(m.Batch.Slots)
	if err != nil {
		s.stop(err.Error())
		return
	}
	if odd := s.changed(slots); odd != "" {
		s.stop(odd)
		return
	}
	switch m.Batch.Phase {
	case Checking:
		s.check(slots)
	case Locking:
		s.lock(slots)
	case Unlocking:
		s.unlock()
	case Copying:
		s.copyKeys(slots)
	case Verifying:
		s.verify(slots)
	case Settling:
		s.settle()
	case Cleaning:
		s.clean()
	default:
		s.stop(fmt.Sprintf("the document has a phase %q that is not known here", m.Batch.Phase))
	}
}

// idle is for a move without a batch.
func (s *step) idle() {
	m := &s.Move
	switch {
	case s.w.Wish.Verb.aborts():
		m.State, m.Waits = Aborted, ""
		return
	case s.w.Wish.Verb == Pause:
		m.State, m.Waits = Paused, pausedBy(s.w.Wish)
		return
	case s.w.Now.Before(m.NotBefore):
		m.State, m.Waits, s.Again = Waiting, "tries again after: "+m.Last.Text, m.NotBefore
		return
	}
	b, waits, err := s.pick()
	switch {
	case err != nil:
		s.stop(err.Error())
	case b == nil && waits == "":
		m.State, m.Waits = Done, ""
	case b == nil:
		m.State, m.Waits = Waiting, waits
	default:
		m.State, m.Waits, m.Batch = Running, "", b
		s.Job = JobCheck
	}
}

// owner is what the topology says of the batch's slots while it is in a phase.
func (b *Batch) owner() Owner {
	switch b.Phase {
	case Locking:
		return Owner{b.From, SlotLocked, b.To, b.Method, b.Token}
	case Copying, Verifying:
		return Owner{b.From, SlotMoving, b.To, b.Method, b.Token}
	case Settling, Cleaning:
		return Owner{Group: b.To, State: SlotStable}
	case Checking, Unlocking:
	}
	return Owner{Group: b.From, State: SlotStable}
}

// changed says when somebody else has changed what the topology says of the batch: nobody knows where its keys are.
func (s *step) changed(slots map[router.Slot]bool) string {
	want := s.Move.Batch.owner()
	for _, slot := range inOrder(slots) {
		if int(slot) >= len(s.w.Slots) || s.w.Slots[slot] != want {
			return fmt.Sprintf("slot %d is not what this move has left it as (%s): somebody else has changed the topology",
				slot, want)
		}
	}
	return ""
}

// String describes an owner for people.
func (o Owner) String() string {
	if o.To == "" {
		return fmt.Sprintf("%s in group %s", o.State, o.Group)
	}
	return fmt.Sprintf("%s from group %s to group %s", o.State, o.Group, o.To)
}

// enter begins a phase, with a change of the topology if it has another owner for the slots.
func (s *step) enter(phase Phase, slots map[router.Slot]bool, barrier bool) {
	b := s.Move.Batch
	before := b.owner()
	b.Phase, b.Since = phase, s.w.Now
	s.Move.Waits = ""
	if phase == Locking {
		b.Token = s.w.Epoch + 1
		b.Tokens = append(b.Tokens, b.Token)
	}
	if owner := b.owner(); owner != before || barrier {
		why := fmt.Sprintf("move %s: slots %s %s", s.Move.ID, b.Slots, owner)
		s.Change = &Change{Slots: slots, Owner: owner, Barrier: barrier, Why: why}
		b.Epoch = s.w.Epoch + 1
	}
}

// check looks at servers and keys before anything happens.
func (s *step) check(slots map[router.Slot]bool) {
	m := &s.Move
	if s.w.Wish.Verb != Run {
		s.dropBatch(s.w.Job == nil || s.w.Job.Ended)
		return
	}
	if s.work(JobCheck) {
		s.Job = ""
		s.enter(Locking, slots, true)
		s.Again = s.w.Now.Add(BarrierTimeout)
		return
	}
	if m.State != Stopped && s.Job == "" { // It has failed: others may have their turn.
		m.Batch, m.State = nil, Waiting
	}
}

// dropBatch forgets a batch to which nothing has happened, once the mover is idle.
func (s *step) dropBatch(idle bool) {
	if idle {
		s.Move.Batch = nil
		s.idle()
	}
}

// lock waits for the acknowledgements of the lock, and has the mover prepare the target.
func (s *step) lock(slots map[router.Slot]bool) {
	m, b := &s.Move, s.Move.Batch
	deadline := b.Since.Add(BarrierTimeout)
	late := !s.w.Now.Before(deadline)
	switch {
	case b.Resume != nil && late: // Its keys are on both sides: only moving them on ends the lock.
		s.failed(s.notLocked())
		b.From, b.To, b.Back, b.Token, b.Resume = b.Resume.From, b.Resume.To, b.Resume.Back, b.Resume.Token, nil
		s.enter(Copying, slots, true)
		m.Waits, s.Again = m.Last.Text, m.NotBefore
	case b.Resume == nil && s.w.Wish.Verb != Run:
		s.enter(Unlocking, slots, true)
	case b.Resume == nil && late:
		s.failed(s.notLocked())
		s.enter(Unlocking, slots, true)
	case !s.acked():
		s.awaitAcks()
		s.Again = earlier(s.Again, deadline)
	case !b.Prepared: // Written first: a crash must not leave what nobody knows of.
		b.Prepared, s.Again = true, s.w.Now
	case s.work(JobPrepare):
		b.Resume, b.Relock = nil, false
		s.enter(Copying, slots, false)
		s.Job = JobCopy
	default:
		s.Again = deadline
	}
}

// notLocked says why a lock has to end.
func (s *step) notLocked() string {
	if m := &s.Move; s.acked() && m.Last != nil && m.Last.Phase == Locking {
		return m.Last.Text
	}
	if s.acked() {
		return "the servers were not made ready in " + BarrierTimeout.String()
	}
	return s.late()
}

// acked reports whether every member has acknowledged the batch's epoch.
func (s *step) acked() bool {
	return !slices.ContainsFunc(s.w.Members, s.lags)
}

// lags reports whether a member has not acknowledged it.
func (s *step) lags(m Member) bool { return m.Acked < s.Move.Batch.Epoch }

// late says who has not acknowledged it.
func (s *step) late() string {
	var names []string
	for _, m := range s.w.Members {
		if s.lags(m) {
			names = append(names, m.String())
		}
	}
	if more := len(names) - 3; more > 0 {
		names = append(names[:3], fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("epoch %d is not acknowledged by %s", s.Move.Batch.Epoch, strings.Join(names, ", "))
}

// waitWord is how long acknowledgements may take before the document says who is waited for: usually they are there at
// once.
const waitWord = time.Second

// awaitAcks says who is waited for, if it takes long.
func (s *step) awaitAcks() {
	if at := s.Move.Batch.Since.Add(waitWord); s.w.Now.Before(at) {
		s.Again = at
		return
	}
	s.Move.Waits = s.late()
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// unlock waits until everybody has the slots back at their owner.
func (s *step) unlock() {
	m := &s.Move
	if !s.acked() {
		s.awaitAcks()
		return
	}
	if j := s.w.Job; m.Batch.Prepared && (j == nil || j.Kind != JobClean || !j.Ended) {
		s.Job = JobClean // Whether it can: the slots are where they were, whatever becomes of a server.
		return
	}
	m.Batch, m.State = nil, Waiting
	s.idle()
}

// copyKeys lets the mover work.
func (s *step) copyKeys(slots map[router.Slot]bool) {
	m, b := &s.Move, s.Move.Batch
	idle := s.w.Job == nil || s.w.Job.Ended
	switch wish := s.w.Wish.Verb; {
	case wish == Pause && !b.Back:
		m.Waits = pausedBy(s.w.Wish)
		if idle {
			m.State = Paused
		}
		return
	case wish == AbortBack && !b.Back:
		m.Waits = "the mover ends what it is at, then the batch goes back"
		if idle && !s.w.Now.Before(m.NotBefore) {
			course := b.course()
			b.From, b.To, b.Back = b.To, b.From, true
			s.relock(slots, course)
		}
		return
	}
	if j := s.w.Job; j != nil && j.Kind == JobCopy && j.Ended && j.Lost {
		s.failed(j.Err)
		b.Relock = true
	}
	if b.Relock {
		m.Waits, s.Again = "begins again under a new lock after: "+m.Last.Text, m.NotBefore
		if idle && !s.w.Now.Before(m.NotBefore) {
			s.relock(slots, b.course())
		}
		return
	}
	if s.work(JobCopy) {
		s.enter(Verifying, slots, false)
		s.Job = JobVerify
	}
}

// course is where the batch goes.
func (b *Batch) course() *Course {
	return &Course{From: b.From, To: b.To, Back: b.Back, Token: b.Token}
}

// relock locks the slots of a batch whose keys are on both sides. It goes on as it was when it can't have the lock.
func (s *step) relock(slots map[router.Slot]bool, otherwise *Course) {
	s.Move.Batch.Resume = otherwise
	s.enter(Locking, slots, true)
	s.Again = s.w.Now.Add(BarrierTimeout)
}

// verify lets the mover compare the two sides.
func (s *step) verify(slots map[router.Slot]bool) {
	m := &s.Move
	if s.work(JobVerify) {
		s.Job = ""
		s.enter(Settling, slots, true)
		return
	}
	if j := s.w.Job; m.State != Stopped && j != nil && j.Kind == JobVerify && j.Ended { // What is left is moved, or given back.
		s.enter(Copying, slots, false)
		m.Waits, s.Again = m.Last.Text, m.NotBefore
	}
}

// settle waits until everybody knows the new owner.
func (s *step) settle() {
	if !s.acked() {
		s.awaitAcks()
		return
	}
	s.enter(Cleaning, nil, false)
	s.Job = JobClean
}

// clean lets the mover delete what the source still has, and ends the batch.
func (s *step) clean() {
	m, b := &s.Move, s.Move.Batch
	if !s.work(JobClean) {
		return
	}
	s.Job = ""
	m.Progress.Keys += b.Progress.Keys
	m.Progress.Bytes += b.Progress.Bytes
	if !b.Back {
		m.take(b.Slots)
	}
	m.Batch, m.Retries, m.NotBefore = nil, 0, time.Time{}
	s.idle()
}

// work has the mover do a job of the batch, and reports whether it is done. One that has failed is done again later, or
// stops the move.
func (s *step) work(kind JobKind) (done bool) {
	m, b, j := &s.Move, s.Move.Batch, s.w.Job
	if j != nil && j.Kind == kind && kind == JobCopy {
		b.Progress = j.Progress
	}
	switch {
	case j != nil && j.Kind == kind && !j.Ended:
		s.Job, m.Waits = kind, ""
	case j != nil && j.Kind == kind && j.Err == "":
		return true
	case j != nil && j.Kind == kind && j.Final:
		s.stop(j.Err)
	case j != nil && j.Kind == kind:
		s.failed(j.Err)
		m.Waits, s.Again = j.Err, m.NotBefore
	case s.w.Now.Before(m.NotBefore):
		m.Waits, s.Again = m.Last.Text, m.NotBefore // What was put off has failed.
	default:
		s.Job, m.Waits = kind, ""
	}
	return false
}

// failed notes a failure that is tried again.
func (s *step) failed(text string) {
	s.Move.note(s.w.Now, text)
	s.Move.putOff(s.w.Now)
}

// stop ends what is done by itself: an operator has to look at it.
func (s *step) stop(text string) {
	m := &s.Move
	m.note(s.w.Now, text)
	m.State, m.Waits = Stopped, text
	s.Job, s.Again = "", time.Time{}
}

func pausedBy(w Wish) string {
	if w.By == "" {
		return "paused"
	}
	return "paused by " + w.By
}
