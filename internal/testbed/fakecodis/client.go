package fakecodis

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

// client is one connection, or a call of Server.Do. Owned by the goroutine that serves it.
type client struct {
	*fake.Client

	s *Server

	db      int
	authed  bool
	queued  [][]string // The commands between MULTI and EXEC; nil outside.
	hasTurn bool
	applies bool // What its master has sent a replica.
}

// take waits for a thread of Pika, or the turn of codis-server, which runs one command at a time.
func (c *client) take(ctx context.Context) error {
	select {
	case c.s.turns <- struct{}{}:
		c.hasTurn = true
		return nil
	case <-ctx.Done():
		return fake.ErrDead
	}
}

// give ends what take began. A client that has none, as in Do, may call it.
func (c *client) give() {
	if c.hasTurn {
		c.hasTurn = false
		<-c.s.turns
	}
}

// handle runs one request of a client. Its turn lasts until its reply may leave; see release.
func (s *Server) handle(ctx context.Context, conn *fake.Client, args []string) error {
	c, ok := conn.State.(*client)
	if !ok {
		c = &client{Client: conn, s: s}
		conn.State = c
	}
	e := s.names.entry(s, strings.ToUpper(args[0]))
	if e.own != nil {
		c.Flush() // What is answered must not wait for, or die with, this one.
	}
	if !e.blocks {
		if err := c.take(ctx); err != nil {
			return err
		}
	}
	return c.execute(ctx, e, args)
}

// release ends the turn of a request that is over.
func release(conn *fake.Client) {
	if c, ok := conn.State.(*client); ok { // There is none before the first request is handled.
		c.give()
	}
}

// execute runs a command that has its turn.
func (c *client) execute(ctx context.Context, e *entry, args []string) error {
	if reply := c.refusal(e, args); reply != "" {
		c.Write(reply)
		return nil
	}
	if e.own == nil {
		return c.redis(e, args)
	}
	if !fits(e.own.arity, len(args)) {
		return c.misfit(e, args)
	}
	if c.queued != nil {
		c.Write("-ERR the fake has no " + strings.ToLower(e.name) + " inside MULTI\r\n")
		return nil
	}
	return e.own.run(ctx, c, args[1:])
}

// misfit answers a command of ours with a wrong number of arguments.
func (c *client) misfit(e *entry, args []string) error {
	if e.own.misfit != nil {
		return e.own.misfit(c, args)
	}
	c.Write(wrongArity(e.name))
	return nil
}

// refusal returns the error reply that the state of the server or of the connection has for a command, or "".
func (c *client) refusal(e *entry, args []string) string {
	s := c.s
	if e.name != "AUTH" && !c.authed && *s.password.Load() != "" {
		if s.kind == CodisServer {
			return "-NOAUTH Authentication required.\r\n"
		}
		return "-ERR NOAUTH Authentication required.\r\n"
	}
	if s.kind == CodisServer && s.Faults.loading.Load() {
		return "-LOADING Redis is loading the dataset in memory\r\n"
	}
	if e.writes && (s.Faults.readonly.Load() || s.pika != nil && s.pika.repl.slave.Load()) {
		if s.kind == CodisServer {
			return "-READONLY You can't write against a read only slave.\r\n"
		}
		return "-ERR READONLY You can't write against a read only replica.\r\n"
	}
	if !e.known {
		if s.kind == CodisServer {
			return fake.Error("ERR unknown command '" + args[0] + "'")
		}
		return fake.Error(`ERR unknown command "` + strings.ToLower(args[0]) + `"`)
	}
	return ""
}

// redis runs a command of Redis on the data and keeps the index true.
func (c *client) redis(e *entry, args []string) error {
	s := c.s
	if s.pika != nil && s.pika.answer(c, e, args) {
		return nil
	}
	if s.kind == CodisServer && !fits(codisArity[e.name], len(args)) {
		c.Write(wrongArity(e.name))
		return nil
	}
	run := func() {
		s.srv.Dispatch(c.Peer, args)
		c.follow(e, args)
	}
	if s.pika != nil && !c.applies {
		s.pika.repl.around(c, e, args, run)
	} else {
		run()
	}
	return nil
}

// follow takes note of what a command of Redis has changed.
func (c *client) follow(e *entry, args []string) {
	switch e.name {
	case "MULTI":
		c.queued = [][]string{}
		return
	case "EXEC":
		queued := c.queued
		c.queued = nil
		for _, q := range queued {
			c.follow(c.s.names.entry(c.s, strings.ToUpper(q[0])), q)
		}
		return
	case "DISCARD":
		c.queued = nil
		return
	}
	if c.queued != nil {
		c.queued = append(c.queued, args)
		return
	}
	if e.name == "SELECT" && len(args) == 2 {
		if db, err := strconv.Atoi(args[1]); err == nil && db >= 0 && db < 16 {
			c.db = db
		}
	}
	if e.writes {
		c.s.indexWrite(c.db, e, args)
	} else if c.s.pika != nil && cacheReads[e.name] != "" && len(args) > 1 {
		c.s.pika.cache.read(e.name, args[1])
	}
}

// indexWrite brings the index up to date after a write.
func (s *Server) indexWrite(db int, e *entry, args []string) {
	update := s.indexKey
	switch e.keys {
	case firstKey:
		if len(args) > 1 {
			update(db, args[1])
		}
	case allArgs: // More than its keys; what is no key does no harm.
		for _, key := range args[1:] {
			update(db, key)
		}
	case wholeDB:
		if s.codis != nil {
			s.codis.index.clear(e.name == "FLUSHALL", db)
		} else {
			s.pika.cache.clear()
			s.pika.types.clear()
		}
	}
}

func (s *Server) indexKey(db int, key string) {
	if s.codis != nil {
		s.codis.index.update(db, key)
		return
	}
	s.pika.types.note(key)
	s.pika.cache.written(key)
	s.pika.index.update(key)
}

// Do runs a command past all faults, queues and counts, also when the server is dead, and returns its reply. It is
// for what tests put into a server and look at, not for commands that move keys.
func (s *Server) Do(args ...string) resp.Value {
	return fake.Ask(func(conn *fake.Client) error {
		c := &client{Client: conn, s: s, authed: true}
		e := s.names.entry(s, strings.ToUpper(args[0]))
		if e.own == nil && e.known {
			return c.redis(e, args)
		}
		return c.execute(context.Background(), e, args)
	})
}

// Keys returns the keys of database 0 in order, without those of Pika's index.
func (s *Server) Keys() []string {
	return slices.DeleteFunc(s.data.DB(0).Keys(), func(key string) bool { return strings.HasPrefix(key, "_internal:") })
}

// exec runs a command of Redis on the data alone: no index, no cache.
func (s *Server) exec(db int, args ...string) resp.Value {
	return fake.Ask(func(c *fake.Client) error {
		if db != 0 {
			c.Silently(func() { s.srv.Dispatch(c.Peer, []string{"SELECT", strconv.Itoa(db)}) })
		}
		s.srv.Dispatch(c.Peer, args)
		return nil
	})
}
