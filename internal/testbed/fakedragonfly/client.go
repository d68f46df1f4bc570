package fakedragonfly

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice/internal/testbed/fake"
)

const notConfigured = "-ERR Cluster is not yet configured\r\n"

// conn is what a fake knows of a client. Owned by the goroutine that serves it.
type conn struct {
	authed bool
	flow   *incoming // The connection carries the keys of a migration.

	multi    bool
	refused  bool // A queued command was answered with an error.
	crosses  bool
	txSlots  []int
	txKeys   []string
	txWrites bool
}

// handle answers one request.
func (s *Server) handle(ctx context.Context, c *fake.Client, args []string) error {
	if c.State == nil {
		c.State = new(conn)
	}
	k := c.State.(*conn)
	name := strings.ToUpper(args[0])
	if k.flow != nil && name != "DFLYMIGRATE" {
		return s.receive(c, k, args)
	}
	if name == "AUTH" {
		k.authed = args[len(args)-1] == s.opts.Password
		c.Write(s.authReply(k.authed))
		return nil
	}
	if s.opts.Password != "" && !k.authed {
		c.Write("-NOAUTH Authentication required.\r\n")
		return nil
	}
	for {
		if c.Door == clientDoor {
			if err := s.awaitPause(ctx, c); err != nil {
				return err
			}
		}
		if s.local(c, name, args) {
			return nil
		}
		if again, err := s.keyed(ctx, c, k, name, args); !again {
			return err
		}
	}
}

func (s *Server) authReply(ok bool) string {
	switch {
	case s.opts.Password == "":
		return "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n"
	case ok:
		return fake.OK
	}
	return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
}

// awaitPause returns when the clients of the client port are not paused.
func (s *Server) awaitPause(ctx context.Context, c *fake.Client) error {
	for {
		pause := s.pause()
		if pause == nil {
			return nil
		}
		c.Flush()
		if err := fake.Wait(ctx, pause); err != nil {
			return err
		}
	}
}

func (s *Server) pause() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}

// local answers what needs no key; it reports false for the others.
func (s *Server) local(c *fake.Client, name string, args []string) (done bool) {
	switch name {
	case "CLUSTER":
		c.Write(s.cluster(args[1:]))
	case "DFLYCLUSTER":
		c.Write(s.dflyCluster(args[1:]))
	case "DFLYMIGRATE":
		c.Write(s.dflyMigrate(c, args[1:]))
	case "READONLY":
		c.Write(fake.OK)
	case "READWRITE":
		c.Write("-ERR Cluster is disabled. Enabled via passing --cluster_mode=emulated|yes\r\n")
	case "SELECT":
		c.Write("-ERR SELECT is not allowed in cluster mode\r\n")
	case "PUBLISH", "SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE":
		c.Write("-ERR " + name + " is not supported in cluster mode yet\r\n")
	case "ASKING", "WAIT", "OBJECT":
		c.Write("-ERR unknown command `" + name + "`\r\n")
	case "HELLO":
		s.hello(c, args[1:])
	case "INFO":
		c.Write(s.info(args[1:]))
	case "ROLE":
		if s.takenOver.Load() {
			c.Write(loading)
			break
		}
		c.Write(s.repl.role())
	case "REPLICAOF", "SLAVEOF":
		c.Write(s.replicaOf(args[1:]))
	default:
		return false
	}
	return true
}

const loading = "-LOADING Dragonfly is loading the dataset in memory\r\n"

func (s *Server) hello(c *fake.Client, args []string) {
	version := 2
	if len(args) > 0 {
		switch args[0] {
		case "2":
		case "3":
			version = 3
		default:
			c.Write("-NOPROTO unsupported protocol version\r\n")
			return
		}
	}
	c.Peer.Resp3 = version == 3
	head := "*14\r\n"
	if version == 3 {
		head = "%7\r\n"
	}
	c.Write(head + fake.Bulk("server") + fake.Bulk("redis") + fake.Bulk("version") + fake.Bulk("7.4.0") +
		fake.Bulk("dragonfly_version") + fake.Bulk("df-dev") + fake.Bulk("proto") + fake.Int(version) +
		fake.Bulk("id") + fake.Int(1) + fake.Bulk("mode") + fake.Bulk("cluster") + fake.Bulk("role") + fake.Bulk("master"))
}

// info is INFO with a section or all of them.
func (s *Server) info(args []string) string {
	if s.takenOver.Load() {
		return loading
	}
	o := s.slots.Load()
	sections := []struct{ name, text string }{
		{"server", fmt.Sprintf("# Server\r\nredis_version:7.4.0\r\ndragonfly_version:df-dev\r\ntcp_port:%d\r\nuptime_in_seconds:%d\r\n", s.Port(), s.life.Uptime())},
		{"replication", s.repl.info(o != nil && o.replica)},
		{"cluster", "# Cluster\r\ncluster_enabled:1\r\n"},
	}
	var texts []string
	for _, sec := range sections {
		if len(args) == 0 || strings.EqualFold(args[0], sec.name) || strings.EqualFold(args[0], "all") {
			texts = append(texts, sec.text)
		}
	}
	return fake.Bulk(strings.Join(texts, "\r\n"))
}

// keyed runs a command on the data. It reports true when the clients were paused before it could.
func (s *Server) keyed(ctx context.Context, c *fake.Client, k *conn, name string, args []string) (again bool, err error) {
	m := s.data.Mean(args)
	if !m.Known {
		c.Write("-ERR unknown command `" + args[0] + "`\r\n")
		return false, nil
	}
	if m.Blocks {
		if refusal := s.refuse(m); refusal != "" {
			c.Write(refusal)
			return false, nil
		}
		c.Flush()
		s.data.Note(m.Keys)
		s.data.Run(c.Peer, args)
		if m.Writes {
			s.repl.write(m.Keys, func() {})
		}
		return false, nil
	}
	if len(m.Keys) == 0 && !m.Writes && !k.multi {
		s.run(c, k, m, name, args) // PING is answered also while the target of a migration hangs.
		return false, nil
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	if c.Door == clientDoor && s.pause() != nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, fake.ErrDead
	}
	switch {
	case name == "EXEC" && k.multi:
		s.exec(c, k, args)
	case k.multi && name != "DISCARD" && name != "MULTI":
		s.queue(c, k, m, args)
	default:
		s.run(c, k, m, name, args)
	}
	return false, nil
}

// run runs a command at once. The gate is held if it has keys.
func (s *Server) run(c *fake.Client, k *conn, m fake.Meaning, name string, args []string) {
	if refusal := s.refuse(m); refusal != "" {
		c.Write(refusal)
		return
	}
	switch name {
	case "MULTI":
		*k = conn{authed: k.authed, multi: true}
	case "DISCARD":
		k.multi = false
	case "FLUSHALL", "FLUSHDB":
		s.flushed()
	}
	if m.Writes {
		s.data.Note(m.Keys)
	}
	switch {
	case name == "FLUSHALL" || name == "FLUSHDB":
		s.data.Run(c.Peer, args)
		s.repl.flush(slotsOf([]Range{{0, slots - 1}}))
	case m.Writes && len(m.Keys) > 0:
		script := strings.HasPrefix(name, "EVAL")
		if script {
			s.unseen(m.Keys)
		}
		s.repl.write(m.Keys, func() { s.data.Run(c.Peer, args) })
		if !script {
			s.dirty(m.Keys)
		}
	default:
		s.data.Run(c.Peer, args)
	}
}

// queue puts a command into a transaction. Who owns its slot is looked at here, and not again at EXEC.
func (s *Server) queue(c *fake.Client, k *conn, m fake.Meaning, args []string) {
	if refusal := s.refuse(m); refusal != "" {
		k.refused = true
		c.Write(refusal)
		return
	}
	for _, key := range m.Keys {
		slot := fake.SlotOf(key)
		k.crosses = k.crosses || len(k.txSlots) > 0 && k.txSlots[0] != slot
		k.txSlots = append(k.txSlots, slot)
	}
	if m.Writes {
		k.txWrites = true
		k.txKeys = append(k.txKeys, m.Keys...)
		s.data.Note(m.Keys)
	}
	s.data.Run(c.Peer, args)
}

func (s *Server) exec(c *fake.Client, k *conn, args []string) {
	k.multi = false
	switch {
	case k.refused:
		s.discard(c)
		c.Write("-EXECABORT Transaction discarded because of previous errors\r\n")
		return
	case k.crosses:
		s.discard(c)
		c.Write(crossSlot)
		return
	}
	if !k.txWrites {
		s.data.Run(c.Peer, args)
		return
	}
	s.unseen(k.txKeys)
	s.repl.write(k.txKeys, func() { s.data.Run(c.Peer, args) })
}

// discard makes miniredis forget what it has queued, without a reply.
func (s *Server) discard(c *fake.Client) {
	c.Silently(func() { s.data.Run(c.Peer, []string{"DISCARD"}) })
}

const crossSlot = "-CROSSSLOT Keys in request don't hash to the same slot\r\n"

// refuse returns the error reply that the slots of a command have, or "".
func (s *Server) refuse(m fake.Meaning) string {
	if len(m.Keys) == 0 {
		return ""
	}
	o := s.slots.Load()
	if o == nil {
		return notConfigured
	}
	following, loads := s.repl.following()
	if loads {
		return loading
	}
	if (o.replica || following) && m.Writes {
		return "-READONLY You can't write against a read only replica.\r\n"
	}
	slot := fake.SlotOf(m.Keys[0])
	for _, key := range m.Keys[1:] {
		if fake.SlotOf(key) != slot {
			return crossSlot
		}
	}
	if s.takenOver.Load() {
		return fmt.Sprintf("-MOVED %d %s\r\n", slot, s.Addr())
	}
	if !o.mine[slot] {
		return fmt.Sprintf("-MOVED %d %s\r\n", slot, o.addr[slot])
	}
	return ""
}

// receive takes a command that fills a slot that moves here.
func (s *Server) receive(c *fake.Client, k *conn, args []string) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if !k.flow.live(s) {
		return fake.ErrHangUp
	}
	if s.oom.Load() {
		s.fail(k.flow)
		c.Write(fake.Error(outOfMemory))
		return nil
	}
	if args[0] == "FLUSHSLOTS" {
		s.flushRanges(args[1:])
		c.Write(fake.OK)
		return nil
	}
	m := s.data.Mean(args)
	if !m.Known {
		return errors.New("a flow with an unknown command")
	}
	s.data.Note(m.Keys)
	s.repl.write(m.Keys, func() { s.data.Run(c.Peer, args) })
	return nil
}
