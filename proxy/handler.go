package proxy

import (
	"errors"

	"github.com/panjf2000/gnet/v2"

	"sluice/backend"
)

// handler receives gnet's callbacks. Each comes on the loop of its connection; what the connection is for
// stands in its context: a *client, a *backend.Dial until its Conn is up and a *backend.Conn from then on, or nothing for
// the short-lived connections that the Server finds its loops with. A connection whose *backend.Dial is out of date is
// closed, and nothing that comes of it is looked at.
//
// A panic in a callback ends the connection it came from and nothing else.
type handler struct {
	gnet.BuiltinEventEngine
}

var (
	errPanic      = errors.New("internal error")
	errNoUnblock  = errors.New("the server does not know CLIENT UNBLOCK")
	errClosed     = errors.New("closed by Sluice")
	errSourceAway = errors.New("the source of the move is not available")
)

func (*handler) OnOpen(conn gnet.Conn) (out []byte, action gnet.Action) {
	switch peer := conn.Context().(type) {
	case *client:
		peer.loop.guard("client open", func() { peer.opened(conn) })
	case *backend.Dial:
		l := peer.Home().(*loop)
		l.begin()
		var b *backend.Conn
		ok := l.guard("backend open", func() {
			if b = peer.Opened(conn, l.now); b != nil {
				conn.SetContext(b)
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

func (*handler) OnTraffic(conn gnet.Conn) (action gnet.Action) {
	switch peer := conn.Context().(type) {
	case *client:
		l := peer.loop
		buf, _ := conn.Next(-1)
		if len(buf) == 0 || peer.closed {
			return gnet.None
		}
		l.begin()
		defer l.end()
		defer func() {
			if r := recover(); r != nil {
				l.panicked("client traffic", r)
				l.recoverLists()
				action = gnet.Close
			}
		}()
		peer.traffic(buf)
	case *backend.Conn:
		l := peer.Home().(*loop)
		buf, _ := conn.Next(-1)
		if len(buf) == 0 || peer.GnetConn() != conn {
			return gnet.None
		}
		l.begin()
		defer l.end()
		defer func() {
			if r := recover(); r != nil {
				l.panicked("backend traffic", r)
				l.abandon(peer)
				l.recoverLists()
				action = gnet.Close
			}
		}()
		if err := l.backendTraffic(peer, buf); err != nil {
			l.server.log.Warn("closing a backend connection", "backend", peer.Node.Addr, "err", err)
			peer.Node.Report(err)
			peer.Close(err)
			action = gnet.Close
		}
	}
	return action
}

func (*handler) OnClose(conn gnet.Conn, err error) gnet.Action {
	switch peer := conn.Context().(type) {
	case *client:
		peer.loop.guard("client close", func() {
			peer.onClose(err)
			peer.loop.schedule() // It may have said good-bye to a server.
		})
	case *backend.Conn:
		if peer.GnetConn() != conn {
			return gnet.None // Closed by Sluice itself, and done with.
		}
		l := peer.Home().(*loop)
		if err == nil {
			err = errClosed
		}
		ok := l.guard("backend close", func() {
			l.begin()
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
