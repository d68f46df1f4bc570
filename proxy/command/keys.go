package command

// keyError is a reason not to have found keys, worded as COMMAND GETKEYS words
// it after "ERR ".
type keyError string

// Error returns the words of COMMAND GETKEYS.
func (e keyError) Error() string { return string(e) }

// The reasons AppendKeys gives. They are comparable with ==.
var (
	// ErrNoKeys is returned for a command that never has keys.
	ErrNoKeys error = keyError("The command has no key arguments")
	// ErrKeyArity is returned when the number of arguments is wrong.
	ErrKeyArity error = keyError("Invalid number of arguments specified for command")
	// ErrKeyArguments is returned when the arguments do not say which keys:
	// a count that is no number, is 0 or points past the end.
	ErrKeyArguments error = keyError("Invalid arguments specified for command")
)

// AppendKeys appends to dst the positions in args of all keys, in the order of
// the key specs, and returns it; on an error it returns dst as it was. args[0]
// is the command name, and args[1] the subcommand when c is one. A script
// called with no key is no error and yields nothing.
//
// The result is what the server will access, which is what COMMAND GETKEYS
// says but for the cases finder.go describes. args is read only during the
// call; with capacity in dst nothing is allocated.
func (c *Command) AppendKeys(dst []int, args [][]byte) ([]int, error) {
	if c.KeyAt != 0 && c.ArityOK(len(args)) {
		return append(dst, c.KeyAt), nil
	}
	var found runs
	if err := c.route(args, &found); err != nil {
		return dst, err
	}
	for i := range found.at[:found.n] {
		r := &found.at[i]
		for j := range r.count {
			dst = append(dst, r.first+j*r.step)
		}
	}
	return dst, nil
}

// FirstKeyIndex returns the position in args of a key to route by, the first
// one of the key specs, or 0 when there is none. For a command that keeps its
// first key at a fixed place it is that place, whatever the other arguments
// are; the server refuses what is wrong with them.
func (c *Command) FirstKeyIndex(args [][]byte) int {
	if c.firstAt != 0 {
		if c.firstAt < len(args) {
			return c.firstAt
		}
		return 0
	}
	if !c.hasKeys {
		return 0
	}
	var found runs
	if err := c.route(args, &found); err != nil || found.n == 0 {
		return 0
	}
	return found.at[0].first
}

// route finds the keys the server will access.
func (c *Command) route(args [][]byte, out *runs) error {
	if err := c.refuse(args); err != nil {
		return err
	}
	if c.finder.walksFirst() {
		if c.finder.find(args, out); out.n > 0 {
			return nil
		}
	}
	if c.finder == noFinder {
		// Without a finder to fall back on, what some specs found counts:
		// PFMERGE with a destination alone is valid and has that key.
		c.bySpecs(args, out)
		return c.missing(out)
	}
	c.locate(args, out)
	return c.missing(out)
}

// explain finds the keys COMMAND GETKEYS reports.
func (c *Command) explain(args [][]byte, out *runs) error {
	if err := c.refuse(args); err != nil {
		return err
	}
	c.locate(args, out)
	return c.missing(out)
}

// refuse returns the error of an invocation not worth a look.
func (c *Command) refuse(args [][]byte) error {
	if !c.hasKeys {
		return ErrNoKeys
	}
	if !c.ArityOK(len(args)) {
		return ErrKeyArity
	}
	return nil
}

// locate asks the specs, and the finder when they do not settle it or cannot
// tell the flags.
func (c *Command) locate(args [][]byte, out *runs) {
	if !c.variable && c.bySpecs(args, out) {
		return
	}
	out.n = 0
	c.finder.find(args, out)
}

// missing returns the error of an invocation that should have had keys.
func (c *Command) missing(found *runs) error {
	if found.n == 0 && !c.Is(NoMandatoryKeys) {
		return ErrKeyArguments
	}
	return nil
}
