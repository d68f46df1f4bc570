package command

// AppendGetKeys appends the reply of COMMAND GETKEYS. args is the invocation
// asked about, command name first.
func (c *Catalogue) AppendGetKeys(dst []byte, args [][]byte) []byte {
	e := encoder{out: dst, of: c}
	e.getKeys(args, false)
	return e.out
}

// AppendGetKeysAndFlags appends the reply of COMMAND GETKEYSANDFLAGS. args is
// the invocation asked about, command name first.
func (c *Catalogue) AppendGetKeysAndFlags(dst []byte, args [][]byte, resp3 bool) []byte {
	e := encoder{out: dst, resp3: resp3, of: c}
	e.getKeys(args, true)
	return e.out
}

func (e *encoder) getKeys(args [][]byte, withFlags bool) {
	c := Resolve(args)
	if c == nil && len(args) > 0 {
		c = e.of.Declared.Find(args[0])
	}
	if c == nil {
		e.fail("Invalid command specified")
		return
	}
	var found runs
	if err := c.explain(args, &found); err != nil {
		e.fail(err.Error())
		return
	}
	e.array(found.total())
	for _, r := range found.at[:found.n] {
		for j := range r.count {
			if withFlags {
				e.array(2)
			}
			e.bulkBytes(args[r.first+j*r.step])
			if withFlags {
				e.keyFlags(r.flags)
			}
		}
	}
}
