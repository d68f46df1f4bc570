package fakedragonfly

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

// The doors of a fake.
const (
	clientDoor = iota
	adminDoor
	doors
)

// The steps that a fake adds to those of package fake. All are on the source of a migration.
const (
	// Connecting is before the source asks the target for the first time, in each attempt.
	Connecting = fake.Own + iota
	// Sending is before each slot is sent.
	Sending
	// Paused is in the finalisation: all clients are paused, the target has not been asked to take over.
	Paused
	// Acknowledged is in the finalisation too: the target serves the slots, the clients are still paused.
	Acknowledged
)

// The steps of replication. All but the last are on the replica.
const (
	// ReplicaConnect is before the master is asked: connecting.
	ReplicaConnect = Acknowledged + 1 + iota
	// ReplicaSync is when the data is copied and has not replaced that of the replica: full_sync.
	ReplicaSync
	// ReplicaApply is before each record is applied; the master's lag counts those that wait.
	ReplicaApply
	// MasterServe is before a master answers a replica.
	MasterServe
)

// StatusForm is the form of SLOT-MIGRATION-STATUS.
type StatusForm int

// The forms, by the version that had it last.
const (
	Status39 StatusForm = iota // Arrays of five; the default.
	Status14                   // "out 127.0.0.1:6379 STABLE_SYNC"
	Status17                   // "out 127.0.0.1:6379 SYNC"
	Status21                   // "out n2 SYNC keys:5 errors: 0"
	Status22                   // "out n2 SYNC keys:5 errors:0"
	Status40                   // Arrays of six: the slots are last.
)

// Options says how a fake is started.
type Options struct {
	// ID is the node id (cluster_node_id). Required.
	ID string
	// Status is the form of SLOT-MIGRATION-STATUS.
	Status StatusForm
	// Password is what clients must give with AUTH, and what a source gives to its target; empty: none.
	Password string
	// ReplicationTimeout is how long a source waits for a target in SYNC; 0 is 30 s.
	ReplicationTimeout time.Duration
	// FinalizationTimeout is how long it keeps its clients paused for a target; 0 is 30 s.
	FinalizationTimeout time.Duration
	// RetryPause is between two attempts; 0 is 500 ms.
	RetryPause time.Duration
	// Pause is how long a finalisation takes at least.
	Pause time.Duration
}

// TB is the part of testing.TB that starting a fake needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Server is one fake. It keeps its ports and its data when it is killed and restarted, and forgets its
// configuration, as the real one does. Safe for concurrent use.
type Server struct {
	// Faults are the switches that all fakes have.
	Faults *fake.Faults

	opts Options
	host *fake.Host
	life fake.Life
	data *fake.Data
	repl replication

	oom       atomic.Bool
	takenOver atomic.Bool
	slots     atomic.Pointer[ownership] // nil: not yet configured.

	// gate is held for reading while a command runs, for writing while a slot is sent or slots change hands.
	gate sync.RWMutex

	configuring sync.Mutex // Held while a configuration is applied; taken before gate and mu.

	mu       sync.Mutex
	config   []Shard
	out      []*outgoing
	in       []*incoming
	paused   chan struct{} // nil: clients are not paused. Closed when that ends.
	finished int           // How many migrations have ended well here.
}

// ownership says who serves each slot. Immutable.
type ownership struct {
	mine    [slots]bool   // Served here.
	addr    [slots]string // Where MOVED sends to.
	replica bool          // This node takes no writes.
}

// Start starts a fake and ends it with the test.
func Start(t TB, opts Options) *Server {
	t.Helper()
	s, err := newServer(opts)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	t.Cleanup(func() {
		s.Kill()
		s.repl.close()
		s.data.Close()
	})
	return s
}

func newServer(opts Options) (*Server, error) {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&opts.ReplicationTimeout, 30 * time.Second}, {&opts.FinalizationTimeout, 30 * time.Second}, {&opts.RetryPause, 500 * time.Millisecond}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	data, err := fake.NewData()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, data: data}
	s.repl.init(s)
	s.host = fake.NewHost(doors, s.handle)
	s.Faults = s.host.Faults
	if err := s.begin(); err != nil {
		data.Close()
		return nil, err
	}
	return s, nil
}

// Addr is the host:port clients connect to.
func (s *Server) Addr() string { return s.host.Addr(clientDoor) }

// AdminAddr is the host:port of the admin port.
func (s *Server) AdminAddr() string { return s.host.Addr(adminDoor) }

// Port is that of Addr.
func (s *Server) Port() int { return s.host.Port(clientDoor) }

// AdminPort is that of AdminAddr.
func (s *Server) AdminPort() int { return s.host.Port(adminDoor) }

// Node is the fake in a configuration.
func (s *Server) Node() Node { return Node{ID: s.opts.ID, IP: "127.0.0.1", Port: s.Port()} }

// MoveTo is the migration of slots to the fake in a configuration.
func (s *Server) MoveTo(ranges ...Range) Move {
	return Move{Slots: ranges, NodeID: s.opts.ID, IP: "127.0.0.1", Port: s.AdminPort()}
}

// Calls returns the counts of a command.
func (s *Server) Calls(name string) fake.Calls { return s.host.Calls(name) }

// Kill ends the server as SIGKILL does, and returns when nothing of it runs any more.
func (s *Server) Kill() { s.host.Kill() }

// Restart starts the server again on its ports with its data, after killing it if it runs. It has no configuration
// then, and its migrations are forgotten.
func (s *Server) Restart() error {
	s.Kill()
	s.mu.Lock()
	s.config, s.out, s.in, s.paused = nil, nil, nil, nil
	s.mu.Unlock()
	s.slots.Store(nil)
	s.takenOver.Store(false)
	return s.begin()
}

// begin starts a life.
func (s *Server) begin() error {
	s.life.Begin()
	s.repl.forget()
	if err := s.host.Begin(); err != nil {
		return err
	}
	s.repl.listed()
	return nil
}

// OutOfMemory makes the server, as a target, refuse what it is sent; the migration is FATAL then on both sides.
func (s *Server) OutOfMemory(on bool) { s.oom.Store(on) }

// TakenOver makes the server what a master is after REPLTAKEOVER of Dragonfly 1.36, until its next configuration:
// it answers MOVED to its own address, and LOADING to all that looks at the cluster.
func (s *Server) TakenOver() { s.takenOver.Store(true) }

// Do runs a command on the data past all faults and pauses, whoever owns the slot.
func (s *Server) Do(args ...string) resp.Value {
	m := s.data.Mean(args)
	if !m.Writes || len(m.Keys) == 0 {
		return s.data.Do(args...)
	}
	var reply resp.Value
	s.repl.write(m.Keys, func() { reply = s.data.Do(args...) })
	return reply
}

// Finished is how many migrations from here have ended well.
func (s *Server) Finished() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}
