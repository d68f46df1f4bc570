package migration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/control"
)

// script is a ledger of Dragonflies n1 (a:1) and n2 (b:1), a minute per look.
type script struct {
	*testing.T
	*ledger
	now time.Time
}

func newScript(t *testing.T, family string) *script {
	return &script{T: t, ledger: newLedger(family), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// sees takes a look: what n1 and n2 answer, in the words of 1.22, several with "|"; "silent" is no answer.
func (s *script) sees(n1, n2 string) {
	s.Helper()
	s.now = s.now.Add(time.Minute)
	answers := []answer{{addr: "a:1", id: "n1"}, {addr: "b:1", id: "n2"}}
	for i, text := range []string{n1, n2} {
		if text == "silent" {
			answers[i].id, answers[i].err = "", errors.New("no answer in time")
			continue
		}
		for line := range strings.SplitSeq(text, "|") {
			if line == "" {
				continue
			}
			r, ok := parseDragonflyEntry(control.Value{Kind: control.Bulk, Text: line})
			if !ok {
				s.Fatalf("bad line %q", line)
			}
			answers[i].reports = append(answers[i].reports, r)
		}
	}
	s.look(answers, s.now)
}

// wants compares all migrations: "a:1>b:1 STATE PROGRESS% retries=N since=MINUTE VERDICT".
func (s *script) wants(want ...string) {
	s.Helper()
	var got []string
	for _, m := range s.list() {
		progress := "?"
		if m.Progress != nil {
			progress = fmt.Sprintf("%.0f%%", 100**m.Progress)
		}
		got = append(got, fmt.Sprintf("%s>%s %s %s retries=%d since=%d %s", m.Source, m.Target, m.State, progress, m.Retries, m.Since.Minute(), m.Verdict))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.Errorf("look %d:\n%s\nwant\n%s", s.now.Minute(), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMigrationFromBothSides(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("", "")
	s.wants()
	s.sees("out n2 CONNECTING keys:100 errors:0", "")
	s.wants("a:1>b:1 connecting ? retries=0 since=2 connecting; the target may not know of the migration yet")
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:25 errors:0")
	s.wants("a:1>b:1 copying 25% retries=0 since=2 copying; the source serves the slots")
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 FINISHED keys:100 errors:0")
	s.wants("a:1>b:1 finalising 100% retries=0 since=2 the target serves the slots and the source says SYNC: for a moment that is the hand-over, but if it lasts both take writes")
	s.sees("out n2 FINISHED keys:0 errors:0", "in n1 FINISHED keys:100 errors:0")
	s.wants("a:1>b:1 finished 100% retries=0 since=2 finished: the target serves the slots, though the nodes show the old owner until they get the closing configuration")
	s.sees("", "in n1 FINISHED keys:100 errors:0") // The closing configuration comes to one after the other.
	if list := s.list(); len(list) != 1 || !list[0].Ended.IsZero() {
		t.Errorf("%+v", list)
	}
	s.sees("", "")
	s.wants("a:1>b:1 finished 100% retries=0 since=2 finished: the target serves the slots")
	s.sees("out n2 SYNC keys:50 errors:0", "in n1 SYNC keys:0 errors:0") // The same nodes once more.
	s.wants("a:1>b:1 copying 0% retries=0 since=8 copying; the source serves the slots",
		"a:1>b:1 finished 100% retries=0 since=2 finished: the target serves the slots")
}

// An error text stays in the reply for ever; what it means depends on the state.
func TestErrorsThatAreOld(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:10 errors:0")
	s.sees("out n2 CONNECTING keys:100 errors:Broken pipe", "in n1 SYNC keys:10 errors:0")
	s.wants(`a:1>b:1 connecting 10% retries=1 since=1 being tried again, not failed: the last attempt ended with "Broken pipe"`)
	s.sees("out n2 CONNECTING keys:100 errors:Broken pipe", "in n1 SYNC keys:10 errors:0") // The same attempt, for all that is known.
	s.wants(`a:1>b:1 connecting 10% retries=1 since=1 being tried again, not failed: the last attempt ended with "Broken pipe"`)
	s.sees("out n2 SYNC keys:100 errors:Broken pipe", "in n1 SYNC keys:1 errors:0")
	s.wants(`a:1>b:1 copying 1% retries=1 since=1 copying; the source serves the slots; "Broken pipe" is of an earlier attempt and over`)
	s.sees("out n2 CONNECTING keys:100 errors:Connection refused", "in n1 SYNC keys:1 errors:0")
	s.sees("out n2 FINISHED keys:100 errors:Connection refused", "in n1 FINISHED keys:100 errors:0")
	s.wants(`a:1>b:1 finished 100% retries=2 since=1 finished: the target serves the slots, though the nodes show the old owner until they get the closing configuration; "Connection refused" is of an earlier attempt and over`)
	if m := s.list()[0]; m.FirstError != "Broken pipe" || m.LastError != "Connection refused" {
		t.Errorf("first %q, last %q", m.FirstError, m.LastError)
	}
}

func TestOnlyFatalIsFinal(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("out n2 SYNC keys:100 errors:Broken pipe", "in n1 FATAL keys:5 errors:INCOMING_MIGRATION_OOM")
	s.wants(`a:1>b:1 failed 5% retries=0 since=1 failed for good: "INCOMING_MIGRATION_OOM"; the source serves the slots, and only somebody's decision ends or repeats it`)
	s.sees("out n2 ERROR keys:100 errors:Broken pipe", "in n1 FATAL keys:5 errors:INCOMING_MIGRATION_OOM")
	s.wants(`a:1>b:1 failed 5% retries=1 since=1 failed for good: "INCOMING_MIGRATION_OOM"; the source serves the slots, and only somebody's decision ends or repeats it`)
	s = newScript(t, "dragonfly")
	s.sees("out n2 THINKING keys:100 errors:0", "in n1 THINKING keys:5 errors:0")
	if m := s.list()[0]; m.State != Unknown || !strings.Contains(m.Verdict, `"THINKING"`) {
		t.Errorf("%+v", m)
	}
}

// The source keeps its state while a target hangs, and the one word that is about both.
func TestSourceThatDoesNotServe(t *testing.T) {
	s := newScript(t, "dragonfly")
	stalled := true
	s.stalled = func(addr string) bool { return stalled && addr == "a:1" }
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:50 errors:0")
	if m := s.list()[0]; strings.Contains(m.Verdict, "the source serves") || !strings.Contains(m.Verdict, "the source answers no clients") || !m.Stalled {
		t.Errorf("%+v", m)
	}
	stalled = false
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:50 errors:0")
	s.wants("a:1>b:1 copying 50% retries=0 since=1 copying; the source serves the slots")
}

// What keeps a source that tries again is its own error, and not a later one of the target.
func TestErrorOfTheSideThatTries(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:50 errors:0")
	s.sees("out n2 CONNECTING keys:100 errors:Connection refused", "in n1 SYNC keys:50 errors:Can't join migration in time")
	s.wants(`a:1>b:1 connecting 50% retries=1 since=1 being tried again, not failed: the last attempt ended with "Connection refused"`)
}

// A failure that comes between two looks is news, though a migration between the same nodes has ended well before.
func TestFailureBetweenTwoLooks(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("out n2 FINISHED keys:5 errors:0", "in n1 FINISHED keys:5 errors:0")
	s.sees("", "")
	s.sees("out n2 FATAL keys:5 errors:x", "in n1 FATAL keys:0 errors:y")
	if list := s.list(); len(list) != 2 || list[0].State != Failed {
		t.Errorf("%+v", list)
	}
}

func TestSilentSide(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:50 errors:0")
	s.sees("out n2 SYNC keys:100 errors:0", "silent")
	s.wants("a:1>b:1 copying 50% retries=0 since=1 half known, the target does not answer (no answer in time): copying or handing over, but the target hangs, and soon the source serves no key of any slot: take the migration out of the configuration, the target's first, if the target does not come back")
	s.sees("", "silent") // The entry was dropped; the target may still take over.
	s.wants("a:1>b:1 copying 50% retries=0 since=1 half known, the target does not answer (no answer in time): copying or handing over, but the target hangs, and soon the source serves no key of any slot: take the migration out of the configuration, the target's first, if the target does not come back")
	s.sees("", "in n1 FINISHED keys:100 errors:0")
	s.wants("a:1>b:1 finalising 100% retries=0 since=1 the target serves the slots and the source says SYNC: for a moment that is the hand-over, but if it lasts both take writes")
	s.sees("silent", "")
	s.wants("a:1>b:1 finalising 100% retries=0 since=1 half known, the source does not answer (no answer in time): the target serves the slots and the source says SYNC: for a moment that is the hand-over, but if it lasts both take writes")
	s.sees("", "")
	s.wants("a:1>b:1 gone 100% retries=0 since=1 no node reports it any more, and its end was not seen: see who owns the slots")
}

func TestSilenceOfBothIsNotForEver(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("out n2 SYNC keys:100 errors:0", "in n1 SYNC keys:50 errors:0")
	for range 10 {
		s.sees("silent", "silent")
	}
	if m := s.list()[0]; m.State != Copying {
		t.Errorf("%+v", m)
	}
	s.sees("silent", "silent")
	if m := s.list()[0]; m.State != Gone || m.Ended.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestMigrationsCross(t *testing.T) {
	s := newScript(t, "dragonfly")
	s.sees("in n2 SYNC keys:1 errors:0|out n2 SYNC keys:10 errors:0|out n9 CONNECTING keys:3 errors:0", "in n1 SYNC keys:5 errors:0|out n1 SYNC keys:4 errors:0")
	s.wants("a:1>b:1 copying 50% retries=0 since=1 copying; the source serves the slots",
		"a:1>n9 connecting ? retries=0 since=1 connecting; the target may not know of the migration yet",
		"b:1>a:1 copying 25% retries=0 since=1 copying; the source serves the slots")
	s.learn("n9", "c:1")
	s.sees("out n9 CONNECTING keys:3 errors:0", "")
	if m := s.list()[0]; m.Target != "c:1" || m.Since.Minute() != 1 {
		t.Errorf("%+v", m)
	}
}

func TestEndedAreBounded(t *testing.T) {
	s := newScript(t, "dragonfly")
	for range 3 * maxEnded {
		s.sees("out n2 SYNC keys:100 errors:0", "")
		s.sees("", "")
	}
	if n := len(s.list()); n != maxEnded {
		t.Errorf("%d", n)
	}
}

// Kvrocks' target does not say where the slots come from.
func TestTargetWithoutSource(t *testing.T) {
	now := time.Now()
	l := newLedger("kvrocks")
	out := report{out: true, peer: "n2", slots: "1-5", state: Copying, word: "start", keys: -1, copied: -1, retries: -1}
	in := report{slots: "1-5", state: Finished, word: "success", keys: -1, copied: -1, retries: -1}
	l.look([]answer{{addr: "b:1", id: "n2", reports: []report{in}}, {addr: "a:1", id: "n1", reports: []report{out}}}, now)
	if list := l.list(); len(list) != 1 || list[0].State != Finalising || list[0].Source != "a:1" || list[0].Target != "b:1" {
		t.Errorf("%+v", list)
	}
}

// A log keeps what is over; a new attempt on the same slots stands beside it.
func TestLogWithOldEntries(t *testing.T) {
	l := newLedger("redis")
	now := time.Now()
	entry := func(state State) report {
		return report{out: true, peer: "n2", slots: "1-5", state: state, word: string(state), keys: -1, copied: -1, retries: -1}
	}
	look := func(reports ...report) []Migration {
		now = now.Add(time.Second)
		l.look([]answer{{addr: "a:1", id: "n1", reports: reports}, {addr: "b:1", id: "n2"}}, now)
		return l.list()
	}
	if list := look(entry(Finished)); len(list) != 1 || list[0].State != Finished {
		t.Errorf("%+v", list)
	}
	if list := look(entry(Copying), entry(Finished)); len(list) != 2 || list[0].State != Copying && list[1].State != Copying {
		t.Errorf("%+v", list)
	}
	look(entry(Finished), entry(Finished))
	if list := look(); len(list) == 0 || list[0].Ended.IsZero() {
		t.Errorf("%+v", list)
	}
}

// Slots leave while their source says so, or says nothing; a target that still waits for its configuration does not
// count.
func TestWhatLeaves(t *testing.T) {
	s := newScript(t, "dragonfly")
	f := func(want, n1, n2 string) {
		t.Helper()
		s.sees(n1, n2)
		if got := fmt.Sprint(s.leaving()); got != want {
			t.Errorf("%q and %q: %s, want %s", n1, n2, got, want)
		}
	}
	const leaves, none = "[{a:1 b:1 []}]", "[]"
	f(none, "", "")
	f(none, "", "in n1 CONNECTING keys:5 errors:0") // The source has not been told.
	f(leaves, "out n2 CONNECTING keys:5 errors:0", "in n1 SYNC keys:5 errors:0")
	f(leaves, "silent", "in n1 SYNC keys:5 errors:0")
	f(leaves, "out n2 SYNC keys:5 errors:0", "in n1 FINISHED keys:5 errors:0")
	f(none, "out n2 FINISHED keys:5 errors:0", "in n1 SYNC keys:5 errors:0")
	f(none, "out n2 FATAL keys:5 errors:x", "in n1 FATAL keys:5 errors:x")
	s = newScript(t, "dragonfly")
	f(leaves, "out n2 SYNC keys:5 errors:0", "in n1 SYNC keys:5 errors:0")
	f(none, "", "in n1 SYNC keys:5 errors:0") // Cancelled at the source.
	if got := fmt.Sprint(parseRanges("0-5,7"), parseRanges(""), parseRanges("somewhere")); got != "[0-5 7] [] []" {
		t.Error(got)
	}
}

// A Dragonfly that takes a new configuration forgets its migrations before it names the new owners. Between the two
// a migration that was finished looks cancelled.
func TestCancelledIsSaidTwice(t *testing.T) {
	at := func(owner string) owners { return owners{owner: {{From: 0, To: 16383}}} }
	f := func(want State, looks ...string) {
		t.Helper()
		l, now := newLedger("dragonfly"), time.Unix(1000, 0)
		copying, ok := parseDragonflyEntry(control.Value{Kind: control.Bulk, Text: "out n2 SYNC keys:5 errors:0"})
		if !ok {
			t.Fatal("bad line")
		}
		see := func(owner string, reports ...report) {
			now = now.Add(time.Second)
			l.look([]answer{
				{addr: "a:1", id: "n1", owners: at(owner), reports: reports}, {addr: "b:1", id: "n2", owners: at(owner)},
			}, now)
		}
		see("n1", copying)
		for i, owner := range looks {
			see(owner)
			if ended := !l.list()[0].Ended.IsZero(); ended != (i == len(looks)-1) {
				t.Errorf("%v: ended at look %d", looks, i)
			}
		}
		if got := l.list()[0].State; got != want {
			t.Errorf("%v: %s, want %s", looks, got, want)
		}
	}
	f(Cancelled, "n1", "n1")
	f(Finished, "n1", "n2")
	f(Finished, "n2")
}
