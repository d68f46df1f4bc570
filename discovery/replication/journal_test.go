package replication

import (
	"slices"
	"sync"
	"testing"
	"time"
)

func ids(events []Event) []uint64 {
	out := []uint64{}
	for _, e := range events {
		out = append(out, e.ID)
	}
	return out
}

func TestJournalReturnsTheNewestOldestFirst(t *testing.T) {
	f := func(capacity, added int, since uint64, limit int, want ...uint64) {
		t.Helper()
		j := NewJournal(capacity)
		for range added {
			j.Add(Event{ID: 99, Kind: "state"})
		}
		if got := ids(j.Since(since, limit)); !slices.Equal(got, want) {
			t.Errorf("%d of %d, since %d limit %d: %v, want %v", added, capacity, since, limit, got, want)
		}
	}
	f(3, 0, 0, 10)
	f(3, 2, 0, 10, 1, 2)
	f(3, 3, 0, 10, 1, 2, 3)
	f(3, 4, 0, 10, 2, 3, 4)
	f(3, 8, 0, 10, 6, 7, 8)
	f(3, 8, 0, 2, 7, 8)
	f(3, 8, 6, 10, 7, 8)
	f(3, 8, 6, 1, 8)
	f(3, 8, 8, 10)
	f(3, 8, 1<<63, 10)
	f(3, 8, 0, 0)
	f(1, 5, 0, 10, 5)
}

func TestJournalKeepsAThousandByDefault(t *testing.T) {
	j := NewJournal(0)
	for range 1001 {
		j.Add(Event{})
	}
	if got := ids(j.Since(0, 5000)); len(got) != 1000 || got[0] != 2 || got[999] != 1001 {
		t.Errorf("%d events from %d", len(got), got[0])
	}
}

func TestJournalSetsTheTimeOnlyWhereThereIsNone(t *testing.T) {
	j := NewJournal(2)
	given := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	before := time.Now()
	j.Add(Event{Time: given})
	j.Add(Event{})
	events := j.Since(0, 2)
	if !events[0].Time.Equal(given) {
		t.Errorf("the given time became %v", events[0].Time)
	}
	if at := events[1].Time; at.Before(before) || at.After(time.Now()) {
		t.Errorf("the time is %v", at)
	}
}

func TestJournalNumbersEventsOfManyWriters(t *testing.T) {
	const writers, each = 8, 200
	j := NewJournal(50)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				j.Add(Event{})
				events := j.Since(0, 1000)
				if first, last := events[0].ID, events[len(events)-1].ID; last-first != uint64(len(events)-1) {
					t.Errorf("%d events from %d to %d", len(events), first, last)
				}
			}
		})
	}
	wg.Wait()
	if got := ids(j.Since(0, 1)); got[0] != writers*each {
		t.Errorf("the newest of %d is %d", writers*each, got[0])
	}
}
