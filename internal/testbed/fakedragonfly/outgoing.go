package fakedragonfly

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

// The states of a migration, as SLOT-MIGRATION-STATUS shows them.
const (
	stateConnecting = "CONNECTING"
	stateSync       = "SYNC"
	stateFinished   = "FINISHED"
	stateFatal      = "FATAL"
)

// outOfMemory is what a target says that can take no more.
const outOfMemory = "INCOMING_MIGRATION_OOM"

var (
	errUnknown = errors.New("the target does not know of the migration yet") // Not shown.
	errFlush   = errors.New("FLUSH command during migration")
	errFatal   = errors.New("Cannot allocate memory: " + outOfMemory)
)

// outgoing is a migration from here. Server.mu guards state, err and keys.
type outgoing struct {
	s      *Server
	move   Move
	cancel context.CancelFunc
	ctx    context.Context // Ends with the entry in the configuration.
	ended  chan struct{}   // Closed when run has returned.

	state string
	err   string // The last error; it stays.
	keys  int    // At FINISHED.

	mu      sync.Mutex // Guards the fields below; taken last.
	started bool
	unsent  map[int]bool          // Slots that were written to since they were sent.
	old     map[string][][]string // By key that a transaction or a script has written: what made it as it was before.
	flushed bool
}

func newOutgoing(s *Server, move Move) *outgoing {
	m := &outgoing{s: s, move: move, state: stateConnecting, ended: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// end ends the migration and waits until nothing of it runs any more.
func (m *outgoing) end() {
	m.cancel()
	<-m.ended
}

// run makes attempts until one succeeds, memory ends at the target, or the entry is dropped.
func (m *outgoing) run(life context.Context) {
	defer close(m.ended)
	ctx, cancel := context.WithCancel(life)
	defer cancel()
	stop := context.AfterFunc(m.ctx, cancel)
	defer stop()
	for {
		err := m.attempt(ctx)
		if ctx.Err() != nil || err == nil {
			return
		}
		if errors.Is(err, errFatal) {
			m.set(stateFatal, err.Error())
			return
		}
		text := words(err)
		if errors.Is(err, errUnknown) {
			text = ""
		}
		m.set(stateConnecting, text)
		if fake.Rest(ctx, m.s.opts.RetryPause) != nil {
			return
		}
	}
}

// words says an error as Dragonfly does.
func words(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "JournalStreamer write operation timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Connection refused: Couldn't connect to source."
	case errors.Is(err, syscall.ECONNRESET):
		return "Connection reset by peer"
	case errors.Is(err, errFlush):
		return err.Error()
	}
	return "Broken pipe"
}

// set changes the state; an error text stays until there is another.
func (m *outgoing) set(state, text string) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.state = state
	if text != "" {
		m.err = text
	}
}

// attempt goes from the first word to FINISHED.
func (m *outgoing) attempt(ctx context.Context) error {
	if err := m.s.Faults.Pass(ctx, Connecting, ""); err != nil {
		return err
	}
	link, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer link.close()
	m.set(stateSync, "")
	m.mu.Lock()
	m.unsent, m.old, m.flushed, m.started = map[int]bool{}, map[string][][]string{}, false, true
	each(m.move.Slots, func(slot int) { m.unsent[slot] = true })
	m.mu.Unlock()
	// What is written while a round lasts makes the next, shorter one; the last is sent in the pause.
	for rounds := 0; rounds < 4 && len(m.todo()) > 16; rounds++ {
		for _, slot := range m.todo() {
			if err := m.s.Faults.Pass(ctx, Sending, ""); err != nil {
				return err
			}
			if err := m.send(link, slot, time.Now().Add(m.s.opts.ReplicationTimeout)); err != nil {
				return err
			}
		}
	}
	return m.finalise(ctx, link)
}

func (m *outgoing) connect(ctx context.Context) (*link, error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", m.move.IP, m.move.Port))
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, rd: resp.NewReader(conn)}
	l.unhook = context.AfterFunc(ctx, func() { _ = conn.Close() })
	initial := []string{"DFLYMIGRATE", "INIT", m.s.opts.ID, "1"}
	for _, r := range m.move.Slots {
		initial = append(initial, strconv.Itoa(r.Start), strconv.Itoa(r.End))
	}
	deadline := time.Now().Add(m.s.opts.ReplicationTimeout)
	greeting := [][]string{initial, {"DFLYMIGRATE", "FLOW", m.s.opts.ID, "0"}}
	if m.s.opts.Password != "" {
		greeting = append([][]string{{"AUTH", m.s.opts.Password}}, greeting...)
	}
	for _, cmd := range greeting {
		if err := l.ask(deadline, cmd); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// todo lists the slots that have to be sent.
func (m *outgoing) todo() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.unsent))
}

// send sends what a slot holds. Commands on keys of this node wait meanwhile: that is what a target that does not
// take what it is sent does to the clients of the source.
func (m *outgoing) send(l *link, slot int, deadline time.Time) error {
	m.s.gate.Lock()
	defer m.s.gate.Unlock()
	m.mu.Lock()
	flushed := m.flushed
	m.mu.Unlock()
	if flushed {
		return errFlush
	}
	commands := [][]string{{"FLUSHSLOTS", strconv.Itoa(slot), strconv.Itoa(slot)}}
	for _, key := range m.s.data.Keys(slot) {
		m.mu.Lock()
		copied, lost := m.old[key]
		m.mu.Unlock()
		if !lost {
			copied = m.s.data.CopyCommands(key)
		}
		commands = append(commands, copied...)
	}
	if err := l.ask(deadline, commands...); err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.unsent, slot)
	m.mu.Unlock()
	return nil
}

// finalise pauses the clients, sends the rest and lets the target take over. While the target does not answer that
// is tried again and again, with a moment between for the clients.
func (m *outgoing) finalise(ctx context.Context, l *link) error {
	for attempt := 1; ; attempt++ {
		err := m.handOver(ctx, l, attempt)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := fake.Rest(ctx, m.s.opts.RetryPause); err != nil {
			return err
		}
	}
}

func (m *outgoing) handOver(ctx context.Context, l *link, attempt int) error {
	s := m.s
	resume := s.pauseClients()
	defer resume()
	deadline := time.Now().Add(s.opts.FinalizationTimeout)
	if err := s.Faults.Pass(ctx, Paused, ""); err != nil {
		return err
	}
	if err := fake.Rest(ctx, s.opts.Pause); err != nil {
		return err
	}
	for _, slot := range m.todo() {
		if err := m.send(l, slot, deadline); err != nil {
			return err
		}
	}
	if err := l.ask(deadline, []string{"DFLYMIGRATE", "ACK", s.opts.ID, strconv.Itoa(attempt)}); err != nil {
		return err
	}
	if err := s.Faults.Pass(ctx, Acknowledged, ""); err != nil {
		return err
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	m.keys = s.data.Count(func(slot int) bool { return contains(m.move.Slots, slot) })
	m.state = stateFinished
	s.finished++
	s.recompute()
	return nil
}

// pauseClients stops all clients of the client port, whatever they ask for, and waits for what runs already.
func (s *Server) pauseClients() (resume func()) {
	pause := make(chan struct{})
	s.mu.Lock()
	s.paused = pause
	s.mu.Unlock()
	s.gate.Lock()   // Those that run hold it for reading.
	s.gate.Unlock() //nolint:staticcheck // SA2001: to wait is all it is for.
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.paused == pause {
			s.paused = nil
		}
		close(pause)
	}
}

// dirty notes that keys were written to. The gate is held for reading.
func (s *Server) dirty(keys []string) {
	s.eachMoving(keys, func(m *outgoing, key string) {
		m.unsent[fake.SlotOf(key)] = true
		delete(m.old, key)
	})
}

// unseen is called before a transaction or a script writes to keys: a migration that is under way never hears of that
// (measured with 1.36). The gate is held for reading.
func (s *Server) unseen(keys []string) {
	s.eachMoving(keys, func(m *outgoing, key string) {
		if _, known := m.old[key]; !known {
			m.old[key] = s.data.CopyCommands(key)
		}
	})
}

// eachMoving calls f, with mu of the migration held, for each of the keys that is on its way.
func (s *Server) eachMoving(keys []string, f func(m *outgoing, key string)) {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	for _, m := range out {
		m.mu.Lock()
		for _, key := range keys {
			if m.started && contains(m.move.Slots, fake.SlotOf(key)) {
				f(m, key)
			}
		}
		m.mu.Unlock()
	}
}

// flushed notes that all keys were deleted.
func (s *Server) flushed() {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	for _, m := range out {
		m.mu.Lock()
		m.flushed = true
		m.mu.Unlock()
	}
}

// link is the connection to the target. Owned by the goroutine of the migration.
type link struct {
	conn   net.Conn
	rd     *resp.Reader
	unhook func() bool
	late   int // Replies that have not come in time.
}

func (l *link) close() {
	l.unhook()
	_ = l.conn.Close()
}

// ask sends commands and waits until all are answered.
func (l *link) ask(deadline time.Time, commands ...[]string) error {
	if err := l.conn.SetDeadline(deadline); err != nil {
		return err
	}
	var wire []byte
	for _, args := range commands {
		wire = append(wire, fake.Bulks(args...)...)
	}
	if _, err := l.conn.Write(wire); err != nil {
		return err
	}
	l.late += len(commands)
	for l.late > 0 {
		v, _, err := l.rd.ReadValue()
		if err != nil {
			return err
		}
		l.late--
		if err := v.Error(); err != nil {
			return meaning(err)
		}
	}
	return nil
}

// meaning is what an error reply of a target means.
func meaning(err error) error {
	switch err.Error() {
	case outOfMemory:
		return errFatal
	case "UNKNOWN_MIGRATION":
		return errUnknown
	}
	return fmt.Errorf("the target answered %w", err)
}
