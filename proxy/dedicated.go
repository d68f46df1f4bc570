package proxy

import (
	"errors"
	"fmt"

	"sluice/backend"
)

// lease finds or makes a dedicated connection to node for one client, or says why there is none: a refusal is the
// answer, and away is why the server took no connection at the last dial, with the next one not due yet, or that other
// loops give connections back first.
func (l *loop) lease(node *backend.Node, proto, db int) (b *backend.Conn, refusal string, away error) {
	b, away = l.conns.Lease(node, proto, db, l.now)
	switch {
	case errors.Is(away, backend.ErrAllTaken):
		return nil, fmt.Sprintf("ERR %d connections to backend %s are taken by WATCH and blocking commands, see max_dedicated",
			node.MaxDedicated(), node.Addr), nil
	case errors.Is(away, backend.ErrNoRoom):
		l.askForRoom(node)
	}
	return b, "", away
}

// askForRoom has the other loops close a free connection to node.
func (l *loop) askForRoom(node *backend.Node) {
	for _, other := range l.server.loops {
		if other != l {
			other.execute(func() { other.conns.MakeRoom(node) })
		}
	}
}
