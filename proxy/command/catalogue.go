package command

import (
	"slices"
	"strings"
)

// Catalogue is what COMMAND reports: the commands of the table but for the
// hidden ones, and the declared ones. The zero value is the table. Immutable once
// it is in use.
type Catalogue struct {
	Declared Declarations
	Hidden   map[string]bool // full names, in lower case
}

// Resolve is Resolve for a request that may be of a declared command.
func (c *Catalogue) Resolve(args [][]byte) *Command {
	if cmd := Resolve(args); cmd != nil || len(args) == 0 {
		return cmd
	}
	return c.Declared.Find(args[0])
}

// listed returns the top-level commands, those of the table first.
func (c *Catalogue) listed() []*Command {
	return append(c.visible(topLevel), c.declared()...)
}

// declared returns the declared commands in the order of their names.
func (c *Catalogue) declared() []*Command {
	list := make([]*Command, 0, len(c.Declared))
	for _, d := range c.Declared {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *Command) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// visible returns those of list that are not hidden. It may be list itself.
func (c *Catalogue) visible(list []*Command) []*Command {
	if len(c.Hidden) == 0 {
		return slices.Clip(list)
	}
	var out []*Command
	for _, cmd := range list {
		if !c.hides(cmd) {
			out = append(out, cmd)
		}
	}
	return out
}

// hides reports whether a command, or the container it is in, is hidden.
func (c *Catalogue) hides(cmd *Command) bool {
	return c.Hidden[cmd.Name] || cmd.Parent != nil && c.Hidden[cmd.Parent.Name]
}

// find is LookupFull in the catalogue.
func (c *Catalogue) find(name []byte) *Command {
	cmd := LookupFull(name)
	if cmd == nil {
		return c.Declared.Find(name)
	}
	if c.hides(cmd) {
		return nil
	}
	return cmd
}
