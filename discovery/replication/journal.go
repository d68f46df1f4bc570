package replication

import (
	"sync"
	"time"
)

// defaultCapacity is a few days of a quiet setup and an hour of a replica that flaps every few seconds; 1000 events
// take about 200 KB.
const defaultCapacity = 1000

// Journal keeps the newest events. Safe for concurrent use: the watchers of all pools write to one, so that its ids
// tell what came first. NewJournal makes one.
type Journal struct {
	capacity int

	mu sync.Mutex // guards the fields below it
	// ring is filled up to capacity, and from then on the event with id n stands at (n-1) % capacity.
	ring []Event
	last uint64 // id of the newest event, 0 before the first
}

// NewJournal returns an empty Journal of the newest capacity events; below 1 stands for 1000.
func NewJournal(capacity int) *Journal {
	if capacity < 1 {
		capacity = defaultCapacity
	}
	return &Journal{capacity: capacity}
}

// Add takes e in as the newest event: it gets the next id, and the time of now unless it has one.
func (j *Journal) Add(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	e.ID = j.last
	if len(j.ring) < j.capacity {
		j.ring = append(j.ring, e)
		return
	}
	j.ring[j.at(e.ID)] = e
}

// Since returns the newest events with an id above id, at most limit of them, oldest first.
func (j *Journal) Since(id uint64, limit int) []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id >= j.last || limit < 1 {
		return nil
	}
	n := min(j.last-id, uint64(limit), uint64(len(j.ring)))
	events := make([]Event, 0, n)
	for id := j.last - n + 1; id <= j.last; id++ {
		events = append(events, j.ring[j.at(id)])
	}
	return events
}

func (j *Journal) at(id uint64) int { return int((id - 1) % uint64(j.capacity)) }
