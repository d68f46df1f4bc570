package proxy

import (
	"sluice/proxy/acl"
	"sluice/proxy/pubsub"
)

// become gives the client the identity of a user, nil for the default user of a pool without users.
func (c *client) become(name string, u *User) {
	c.user = name
	c.setMode(modeUnauthenticated, false)
	c.wasKnown = true
	c.setRights(nil)
	if u != nil {
		c.setRights(u.Rights)
	}
	c.setReads()
}

// setRights puts the rights of the client's user into force.
func (c *client) setRights(r *acl.Rules) {
	c.rights = r
	c.setMode(modeRestricted, r != nil)
}

// renew is told that the settings of the pool have changed.
func (c *client) renew() {
	settings := c.pool.Settings()
	if c.settings == settings {
		return
	}
	c.settings = settings
	c.setReads()
	c.renewUser()
}

// renewUser gives the client what new settings say of its user, at once. A client whose user is gone is closed, as
// after ACL DELUSER, and one that is subscribed to more than it may be; so is one without a password when its pool
// begins to ask for one and has no default user.
func (c *client) renewUser() {
	users := c.pool.Settings().Users
	u := userNamed(users, c.user)
	switch {
	case len(users) == 0 && c.user == "default":
		c.become(c.user, nil) // Nobody has to say who he is any more.
	case c.is(modeUnauthenticated):
	case u == nil:
		c.loop.server.often.Info("closing a client whose user is gone", "client", c.id, "addr", c.addr, "user", c.user)
		c.close()
	default:
		c.setRights(u.Rights)
		c.recheckQueue()
		if c.hearsTooMuch() {
			c.loop.server.often.Info("closing a client that may not be subscribed any more", "client", c.id,
				"addr", c.addr, "user", c.user)
			c.close()
		}
	}
}

// hearsTooMuch reports whether the client is subscribed to something that its rights do not allow, or about to be.
func (c *client) hearsTooMuch() bool {
	for kind, name := range c.subscriptions.All() {
		if !c.rights.MayUse([]byte(name), kind == pubsub.Pattern) {
			return true
		}
	}
	return false
}

// recheckQueue ends a transaction of which the client may not run everything any more.
func (c *client) recheckQueue() {
	if !c.is(modeQueueing) || c.rights == nil {
		return
	}
	rest := c.tx.queue
	for _, size := range c.tx.sizes {
		args := splitRequest(rest[:size])
		rest = rest[size:]
		if cmd := c.pool.commands().Resolve(args); cmd == nil || c.rights.Check(cmd, args).Denied() {
			c.tx.aborted = true
			return
		}
	}
}
