package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Sluice accepts with the standard library and enrolls the connections on its loops. gnet's own acceptor
// ends the whole engine when accept(2) fails for want of descriptors, and can't stop listening without
// stopping everything, so neither limits nor draining could be built on it. The price is some microseconds
// per connection, none per request.

// acceptPause is how long an acceptor waits after a failed accept; the clients wait in the backlog.
const acceptPause = 50 * time.Millisecond

// listen opens l and accepts clients for p on it.
func (s *Server) listen(p *Pool, l Listen) error {
	ln, err := openListener(s.ctx, l)
	if err != nil {
		return fmt.Errorf("pool %s: listen on %s: %w", p.Name, l, err)
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, ln)
	p.addrs = append(p.addrs, ln.Addr())
	s.mu.Unlock()
	s.work.Go(func() { s.accept(p, ln) })
	return nil
}

func openListener(ctx context.Context, l Listen) (net.Listener, error) {
	if l.Network == "unix" {
		if err := removeStaleSocket(l.Address); err != nil {
			return nil, err
		}
	}
	var cfg net.ListenConfig
	ln, err := cfg.Listen(ctx, l.Network, l.Address)
	if err != nil {
		return nil, err
	}
	if l.Network == "unix" && l.Mode != 0 {
		if err := os.Chmod(l.Address, l.Mode); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	return ln, nil
}

// removeStaleSocket removes the socket file that a process which died has left, but not one that is still
// listened on, nor anything that is no socket.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s is in use by another process", path)
	}
	return os.Remove(path)
}

// Addrs are the addresses that the pool listens on.
func (p *Pool) Addrs() []net.Addr {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return append([]net.Addr(nil), p.addrs...)
}

func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
	s.listeners = nil
}

// accept runs until the listener is closed. A failing accept costs a pause, never the process.
func (s *Server) accept(p *Pool, ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.acceptErrs.Add(1)
			s.often.Error("cannot accept a client, trying again", "listen", ln.Addr().String(), "err", err)
			time.Sleep(acceptPause)
			continue
		}
		if int(s.clients.Add(1)) > s.settings.Load().MaxClients {
			s.rejected.Add(1)
			s.refuse(conn)
			continue
		}
		s.work.Go(func() { s.admit(p, conn) })
	}
}

// refuse tells a client why it is closed. The text fits into any socket buffer, so this does not block.
func (s *Server) refuse(conn net.Conn) {
	_, _ = conn.Write([]byte("-" + errMaxClients + "\r\n"))
	_ = conn.Close()
	s.clientGone()
}

// admit puts a client on a loop, in turn.
func (s *Server) admit(p *Pool, conn net.Conn) {
	detachZones(conn)
	id := s.lastClient.Add(1)
	l := s.loops[id%uint64(len(s.loops))]
	c := &client{loop: l, pool: p, id: id, session: newSession(p, peerAddr(conn), conn.LocalAddr().String())}
	err := l.Enroll(s.ctx, conn, c)
	switch {
	case err == nil:
		l.execute(c.checkOpened)
	case s.ctx.Err() == nil:
		s.acceptErrs.Add(1)
		s.often.Error("cannot take a client over", "addr", c.addr, "err", err)
		s.clientGone()
	}
}

// checkOpened notices a connection that gnet closed while it took it over, which it does not report.
func (c *client) checkOpened() {
	if c.conn == nil && !c.closed {
		c.closed = true
		c.loop.server.clientGone()
	}
}

// detachZones gives the addresses of conn IPv6 zones of their own: gnet puts the bytes of a zone into its
// buffer pool when the connection ends, and package net shares one string among all connections.
func detachZones(conn net.Conn) {
	for _, addr := range []net.Addr{conn.LocalAddr(), conn.RemoteAddr()} {
		if tcp, ok := addr.(*net.TCPAddr); ok {
			tcp.Zone = strings.Clone(tcp.Zone)
		}
	}
}

// peerAddr names the client; on a unix socket clients have no address, and the socket stands for them.
func peerAddr(conn net.Conn) string {
	if addr := conn.RemoteAddr().String(); addr != "" && addr != "@" {
		return addr
	}
	return conn.LocalAddr().String() + ":0"
}
