package command

import "math/bits"

// AppendAll appends the reply of COMMAND.
func (c *Catalogue) AppendAll(dst []byte, resp3 bool) []byte {
	e := encoder{out: dst, resp3: resp3, of: c}
	list := c.listed()
	e.array(len(list))
	for _, cmd := range list {
		e.info(cmd)
	}
	return e.out
}

// AppendInfo appends the reply of COMMAND INFO with these full names, null for
// one that is unknown. Without a name it is the reply of COMMAND.
func (c *Catalogue) AppendInfo(dst []byte, names [][]byte, resp3 bool) []byte {
	if len(names) == 0 {
		return c.AppendAll(dst, resp3)
	}
	e := encoder{out: dst, resp3: resp3, of: c}
	e.array(len(names))
	for _, name := range names {
		cmd := c.find(name)
		if cmd == nil {
			e.null()
			continue
		}
		e.info(cmd)
	}
	return e.out
}

// AppendCount appends the reply of COMMAND COUNT, which counts no subcommands.
func (c *Catalogue) AppendCount(dst []byte) []byte {
	e := encoder{out: dst}
	e.integer(len(c.visible(topLevel)) + len(c.Declared))
	return e.out
}

// info appends the ten fields of one command.
func (e *encoder) info(c *Command) {
	e.array(10)
	e.bulk(c.Name)
	e.integer(c.Arity)
	e.flags(c.Flags)
	e.integer(c.FirstKey)
	e.integer(c.LastKey)
	e.integer(c.Step)
	e.categories(c.ACL)
	e.set(len(c.Tips))
	for _, tip := range c.Tips {
		e.bulk(tip)
	}
	e.set(len(c.Keys))
	for i := range c.Keys {
		e.keySpec(&c.Keys[i])
	}
	subs := e.of.visible(c.Subcommands)
	if len(subs) == 0 {
		e.set(0)
		return
	}
	e.array(len(subs))
	for _, sub := range subs {
		e.info(sub)
	}
}

func (e *encoder) flags(f Flags) {
	n := 0
	for i := range flagNames {
		if f&flagNames[i].flag != 0 {
			n++
		}
	}
	e.set(n)
	for i := range flagNames {
		if f&flagNames[i].flag != 0 {
			e.status("", flagNames[i].name)
		}
	}
}

func (e *encoder) categories(set Categories) {
	e.set(bits.OnesCount32(uint32(set)))
	for i, name := range categoryNames {
		if set&(1<<i) != 0 {
			e.status("@", name)
		}
	}
}

func (e *encoder) keyFlags(set KeyFlags) {
	e.set(bits.OnesCount16(uint16(set)))
	for i, name := range keyFlagNames {
		if set&(1<<i) != 0 {
			e.status("", name)
		}
	}
}

// keySpec appends one spec. Redis adds "notes" to a few, a sentence for the
// reader; they are not part of the table.
func (e *encoder) keySpec(s *KeySpec) {
	e.mapping(3)
	e.bulk("flags")
	e.keyFlags(s.Flags)
	e.bulk("begin_search")
	e.begin(&s.Begin)
	e.bulk("find_keys")
	e.find(&s.Find)
}

func (e *encoder) begin(b *Begin) {
	switch b.Kind {
	case BeginUnknown:
		e.step("unknown", 0)
	case BeginIndex:
		e.step("index", 1)
		e.field("index", b.Pos)
	case BeginKeyword:
		e.step("keyword", 2)
		e.bulk("keyword")
		e.bulk(b.Keyword)
		e.field("startfrom", b.Pos)
	}
}

func (e *encoder) find(f *Find) {
	switch f.Kind {
	case FindUnknown:
		e.step("unknown", 0)
	case FindRange:
		e.step("range", 3)
		e.field("lastkey", f.Last)
		e.field("keystep", f.Step)
		e.field("limit", f.Limit)
	case FindKeyNum:
		e.step("keynum", 3)
		e.field("keynumidx", f.NumAt)
		e.field("firstkey", f.First)
		e.field("keystep", f.Step)
	}
}

// step opens one step of a key spec: its type, and a map of n fields that the
// caller appends.
func (e *encoder) step(kind string, n int) {
	e.mapping(2)
	e.bulk("type")
	e.bulk(kind)
	e.bulk("spec")
	e.mapping(n)
}

func (e *encoder) field(name string, n int) {
	e.bulk(name)
	e.integer(n)
}
