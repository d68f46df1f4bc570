package proxy

// fanKind says how the replies of all masters become one.
type fanKind uint8

// fanCommands go to every master, by full name. Immutable after construction.
var fanCommands = map[string]fanKind{}

// dispatchFanOut sends a command to every master.
func (c *client) dispatchFanOut(q request, _ fanKind) bool {
	c.reject(unsupported(q.cmd.Name))
	return true
}
