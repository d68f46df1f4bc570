package proxy

// modes are what makes a client's requests need a closer look. The requests of a client without any take the short way
// through dispatch: that one comparison is all that modes cost them. Owned by the client's event loop.
type modes uint8

const (
	modeUnauthenticated modes = 1 << iota // it has to authenticate first
	modeQueueing                          // between MULTI and EXEC
	modeSubscribed                        // RESP2 and subscribed to something: few commands are allowed
	modeRestricted                        // its user may not do everything
	modeMuted                             // CLIENT REPLY OFF or SKIP
	modeObserved                          // somebody runs MONITOR
	modePaused                            // somebody has paused the clients of its pool
	modeUncached                          // the last command was a CLIENT CACHING that was refused
)

// is reports whether the client is in any of the modes.
func (c *client) is(m modes) bool { return c.mode&m != 0 }

// setMode switches modes on or off.
func (c *client) setMode(m modes, on bool) {
	if on {
		c.mode |= m
		return
	}
	c.mode &^= m
}
