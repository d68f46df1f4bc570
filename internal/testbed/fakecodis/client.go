package fakecodis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/tidwall/resp"
)

// errHangUp ends a connection after what was written.
var errHangUp = errors.New("the server closes the connection")

// client is one connection, or a call of Server.Do. Owned by the goroutine that serves it.
type client struct {
	s    *Server
	w    *bufio.Writer
	peer *server.Peer // Writes to w.

	db      int
	authed  bool
	queued  [][]string // The commands between MULTI and EXEC; nil outside.
	hasTurn bool
}

func (c *client) write(reply string) {
	_, _ = c.w.WriteString(reply) // An error comes again with the flush.
}

// take waits for a thread of Pika, or the turn of codis-server, which runs one command at a time.
func (c *client) take(ctx context.Context) error {
	select {
	case c.s.turns <- struct{}{}:
		c.hasTurn = true
		return nil
	case <-ctx.Done():
		return errDead
	}
}

// give ends what take began. A client that has none, as in Do, may call it.
func (c *client) give() {
	if c.hasTurn {
		c.hasTurn = false
		<-c.s.turns
	}
}

// request runs one request of a client. An error ends the connection.
func (c *client) request(ctx context.Context, args []string) error {
	if len(args) == 0 {
		if c.s.kind == CodisServer {
			return nil
		}
		return errHangUp // Pika does so at an empty line.
	}
	s := c.s
	e := s.names.entry(s, strings.ToUpper(args[0]))
	count := s.calls.of(e.name)
	count.begin()
	defer count.end()
	if s.Faults.active.Load() != 0 || e.own != nil {
		if err := c.w.Flush(); err != nil { // What is answered must not wait for, or die with, this one.
			return err
		}
	}
	if err := s.Faults.pass(ctx, Command, e.name); err != nil {
		return err
	}
	if reply, ok := s.Faults.canned(e.name); ok {
		c.write(reply)
		return nil
	}
	if !e.blocks {
		if err := c.take(ctx); err != nil {
			return err
		}
		defer c.give()
	}
	if err := c.execute(ctx, e, args); err != nil {
		return err
	}
	return s.Faults.pass(ctx, Reply, e.name)
}

// execute runs a command that has its turn.
func (c *client) execute(ctx context.Context, e *entry, args []string) error {
	if reply := c.refusal(e, args); reply != "" {
		c.write(reply)
		return nil
	}
	if e.own == nil {
		return c.redis(e, args)
	}
	if !fits(e.own.arity, len(args)) {
		return c.misfit(e, args)
	}
	if c.queued != nil {
		c.write("-ERR the fake has no " + strings.ToLower(e.name) + " inside MULTI\r\n")
		return nil
	}
	return e.own.run(ctx, c, args[1:])
}

// misfit answers a command of ours with a wrong number of arguments.
func (c *client) misfit(e *entry, args []string) error {
	if e.own.misfit != nil {
		return e.own.misfit(c, args)
	}
	c.write(wrongArity(e.name))
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
	if s.Faults.active.Load() != 0 {
		if s.kind == CodisServer && s.Faults.isSet(&s.Faults.loading) {
			return "-LOADING Redis is loading the dataset in memory\r\n"
		}
		if e.writes && s.Faults.isSet(&s.Faults.readonly) {
			if s.kind == CodisServer {
				return "-READONLY You can't write against a read only slave.\r\n"
			}
			return "-ERR READONLY You can't write against a read only replica.\r\n"
		}
	}
	if !e.known {
		if s.kind == CodisServer {
			return errorReply("ERR unknown command '" + args[0] + "'")
		}
		return errorReply(`ERR unknown command "` + strings.ToLower(args[0]) + `"`)
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
		c.write(wrongArity(e.name))
		return nil
	}
	s.srv.Dispatch(c.peer, args)
	c.follow(e, args)
	if c.peer.Closed() {
		return errHangUp
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
	} else if c.s.pika != nil && e.name == "GET" && len(args) == 2 {
		c.s.pika.cache.read(args[1])
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
		}
	}
}

func (s *Server) indexKey(db int, key string) {
	if s.codis != nil {
		s.codis.index.update(db, key)
		return
	}
	s.pika.cache.written(key)
	s.pika.index.update(key)
}

// Do runs a command past all faults, queues and counts, also when the server is dead, and returns its reply. It is
// for what tests put into a server and look at, not for commands that move keys.
func (s *Server) Do(args ...string) resp.Value {
	var buf bytes.Buffer
	w := bufio.NewWriterSize(&buf, 512)
	c := &client{s: s, w: w, peer: server.NewPeer(w), authed: true}
	e := s.names.entry(s, strings.ToUpper(args[0]))
	var err error
	switch {
	case e.own == nil && e.known:
		err = c.redis(e, args)
	default:
		err = c.execute(context.Background(), e, args)
	}
	return readReply(w, &buf, err)
}

// Keys returns the keys of database 0 in order, without those of Pika's index.
func (s *Server) Keys() []string {
	return slices.DeleteFunc(s.data.DB(0).Keys(), func(key string) bool { return strings.HasPrefix(key, "_internal:") })
}

// exec runs a command of Redis on the data alone: no index, no cache.
func (s *Server) exec(db int, args ...string) resp.Value {
	var buf bytes.Buffer
	w := bufio.NewWriterSize(&buf, 512)
	peer := server.NewPeer(w)
	if db != 0 {
		s.srv.Dispatch(peer, []string{"SELECT", strconv.Itoa(db)})
		_ = w.Flush()
		buf.Reset()
	}
	s.srv.Dispatch(peer, args)
	return readReply(w, &buf, nil)
}

func readReply(w *bufio.Writer, buf *bytes.Buffer, err error) resp.Value {
	if err == nil || errors.Is(err, errHangUp) {
		err = w.Flush()
	}
	if err != nil {
		return resp.ErrorValue(fmt.Errorf("NOREPLY %w", err))
	}
	v, _, err := resp.NewReader(bytes.NewReader(slices.Clone(buf.Bytes()))).ReadValue()
	if err != nil {
		return resp.ErrorValue(fmt.Errorf("NOREPLY %w", err))
	}
	return v
}
