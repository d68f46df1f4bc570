package fakecodis

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"sluice/internal/testbed/fake"
)

// Kind is what a fake behaves like.
type Kind int

// The kinds.
const (
	// CodisServer is codis-server 3.2.
	CodisServer Kind = iota + 1
	// Pika35 is Pika 3.5.5.
	Pika35
	// Pika40 is Pika 4.0.1.
	Pika40
	// PikaFixed is Pika 4.0.1 with the proposed change to the wrapper (PR 3233).
	PikaFixed
)

func (k Kind) String() string {
	switch k {
	case CodisServer:
		return "codis-server 3.2"
	case Pika35:
		return "Pika 3.5.5"
	case Pika40:
		return "Pika 4.0.1"
	case PikaFixed:
		return "Pika 4.0.1 with PR 3233"
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Options says how a fake is started. The zero value is that of a stock server with an index of its slots.
type Options struct {
	// Port is where it listens on 127.0.0.1; 0 takes a free one.
	Port int
	// Slots is how many slots keys are hashed to (default-slot-num, max_slot_num); 0 is 1024.
	Slots int
	// Threads is how many commands Pika runs at once (thread-pool-size); 0 is 12. codis-server runs one.
	Threads int
	// Password is what clients must give with AUTH; empty: none.
	Password string
	// NoSlotmigrate starts Pika with slotmigrate no: keys get no index, and commands that move keys refuse.
	NoSlotmigrate bool
}

// TB is the part of testing.TB that starting a fake needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(f func())
}

// Server is one fake. It keeps its port and its data when it is killed and restarted. Safe for concurrent use.
type Server struct {
	// Faults are its switches.
	Faults *Faults

	kind  Kind
	slots int
	data  *miniredis.Miniredis
	srv   *server.Server // Runs the commands of Redis on data; it has no listener.
	codis *codis         // One of these two is set.
	pika  *pika
	turns chan struct{} // Has room for as many commands as run at once.
	names commandTable
	host  *fake.Host
	life  fake.Life

	password atomic.Pointer[string] // Written by RequireAuth, read by every command.

	mu       sync.Mutex
	replInfo string
}

// StartCodisServer starts a codis-server and ends it with the test.
func StartCodisServer(t TB, opts Options) *Server {
	t.Helper()
	return start(t, CodisServer, opts)
}

// StartPika starts a Pika and ends it with the test.
func StartPika(t TB, version Kind, opts Options) *Server {
	t.Helper()
	return start(t, version, opts)
}

func start(t TB, kind Kind, opts Options) *Server {
	t.Helper()
	s, err := Start(kind, opts)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", s.Addr(), err)
		}
	})
	return s
}

// Start starts a fake; Close ends it.
func Start(kind Kind, opts Options) (*Server, error) {
	if opts.Slots == 0 {
		opts.Slots = 1024
	}
	if opts.Threads == 0 {
		opts.Threads = 12
	}
	s := &Server{kind: kind, slots: opts.Slots, data: miniredis.NewMiniRedis()}
	s.password.Store(&opts.Password)
	s.host = fake.NewHost(1, s.handle)
	s.host.Number(opts.Port)
	s.host.After = release
	s.host.HangUpAtEmpty = kind != CodisServer // As Pika does.
	s.Faults = &Faults{Faults: s.host.Faults, server: s}
	conn, err := s.data.Dial() // Makes it serve commands without a listener.
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	s.srv = s.data.Server()
	if kind == CodisServer {
		s.turns = make(chan struct{}, 1)
		s.codis = newCodis(s)
		s.names.own, s.names.unknown = s.codis.commands(), codisUnknown
	} else {
		s.turns = make(chan struct{}, opts.Threads)
		s.pika = newPika(s, !opts.NoSlotmigrate)
		s.names.own, s.names.unknown = s.pika.commands(), pikaUnknown
	}
	if err := s.begin(); err != nil {
		s.data.Close()
		return nil, err
	}
	return s, nil
}

// begin starts a life.
func (s *Server) begin() error {
	open := s.host.Begin
	if s.codis != nil {
		s.codis.forget()
	}
	s.life.Kept = s.pika != nil // Pika writes it into its configuration.
	s.life.Begin()
	if s.pika != nil {
		s.pika.forget()
		open = func() error { return s.pika.repl.start(s.host.Begin) }
	}
	if err := open(); err != nil {
		return fmt.Errorf("start %s: %w", s.kind, err)
	}
	return nil
}

// Addr is the host:port clients connect to.
func (s *Server) Addr() string { return s.host.Addr(0) }

// Port is the port of Addr.
func (s *Server) Port() int { return s.host.Port(0) }

// Kind is what it behaves like.
func (s *Server) Kind() Kind { return s.kind }

// SlotOf is the slot a key hashes to.
func (s *Server) SlotOf(key string) int {
	slot, _, _ := slotOf(key, s.slots)
	return slot
}

// Kill ends the server as SIGKILL does, and returns when nothing of it runs any more. Its data stays.
func (s *Server) Kill() { s.host.Kill() }

// Restart starts the server again on its port with its data, after killing it if it runs. Pika has then forgotten
// which slot it was moving.
func (s *Server) Restart() error {
	s.Kill()
	return s.begin()
}

// Calls counts one command.
type Calls = fake.Calls

// Calls returns the counts of a command. Commands of Do are not counted.
func (s *Server) Calls(name string) Calls { return s.host.Calls(name) }

// Close ends the server.
func (s *Server) Close() error {
	s.Kill()
	if s.pika != nil {
		s.pika.repl.close()
	}
	s.data.Close()
	return nil
}

// RequireAuth changes the password. Connections that gave one before stay in.
func (s *Server) RequireAuth(password string) {
	s.password.Store(&password)
}

// SetReplicationInfo replaces the replication section of INFO, without its heading; "" puts the own one back.
// Lines end with "\n".
func (s *Server) SetReplicationInfo(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replInfo = text
}
