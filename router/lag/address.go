package lag

import "net"

// isAt reports whether a member is who another node calls addr. Servers know each other by names of their own: an
// address instead of a name, another interface, what a host calls itself. The port is what both sides agree on. sure is
// false when only that speaks for it, and no other member has the port.
func (g *Group) isAt(m *member, addr string) (at, sure bool) {
	if m.addr == addr {
		return true, true
	}
	host, port, err := net.SplitHostPort(addr)
	ownHost, ownPort, ownErr := net.SplitHostPort(m.addr)
	if err != nil || ownErr != nil || port != ownPort {
		return false, false
	}
	if host == ownHost {
		return true, true
	}
	ip, own := net.ParseIP(host), net.ParseIP(m.sample.IP)
	if own == nil {
		own = net.ParseIP(ownHost)
	}
	switch {
	case ip != nil && ip.Equal(own):
		return true, true
	case ip != nil && own != nil && !ip.IsLoopback() && !own.IsLoopback():
		return false, false
	}
	return g.alone(m, port), false
}

// alone reports whether no other member has the port.
func (g *Group) alone(m *member, port string) bool {
	for _, o := range g.members() {
		if _, p, err := net.SplitHostPort(o.addr); o != m && (err != nil || p == port) {
			return false
		}
	}
	return true
}

// maybeAt is isAt where a mistake is harmless.
func (g *Group) maybeAt(m *member, addr string) bool {
	at, _ := g.isAt(m, addr)
	return at
}
