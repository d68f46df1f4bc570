package command

// listFilter decides whether COMMAND LIST names a command.
type listFilter func(*Command) bool

// AppendList appends the reply of COMMAND LIST. args is what follows LIST:
// nothing, or FILTERBY with ACLCAT, MODULE or PATTERN and a value; anything
// else is answered with a syntax error. The list has subcommands too.
func (c *Catalogue) AppendList(dst []byte, args [][]byte) []byte {
	e := encoder{out: dst}
	keep, ok := parseFilter(args)
	if !ok {
		e.fail("syntax error")
		return e.out
	}
	var names []string
	for _, cmd := range append(c.visible(commands), c.declared()...) {
		if keep(cmd) {
			names = append(names, cmd.Name)
		}
	}
	e.array(len(names))
	for _, name := range names {
		e.bulk(name)
	}
	return e.out
}

// parseFilter reads the arguments of COMMAND LIST. An unknown category and any
// module are valid and match nothing.
func parseFilter(args [][]byte) (listFilter, bool) {
	if len(args) == 0 {
		return func(*Command) bool { return true }, true
	}
	if len(args) != 3 || !equalFoldText(args[0], "filterby") {
		return nil, false
	}
	value := args[2]
	switch {
	case equalFoldText(args[1], "aclcat"):
		set := CategoryByName(value)
		return func(c *Command) bool { return c.ACL&set != 0 }, true
	case equalFoldText(args[1], "pattern"):
		return func(c *Command) bool { return MatchName(value, c.Name) }, true
	case equalFoldText(args[1], "module"):
		return func(*Command) bool { return false }, true
	}
	return nil, false
}
