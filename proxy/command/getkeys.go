package command

// AppendGetKeys appends the reply of COMMAND GETKEYS. args is the invocation
// asked about, command name first.
func AppendGetKeys(dst []byte, args [][]byte, more Declarations) []byte {
	e := encoder{out: dst}
	e.getKeys(args, more, false)
	return e.out
}

// AppendGetKeysAndFlags appends the reply of COMMAND GETKEYSANDFLAGS. args is
// the invocation asked about, command name first.
func AppendGetKeysAndFlags(dst []byte, args [][]byte, more Declarations, resp3 bool) []byte {
	e := encoder{out: dst, resp3: resp3}
	e.getKeys(args, more, true)
	return e.out
}

func (e *encoder) getKeys(args [][]byte, more Declarations, withFlags bool) {
	c := Resolve(args)
	if c == nil && len(args) > 0 {
		c = more.Find(args[0])
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
