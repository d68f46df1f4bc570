package controller

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"sluice/router"
)

// scenario plays what stands around Next: it writes documents and topologies, and is the mover. Each file of testdata
// is one; under "----" stands what was decided until nothing happens any more.
type scenario struct {
	t        *testing.T
	move     Move
	world    World
	stopping bool // the mover was told to stop
	slow     bool // it takes its time to prepare the target
}

func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		s := &scenario{world: World{
			Now: start, Epoch: 1, Members: []Member{{ID: "p1", Acked: 1}}, Busy: make(map[string]string),
		}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			s.t = t
			return s.step(d)
		})
	})
}

func (s *scenario) step(d *datadriven.TestData) string {
	switch d.Cmd {
	case "topology": // below: ranges and their group
		s.topology(d)
		return ""
	case "move": // slots=(0-3) to=2 batch=2
		ranges, err := router.ParseRanges(s.arg(d, "slots"))
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		var batch int
		d.ScanArgs(s.t, "batch", &batch)
		s.move = New("m1", "ann", s.arg(d, "to"), ranges, batch, s.world.Now)
	case "pass": // seconds=N
		var seconds int
		d.ScanArgs(s.t, "seconds", &seconds)
		s.world.Now = s.world.Now.Add(time.Duration(seconds) * time.Second)
	case "missing": // below: id and why of a proxy that has acknowledged nothing
		for line := range strings.Lines(d.Input) {
			id, why, _ := strings.Cut(strings.TrimSpace(line), " ")
			s.world.Members = append(s.world.Members, Member{ID: id, Why: why})
		}
	case "ack": // by everybody
		for i := range s.world.Members {
			s.world.Members[i].Acked = s.world.Epoch
		}
	case "wish": // verb=pause
		verb := Verb(s.arg(d, "verb"))
		if verb == "run" {
			verb = Run
		}
		s.world.Wish = Wish{Number: s.world.Wish.Number + 1, Verb: verb, By: "bob"}
	case "busy": // group=1 [with=(...)]
		s.world.Busy[s.arg(d, "group")] = "taken by move m0"
	case "slow": // From now on the mover does not prepare a target at once.
		s.slow = true
	case "free":
		clear(s.world.Busy)
	case "done", "fails": // [keys=N] [final] [lost], the error below: the mover ends what it is at
		s.endJob(d)
	case "moved": // keys=N left=N: the mover goes on
		d.ScanArgs(s.t, "keys", &s.world.Job.Progress.Keys)
		d.ScanArgs(s.t, "left", &s.world.Job.Progress.Left)
	case "stopped", "crash": // The mover has stopped because it was told to; or another controller has taken over.
		s.world.Job = nil
	default:
		d.Fatalf(s.t, "no such command: %s", d.Cmd)
	}
	return s.run()
}

func (s *scenario) arg(d *datadriven.TestData, name string) (value string) {
	d.ScanArgs(s.t, name, &value)
	return value
}

func (s *scenario) topology(d *datadriven.TestData) {
	s.world.Slots = nil
	for line := range strings.Lines(d.Input) {
		text, group, _ := strings.Cut(strings.TrimSpace(line), " ")
		ranges, err := router.ParseRanges(text)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		for range ranges[0].Len() {
			s.world.Slots = append(s.world.Slots, Owner{Group: group, State: SlotStable})
		}
	}
	s.world.Epoch++
}

func (s *scenario) endJob(d *datadriven.TestData) {
	j := s.world.Job
	if j == nil {
		d.Fatalf(s.t, "the mover is at nothing")
		return
	}
	j.Ended = true
	if d.HasArg("keys") {
		d.ScanArgs(s.t, "keys", &j.Progress.Keys)
	}
	if d.Cmd == "fails" {
		j.Err, j.Final, j.Lost = strings.TrimSpace(d.Input), d.HasArg("final"), d.HasArg("lost")
	}
}

// run does what Next decides, until it decides nothing new.
func (s *scenario) run() string {
	var out strings.Builder
	for range 20 {
		d := Next(s.move, s.world)
		if again := Next(s.move, s.world); fmt.Sprintf("%+v", shown(d)) != fmt.Sprintf("%+v", shown(again)) {
			s.t.Errorf("the same world makes two decisions:\n%+v\n%+v", shown(d), shown(again))
		}
		before, written := describe(s.move), !sameDocument(s.move, d.Move)
		s.move = d.Move
		news := describe(d.Move) != before
		if news {
			out.WriteString(describe(d.Move))
		}
		if c := d.Change; c != nil {
			s.world.Epoch++
			for slot := range maps.Keys(c.Slots) {
				s.world.Slots[slot] = c.Owner
			}
			fmt.Fprintf(&out, "  epoch %d, barrier %t: %s\n", s.world.Epoch, c.Barrier, c.Why)
		}
		moved := s.tellMover(&out, d)
		if !written && d.Change == nil && !moved {
			if !d.Again.IsZero() {
				fmt.Fprintf(&out, "  looks again after %s\n", d.Again.Sub(s.world.Now))
			}
			return out.String()
		}
	}
	s.t.Error("it decides something new all the time")
	return out.String()
}

func sameDocument(a, b Move) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// tellMover gives the mover its job, or takes it away; what has ended is seen once.
func (s *scenario) tellMover(out *strings.Builder, d Decision) (changed bool) {
	j := s.world.Job
	if j != nil && j.Ended {
		s.world.Job, j = nil, nil
		changed = true
	}
	switch {
	case d.Job == "" && j != nil && !s.stopping:
		fmt.Fprintf(out, "  mover: stop %s\n", j.Kind)
		s.stopping = true
	case d.Job == JobPrepare && !s.slow: // No more than a question.
		s.world.Job = &Job{Kind: d.Job, Ended: true}
		changed = true
	case d.Job != "" && (j == nil || j.Kind != d.Job):
		fmt.Fprintf(out, "  mover: %s\n", d.Job)
		s.world.Job, s.stopping = &Job{Kind: d.Job}, false
		changed = true
	}
	return changed
}

// shown is a decision without pointers.
func shown(d Decision) string {
	text := fmt.Sprintf("%s %s %v", describe(d.Move), d.Job, d.Again)
	if d.Change != nil {
		text += fmt.Sprintf(" %v %v %v", slices.Sorted(maps.Keys(d.Change.Slots)), d.Change.Owner, d.Change.Barrier)
	}
	return text
}

// describe is the document in a line or two.
func describe(m Move) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", m.State)
	if m.Batch != nil {
		fmt.Fprintf(&b, ", %s %s from %s to %s", m.Batch.Phase, m.Batch.Slots, m.Batch.From, m.Batch.To)
		if m.Batch.Progress != (Progress{}) {
			fmt.Fprintf(&b, " (%d keys, %d left)", m.Batch.Progress.Keys, m.Batch.Progress.Left)
		}
	}
	if m.Left != "" || m.Moved != "" {
		fmt.Fprintf(&b, "; left %q, moved %q, %d keys", m.Left, m.Moved, m.Progress.Keys)
	}
	if m.Retries > 0 {
		fmt.Fprintf(&b, ", %d retries", m.Retries)
	}
	b.WriteString("\n")
	if m.Waits != "" {
		fmt.Fprintf(&b, "  waits: %s\n", m.Waits)
	}
	return b.String()
}
