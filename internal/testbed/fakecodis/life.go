package fakecodis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/alicebob/miniredis/v2/server"
)

// life is the time from a start to a kill.
type life struct {
	ctx    context.Context // Ends with the life; not passed on, since every goroutine of the life belongs to it.
	cancel context.CancelFunc
	wg     sync.WaitGroup // Counts all goroutines that work for it.

	mu       sync.Mutex
	dead     bool
	listener net.Listener // nil: connections are refused.
	conns    map[net.Conn]struct{}
}

// begin starts a life.
func (s *Server) begin() error {
	l := &life{conns: map[net.Conn]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if s.pika != nil {
		s.pika.forget()
	}
	if s.codis != nil {
		s.codis.forget()
	}
	s.mu.Lock()
	s.life = l
	s.mu.Unlock()
	if err := s.listen(); err != nil {
		s.die()
		return err
	}
	return nil
}

func (s *Server) lifetime() *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// die ends the life without waiting, so that what is part of it may call it.
func (s *Server) die() {
	l := s.lifetime()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	l.cancel()
	if l.listener != nil {
		_ = l.listener.Close()
		l.listener = nil
	}
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// listen opens the listener of this life, if it is not open.
func (s *Server) listen() error {
	l := s.lifetime()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead || l.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", s.Addr())
	if err != nil {
		return fmt.Errorf("start %s: %w", s.kind, err)
	}
	s.mu.Lock()
	s.port = listener.Addr().(*net.TCPAddr).Port
	s.mu.Unlock()
	l.listener = listener
	l.wg.Go(func() { s.accept(l, listener) })
	return nil
}

func (s *Server) closeListener() error {
	l := s.lifetime()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		return nil
	}
	err := l.listener.Close()
	l.listener = nil
	return err
}

func (s *Server) accept(l *life, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if !l.enroll(conn) {
			_ = conn.Close()
			return
		}
		l.wg.Go(func() {
			s.serve(l.ctx, conn)
			l.leave(conn)
		})
	}
}

func (l *life) enroll(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *life) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = conn.Close()
	delete(l.conns, conn)
}

// serve answers one client until it leaves or the server dies.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	w := bufio.NewWriterSize(conn, 64<<10)
	r := bufio.NewReaderSize(flushBeforeRead{conn, w}, 64<<10)
	c := &client{s: s, w: w, peer: server.NewPeer(w)}
	for {
		args, err := readRequest(r)
		if err != nil {
			return
		}
		if err := c.request(ctx, args); err != nil {
			if !errors.Is(err, errDead) {
				_ = w.Flush()
			}
			return
		}
	}
}

// flushBeforeRead writes what is answered before it waits for more, so that the replies to a pipeline leave
// together.
type flushBeforeRead struct {
	conn net.Conn
	w    *bufio.Writer
}

var _ io.Reader = flushBeforeRead{}

func (f flushBeforeRead) Read(p []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, err
	}
	return f.conn.Read(p)
}
