package fakekvrocks

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

const slots = 16384

// The steps that a fake adds to those of package fake. Both are on the source of a migration.
const (
	// Sending is before each slot is sent.
	Sending = fake.Own + iota
	// Forbidden is in the last phase: writes are refused, or held.
	Forbidden
)

// Options says how a cluster is started.
type Options struct {
	// HoldWrites makes the last phase hold all writes of the node instead of refusing those to the slots.
	HoldWrites bool
	// Before27 puts ERR in front of all errors, as Kvrocks up to 2.6 does.
	Before27 bool
}

// TB is the part of testing.TB that starting a fake needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Server is one node. It keeps its port, its data and its topology when it is killed and restarted. Safe for
// concurrent use.
type Server struct {
	// Faults are the switches that all fakes have.
	Faults *fake.Faults

	id   string
	opts Options
	host *fake.Host
	data *fake.Data
	all  []*Server // Every node; immutable after StartCluster.

	// turn is one for all nodes: who has it may take the gates of several. It is taken before them.
	turn *sync.Mutex

	// gate is held for reading while a command runs, for writing while slots change hands.
	gate sync.RWMutex

	mu       sync.Mutex
	owner    [slots]*Server // The topology, as this node was told.
	version  int
	imported map[int]bool // Slots that are served here against the topology.
	out      *migration   // The last one from here.
	in       *migration   // The last one to here.
}

// StartCluster starts nodes that share the slots in order, and ends them with the test.
func StartCluster(t TB, nodes int, opts Options) []*Server {
	t.Helper()
	var all []*Server
	turn := new(sync.Mutex)
	for i := range nodes {
		data, err := fake.NewData()
		if err != nil {
			t.Fatalf("%v", err)
			return nil
		}
		s := &Server{id: fmt.Sprintf("%040d", i+1), opts: opts, data: data, turn: turn, imported: map[int]bool{}, version: 1}
		s.host = fake.NewHost(1, s.handle)
		s.Faults = s.host.Faults
		all = append(all, s)
	}
	for _, s := range all {
		s.all = all
		for slot := range slots {
			s.owner[slot] = all[slot*nodes/slots]
		}
		if err := s.host.Begin(); err != nil {
			t.Fatalf("%v", err)
			return nil
		}
		t.Cleanup(func() {
			s.Kill()
			s.data.Close()
		})
	}
	return all
}

// Addr is the host:port clients connect to.
func (s *Server) Addr() string { return s.host.Addr(0) }

// ID is the node id.
func (s *Server) ID() string { return s.id }

// Calls returns the counts of a command.
func (s *Server) Calls(name string) fake.Calls { return s.host.Calls(name) }

// Kill ends the server as SIGKILL does, and returns when nothing of it runs any more.
func (s *Server) Kill() { s.host.Kill() }

// Do runs a command on the data past all faults, whoever owns the slot.
func (s *Server) Do(args ...string) resp.Value { return s.data.Do(args...) }

// handle answers one request.
func (s *Server) handle(ctx context.Context, c *fake.Client, args []string) error {
	switch name := strings.ToUpper(args[0]); name {
	case "CLUSTER":
		c.Write(s.cluster(args[1:]))
		return nil
	case "CLUSTERX":
		c.Write(s.clusterX(args[1:]))
		return nil
	case "ASKING", "SELECT":
		c.Write("-ERR unknown command " + name + "\r\n")
		return nil
	case "ROLE":
		c.Write("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
		return nil
	}
	m := s.data.Mean(args)
	for {
		held, err := s.run(ctx, c, m, args)
		if held == nil {
			return err
		}
		c.Flush()
		if err := fake.Wait(ctx, held); err != nil {
			return err
		}
	}
}

// run runs a command on the data. It returns what to wait for when writes are held.
func (s *Server) run(ctx context.Context, c *fake.Client, m fake.Meaning, args []string) (held chan struct{}, err error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if ctx.Err() != nil {
		return nil, fake.ErrDead
	}
	reply, held := s.refuse(m)
	switch {
	case held != nil:
		return held, nil
	case reply != "":
		c.Write(reply)
		return nil, nil
	}
	if m.Writes {
		s.data.Note(m.Keys)
	}
	s.data.Run(c.Peer, args)
	if m.Writes && len(m.Keys) > 0 {
		s.dirty(fake.SlotOf(m.Keys[0]))
	}
	return nil, nil
}

// refuse returns the error reply that the slots of a command have, or what a write waits for.
func (s *Server) refuse(m fake.Meaning) (reply string, held chan struct{}) {
	reply, held = s.refusal(m)
	if text, ok := strings.CutPrefix(reply, "-"); ok && s.opts.Before27 {
		reply = "-ERR " + text
	}
	return reply, held
}

// refusal is refuse of a Kvrocks since 2.7.
func (s *Server) refusal(m fake.Meaning) (reply string, held chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.out
	if m.Writes && s.opts.HoldWrites && out.forbids() {
		return "", out.done
	}
	if len(m.Keys) == 0 {
		return "", nil
	}
	slot := fake.SlotOf(m.Keys[0])
	for _, key := range m.Keys[1:] {
		if fake.SlotOf(key) != slot {
			return "-CROSSSLOT Attempted to access keys that don't hash to the same slot\r\n", nil
		}
	}
	switch {
	case s.imported[slot]:
		return "", nil
	case s.owner[slot] != s:
		return fmt.Sprintf("-MOVED %d %s\r\n", slot, s.owner[slot].Addr()), nil
	case out.gaveAway(slot):
		return fmt.Sprintf("-MOVED %d %s\r\n", slot, out.to.Addr()), nil
	case out.has(slot) && out.forbids() && m.Writes:
		return "-TRYAGAIN Can't write to slot being migrated which is in write forbidden phase\r\n", nil
	}
	return "", nil
}
