package command

// KeyRef is a key of an invocation and what is done to it.
type KeyRef struct {
	At    int // its position in the arguments
	Flags KeyFlags
}

// unknownUse is taken for a key whose use could not be told: rights that allow
// everything allow it.
const unknownUse = KeyRW | KeyAccess | KeyUpdate

// AppendKeyRefs is AppendKeys with what the command does to each key. The flags
// are those the server goes by for this invocation: SET reads its key only with
// GET. Where a search by hand can't tell, they are those of reading and changing.
func (c *Command) AppendKeyRefs(dst []KeyRef, args [][]byte) ([]KeyRef, error) {
	var found runs
	if err := c.route(args, &found); err != nil {
		return dst, err
	}
	for i := range found.at[:found.n] {
		r := &found.at[i]
		flags := r.flags
		if flags == 0 {
			flags = unknownUse
		}
		for j := range r.count {
			dst = append(dst, KeyRef{At: r.first + j*r.step, Flags: flags})
		}
	}
	return dst, nil
}

// AppendChannels appends the positions in args of the channels that the command
// publishes to or subscribes to, and reports whether they are patterns. For
// commands that have none, those that end subscriptions too, it appends nothing.
func (c *Command) AppendChannels(dst []int, args [][]byte) (found []int, patterns bool) {
	switch c.Name {
	case "publish", "spublish":
		if len(args) > 1 {
			dst = append(dst, 1)
		}
	case "subscribe", "ssubscribe", "psubscribe":
		for i := 1; i < len(args); i++ {
			dst = append(dst, i)
		}
		return dst, c.Name == "psubscribe"
	}
	return dst, false
}
