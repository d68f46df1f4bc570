package proxy

import (
	"errors"

	"github.com/panjf2000/gnet/v2"

	"sluice/backend"
)

// handler receives gnet's callbacks. Each comes on the loop of its connection; what the connection is for
// stands in its context: a *client, a *backend.Dial until its Conn is up and a *backend.Conn from then on, or
// nothing for the short-lived connections that the Server finds its loops with. A connection whose *backend.Dial is
// out of date is closed, and nothing that comes of it is looked at.
//
// A panic in a callback ends the connection it came from and nothing else.
type handler struct {
	gnet.BuiltinEventEngine
}

var (
	errPanic     = errors.New("internal error")
	errNoUnblock = errors.New("the server does not know CLIENT UNBLOCK")
)

func (*handler) OnOpen(conn gnet.Conn) (out []byte, action gnet.Action) {
	switch peer := conn.Context().(type) {
	case *client:
		peer.loop.guard("client open", func() {
			peer.opened(conn)
			peer.loop.connOpened(conn, peer)
		})
	case *backend.Dial:
		l := peer.Home().(*loop)
		l.lookAtClock()
		l.server.raisePace(paceTimeouts)
		var b *backend.Conn
		ok := l.guard("backend open", func() {
			if b = peer.Opened(conn, l.now); b != nil {
				conn.SetContext(b)
				l.connOpened(conn, b)
				l.markBackend(b)
				l.schedule()
			}
		})
		if b == nil || !ok {
			return nil, gnet.Close
		}
	}
	return nil, gnet.None
}

func (*handler) OnTraffic(conn gnet.Conn) gnet.Action {
	buf, _ := conn.Next(-1)
	if len(buf) == 0 {
		return gnet.None
	}
	var l *loop
	var action gnet.Action
	switch peer := conn.Context().(type) {
	case *client:
		l = peer.loop
		action = l.clientTraffic(peer, buf)
	case *backend.Conn:
		l = peer.Home().(*loop)
		if peer.GnetConn() == conn {
			action = l.serverTraffic(peer, buf)
		}
	default:
		return gnet.None
	}
	if action == gnet.Close { // gnet does that before anything is written.
		l.begun = false
		l.schedule()
		return gnet.Close
	}
	l.end()
	return gnet.None
}

// clientTraffic takes what one read from a client brought, and says what is to become of the connection.
func (l *loop) clientTraffic(c *client, buf []byte) (action gnet.Action) {
	defer func() {
		if r := recover(); r != nil {
			l.panicked("client traffic", r)
			l.recoverLists()
			action = gnet.Close
		}
	}()
	l.begin()
	c.traffic(buf)
	return gnet.None
}

// serverTraffic takes what one read from a server brought, and says what is to become of the connection.
func (l *loop) serverTraffic(b *backend.Conn, buf []byte) (action gnet.Action) {
	defer func() {
		if r := recover(); r != nil {
			l.panicked("backend traffic", r)
			l.abandon(b)
			l.recoverLists()
			action = gnet.Close
		}
	}()
	l.begin()
	if err := l.backendTraffic(b, buf); err != nil {
		l.server.often.Warn("closing a backend connection", "backend", b.Node.Addr, "err", err)
		b.Node.Report(err)
		b.Close(err)
		return gnet.Close
	}
	return gnet.None
}

func (*handler) OnClose(conn gnet.Conn, err error) gnet.Action {
	switch peer := conn.Context().(type) {
	case *client:
		peer.loop.connClosed(conn)
		peer.loop.guard("client close", func() {
			peer.onClose(err)
			peer.loop.schedule() // It may have said good-bye to a server.
		})
	case *backend.Conn:
		l := peer.Home().(*loop)
		l.connClosed(conn)
		if peer.GnetConn() != conn {
			return gnet.None // Closed by Sluice itself, and done with.
		}
		if err == nil {
			err = backend.ErrClosed
		}
		ok := l.guard("backend close", func() {
			l.lookAtClock()
			l.server.raisePace(paceTimeouts)
			if peer.Up() && peer.Waiting() { // An idle connection may be closed at any time.
				peer.Node.Report(err)
			}
			peer.Close(err)
			l.schedule()
		})
		if !ok {
			l.abandon(peer)
		}
	}
	return gnet.None
}
