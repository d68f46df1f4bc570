package backend

import "slices"

// Migration connections lead to the source of a moving slot and carry one SLOTSMGRTTAGONE at a time. That may take as
// long as the target lets it wait: on the shared connection everything behind it would wait too, and as many of them at
// once as the source has threads would stop the source (Pika 4.0.1, thread-pool-size). So there are few migration
// connections per source, and who finds none free waits, in a queue that is the loop's.

// Migration finds or makes a migration connection to node on which nothing is in flight, for a database; nil when there
// is none and there are limit of them on this loop already.
func (s *ConnSet) Migration(node *Node, db, limit int) *Conn {
	conns := slices.DeleteFunc(s.migration[node], (*Conn).Closed)
	s.migration[node] = conns
	var other *Conn // free, but in another database
	for _, c := range conns {
		switch {
		case c.Waiting():
		case c.DB == db:
			return c
		default:
			other = c
		}
	}
	if len(conns) >= limit {
		if other == nil {
			return nil
		}
		s.Close(other, ErrClosed)
		conns = slices.DeleteFunc(conns, (*Conn).Closed)
	}
	c := s.newConn(node, Migration, 2, db)
	s.migration[node] = append(conns, c)
	return c
}

// MigrationRoom is how many of those who wait for a migration connection to node may ask for one now: as many as are
// free, and as were closed since the last look. Where there is none one may: it makes one, and the others follow it.
func (s *ConnSet) MigrationRoom(node *Node) int {
	conns := s.migration[node]
	if len(conns) == 0 {
		return 1
	}
	room := 0
	for _, c := range conns {
		if c.Closed() || !c.Waiting() {
			room++
		}
	}
	return room
}
