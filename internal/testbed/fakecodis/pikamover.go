package fakecodis

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/testbed/fake"
)

// mover is Pika's background migration: one slot at a time, one thread, one sender.
//
//	idle --batch--> waiting --request--> round --keys left--> waiting
//	  ^                                    |
//	  +---teardown---- slot empty, failure, or cancel
//
// A batch or the wrapper requests a round. A round takes the keys the wrapper has queued, then as many members of
// the slot as the batch said, sends them 64 at a time, reads all the replies, and then deletes those keys. Nothing
// keeps others from a key meanwhile: neither clients that write to it directly nor a synchronous move. In particular
// the copy of a round may reach the target after SLOTSMGRTTAGONE has answered, and the round sends "DEL" for a list
// that is gone, or for a key that goes while its copy is sent, whatever the target has by then.
//
// The slot that was moved last stays known when its thread ends: the wrapper starts it again for that slot.
type mover struct {
	p *pika

	// lock is held by those who look at or change the job, and while a thread ends. It has room for one.
	// mover's fields up to the blank line are read and written with it only.
	lock    chan struct{}
	job     round
	everSet bool // job is one; before, the slot is -1.
	cursor  string
	thread  *thread     // nil: not migrating.
	alive   atomic.Bool // thread is not nil; read without the lock.
	moved   int

	mu       sync.Mutex
	queue    []string        // Members the wrapper asked for.
	inFlight map[string]bool // Members of the round.
}

// round is what a batch asks for.
type round struct {
	host      string
	port      int
	timeoutMS int64
	slot      int
	keys      int
}

func (r round) timeout() time.Duration { return time.Duration(r.timeoutMS) * time.Millisecond }

// thread is one run of the background thread.
type thread struct {
	request chan struct{} // Has room for one.
	quit    chan struct{} // Closed by stop.
	once    sync.Once
	done    chan struct{} // Closed when it has ended.
}

// queued is what moveKey answers for a key that it has put into the queue.
const queued = 2

// perSend is how many keys are sent before their replies are read (thread-migrate-keys-num).
const perSend = 64

func (m *mover) reset() {
	m.lock = make(chan struct{}, 1)
	m.job, m.everSet, m.cursor, m.thread, m.moved = round{}, false, "", nil, 0
	m.alive.Store(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue, m.inFlight = nil, map[string]bool{}
}

func (m *mover) acquire(ctx context.Context) error {
	select {
	case m.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fake.ErrDead
	}
}

func (m *mover) release() { <-m.lock }

// moveSlot asks for a round. It refuses when the lock is taken, or another slot or target is under way.
func (m *mover) moveSlot(r round) bool {
	select {
	case m.lock <- struct{}{}:
	default:
		return false
	}
	defer m.release()
	if m.thread != nil && (m.job.host != r.host || m.job.port != r.port || m.job.slot != r.slot) {
		return false
	}
	m.job, m.everSet = r, true
	m.start()
	m.thread.ask()
	return true
}

// moveKey is what the wrapper does with a key: 0 it is not here, 1 it is on its way already, queued, or -1 its slot is
// not the one that moves. 4.0 takes a key that is not here for a string, and queues that.
func (m *mover) moveKey(ctx context.Context, key string) (int, error) {
	if err := m.acquire(ctx); err != nil {
		return 0, err
	}
	defer m.release()
	letter := m.p.index.letter(key)
	switch {
	case letter == 0 && m.p.version == Pika35:
		return 0, nil
	case letter == 0:
		letter = 'k'
	case letter == 'm' && m.p.version == Pika35:
		return -1, nil
	case letter == 'm':
		letter = 'x' // Not the letter of the index, and one that can't be moved.
	}
	if slot := m.p.s.SlotOf(key); !m.everSet || slot != m.job.slot {
		return -1, nil
	}
	m.start()
	member := string(letter) + key
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight[member] || slices.Contains(m.queue, member) {
		return 1, nil
	}
	m.queue = append(m.queue, member)
	m.thread.ask()
	return queued, nil
}

// start starts a thread if none runs. The lock is held.
func (m *mover) start() {
	if m.thread != nil {
		return
	}
	t := &thread{request: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	m.thread = t
	m.alive.Store(true)
	m.p.s.host.Go(func(ctx context.Context) { m.run(ctx, t) })
}

// ask requests a round; requests that come during one make one more.
func (t *thread) ask() {
	select {
	case t.request <- struct{}{}:
	default:
	}
}

// stop ends the thread and returns when the keys on their way are done.
func (m *mover) stop(ctx context.Context) error {
	if err := m.acquire(ctx); err != nil {
		return err
	}
	t := m.thread
	m.release()
	if t == nil {
		return nil
	}
	t.once.Do(func() { close(t.quit) })
	return fake.Wait(ctx, t.done)
}

// moveStatus is what STATUS shows; -1 while nothing moves.
type moveStatus struct {
	host        string
	port, slot  int
	migrating   bool
	moved, left int
}

func (m *mover) status(ctx context.Context) (moveStatus, error) {
	if err := m.acquire(ctx); err != nil {
		return moveStatus{}, err
	}
	defer m.release()
	if m.thread == nil {
		return moveStatus{port: -1, slot: -1, moved: -1, left: -1}, nil
	}
	return moveStatus{
		host: m.job.host, port: m.job.port, slot: m.job.slot, migrating: true, moved: m.moved,
		left: m.p.index.size(m.job.slot),
	}, nil
}

// infoLine is what INFO says of it: it is migrating while it has its thread, between two rounds too (recorded of 4.0:
// PART A, "round over, thread waits"). It takes no lock that a batch or the wrapper needs.
func (m *mover) infoLine() string {
	if m.alive.Load() {
		return "Yes, , 0"
	}
	return "No, , 0"
}

// run is the thread.
func (m *mover) run(ctx context.Context, t *thread) {
	defer close(t.done)
	if err := m.acquire(ctx); err != nil {
		return
	}
	job := m.job
	m.release()
	if dest, err := dialTarget(ctx, net.JoinHostPort(job.host, strconv.Itoa(job.port)), job.timeout()); err == nil {
		m.rounds(ctx, t, dest)
		dest.close()
	}
	m.tearDown(ctx)
}

// rounds moves until the slot is empty, something fails, or the thread is to end.
func (m *mover) rounds(ctx context.Context, t *thread, dest *target) {
	for {
		select {
		case <-t.request:
		case <-t.quit:
			return
		case <-ctx.Done():
			return
		}
		if err := m.acquire(ctx); err != nil {
			return
		}
		job := m.job
		m.release()
		members := m.take(job)
		if !m.send(ctx, dest, members) {
			return
		}
		if err := m.acquire(ctx); err != nil {
			return
		}
		m.moved += len(members)
		m.release()
		m.mu.Lock()
		clear(m.inFlight)
		m.mu.Unlock()
		if m.p.index.size(job.slot) == 0 {
			return
		}
	}
}

// tearDown ends the thread for all others. It is done with the lock, as in Pika, so they wait or are refused.
func (m *mover) tearDown(ctx context.Context) {
	if err := m.acquire(ctx); err != nil {
		return
	}
	defer m.release()
	if err := m.p.s.Faults.Pass(ctx, Teardown, ""); err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.inFlight)
	m.cursor, m.moved, m.thread = "", 0, nil
	m.alive.Store(false)
}

// take returns the members of a round: what the wrapper queued, then job.keys of the slot from where the last round
// ended.
func (m *mover) take(job round) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	members := m.p.index.members(job.slot) // With the lock, as Pika reads its index.
	var taken []string
	for _, member := range m.queue {
		taken = append([]string{member}, taken...)
		m.inFlight[member] = true
	}
	m.queue = nil
	from, found := slices.BinarySearch(members, m.cursor)
	if found {
		from++
	}
	if from >= len(members) {
		from = 0
	}
	left := job.keys
	for _, member := range members[from:] {
		if left == 0 {
			break
		}
		left--
		m.cursor = member
		if !m.inFlight[member] {
			m.inFlight[member] = true
			taken = append(taken, member)
		}
	}
	return taken
}
