package command

import (
	"cmp"
	"slices"
)

// Count is the number of commands and subcommands, and so the length of an
// array indexed by Command.ID. A further list of commands adds its length here
// and its content in the line below.
const Count = len(redis72) + len(newer)

// commands is every command by ID. Immutable after construction.
var commands = build(redis72[:], newer[:])

// topLevel is the commands that are not subcommands, by ID.
var topLevel = selectTop(commands)

// At returns the command with this ID, which must be in [0, Count).
func At(id int) *Command { return commands[id] }

// build copies the lists, numbers the commands, derives what is derived and
// ties subcommands to their containers. It panics on a table that contradicts
// itself: that is a defect of the build, found by any test.
func build(lists ...[]Command) []*Command {
	var out []*Command
	byName := make(map[string]*Command)
	for _, list := range lists {
		for i := range list {
			c := list[i]
			c.ID = len(out)
			c.derive()
			if byName[c.Name] != nil {
				panic("BUG: command " + c.Name + " is listed twice")
			}
			byName[c.Name] = &c
			out = append(out, &c)
		}
	}
	for _, c := range out {
		container, _ := splitName(c.Name)
		if container == "" {
			continue
		}
		parent := byName[container]
		if parent == nil {
			panic("BUG: command " + c.Name + " has no container")
		}
		c.Parent = parent
		parent.Subcommands = append(parent.Subcommands, c)
	}
	for _, c := range out {
		slices.SortFunc(c.Subcommands, func(a, b *Command) int { return cmp.Compare(a.verb, b.verb) })
	}
	return out
}

func selectTop(all []*Command) []*Command {
	var out []*Command
	for _, c := range all {
		if c.Parent == nil {
			out = append(out, c)
		}
	}
	return out
}
