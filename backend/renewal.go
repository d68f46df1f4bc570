package backend

// Shared connections that have to be replaced: they lead to another process than the one that is proven (Conn.Stray),
// or are old. One on which something is in flight is left alone until that is answered, and what is sent meanwhile
// waits on the connection that takes its place. So no request is lost, run twice or overtaken.
//
//	up --Retire--> retiring, with a successor that is not dialled yet
//	     |            | answered, or given up like any connection
//	     \- idle -----+--> closed; the successor dials, and looks the name up

// Retire replaces a shared connection as soon as nothing is in flight on it.
func (s *ConnSet) Retire(c *Conn) {
	if c.Closed() {
		return
	}
	c.retiring = true
	next := s.to(c.Node, c.Kind, c.Proto, c.DB)
	if c.Waiting() {
		return
	}
	s.renewals++
	s.Close(c, ErrClosed)
	if c.Node.Wanted() {
		next.Connect()
	}
}

// Renewals is how many connections Retire has replaced.
func (s *ConnSet) Renewals() uint64 { return s.renewals }

// LeaveStrays replaces the connections to a node whose address leads to another process than they do: its name was
// moved, or the server was restarted. One that a client has, or that moves keys, is left to whoever uses it.
func (s *ConnSet) LeaveStrays(node *Node) {
	for c := range s.All() {
		if c.Node != node || !c.Stray() {
			continue
		}
		switch {
		case c.Kind.shared():
			s.Retire(c)
		case c.Kind == Subscription || c.idle(): // A hub dials again.
			s.Close(c, ErrClosed)
		}
	}
}
