package command

import "math/bits"

// AppendDocs appends the reply of COMMAND DOCS with these full names; unknown
// ones are left out, and without a name it is every command. The map of a
// command has the fields the table knows. Summary, complexity, history and
// arguments are not among them: clients that read them must do without.
func (c *Catalogue) AppendDocs(dst []byte, names [][]byte, resp3 bool) []byte {
	list := c.listed()
	if len(names) > 0 {
		list = nil
		for _, name := range names {
			if cmd := c.find(name); cmd != nil {
				list = append(list, cmd)
			}
		}
	}
	e := encoder{out: dst, resp3: resp3, of: c}
	e.mapping(len(list))
	for _, cmd := range list {
		e.bulk(cmd.Name)
		e.docs(cmd)
	}
	return e.out
}

// docs appends the map of one command, its fields in Redis' order.
func (e *encoder) docs(c *Command) {
	texts := [...]struct{ name, value string }{
		{"deprecated_since", c.DeprecatedSince},
		{"replaced_by", c.ReplacedBy},
	}
	n := 3
	if c.DocFlags != 0 {
		n++
	}
	for i := range texts {
		if texts[i].value != "" {
			n++
		}
	}
	subs := e.of.visible(c.Subcommands)
	if len(subs) > 0 {
		n++
	}
	e.mapping(n)
	e.bulk("summary") // redis-cli prints "(null)" without one.
	e.bulk("A command of the group " + c.Group + ".")
	e.bulk("since")
	e.bulk(c.Since)
	e.bulk("group")
	e.bulk(c.Group)
	if c.DocFlags != 0 {
		e.bulk("doc_flags")
		e.docFlags(c.DocFlags)
	}
	for i := range texts {
		if texts[i].value != "" {
			e.bulk(texts[i].name)
			e.bulk(texts[i].value)
		}
	}
	if len(subs) == 0 {
		return
	}
	e.bulk("subcommands")
	e.mapping(len(subs))
	for _, sub := range subs {
		e.bulk(sub.Name)
		e.docs(sub)
	}
}

func (e *encoder) docFlags(set DocFlags) {
	e.set(bits.OnesCount8(uint8(set)))
	for i := range docFlagNames {
		if set&docFlagNames[i].flag != 0 {
			e.status("", docFlagNames[i].name)
		}
	}
}
