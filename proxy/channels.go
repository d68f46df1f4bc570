package proxy

// mayUseChannel reports whether the client may subscribe to a channel, or publish to it; with pattern, whether it may
// subscribe to everything that matches.
//
//nolint:unused // For commands whose channels are not all in their arguments, and for subscriptions that outlive a reload.
func (c *client) mayUseChannel(channel []byte, pattern bool) bool {
	return c.rights.MayUse(channel, pattern)
}
