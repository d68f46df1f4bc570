package command

import (
	"slices"
	"strings"
)

// Declaration states a command that is not in the table: one of a module, or of
// a server of another family.
type Declaration struct {
	Name  string // in lower case
	Arity int    // as in Command; raised if it does not reach the first key

	// FirstKey, LastKey and KeyStep are as COMMAND reports them; without a first
	// key the command has none, unless KeyNumAt is set.
	FirstKey int
	LastKey  int
	KeyStep  int
	// KeyNumAt, when it is not 0, is the position of an argument that says how
	// many keys follow it.
	KeyNumAt int

	Write bool // it may change what it is used on
}

// Declared is the ID of every declared command. It is one past those of the
// table, so arrays by ID that are to count them have Count+1 elements.
const Declared = Count

// NameOf returns the name for counters by ID: that of a command of the table, or
// one for all declared ones.
func NameOf(id int) string {
	if id == Declared {
		return "declared"
	}
	return commands[id].Name
}

// Declarations are declared commands by name in lower case. Immutable once they
// are in use; nil is none.
type Declarations map[string]*Command

// longestDeclared bounds the names of declared commands.
const longestDeclared = 64

// Find returns the command with this name in any case, or nil. The name is read
// only during the call; nothing is allocated.
func (d Declarations) Find(name []byte) *Command {
	if len(d) == 0 || len(name) > longestDeclared {
		return nil
	}
	var buf [longestDeclared]byte
	for i, b := range name {
		buf[i] = lower(b)
	}
	return d[string(buf[:len(name)])]
}

// sorted returns them in the order of their names.
func (d Declarations) sorted() []*Command {
	list := make([]*Command, 0, len(d))
	for _, c := range d {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Command) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// lookupFull is LookupFull with them.
func (d Declarations) lookupFull(name []byte) *Command {
	if c := LookupFull(name); c != nil {
		return c
	}
	return d.Find(name)
}

// Declare makes a command of a declaration. It is not in the table: the caller
// keeps it and asks for it where Lookup finds nothing.
func Declare(d Declaration) *Command {
	c := &Command{Name: d.Name, Group: "module", Arity: d.Arity, ID: Declared, Flags: ReadOnly}
	use := KeyRO | KeyAccess
	if d.Write {
		// Less than everything can't be ruled out, so OOM is the server's to say.
		c.Flags, use = Write, KeyRW|KeyAccess|KeyUpdate|KeyInsert|KeyDelete
	}
	switch {
	case d.KeyNumAt > 0:
		c.Keys = []KeySpec{{
			Flags: use, Begin: Begin{Kind: BeginIndex, Pos: d.KeyNumAt},
			Find: Find{Kind: FindKeyNum, First: 1, Step: 1},
		}}
	case d.FirstKey > 0:
		last := d.LastKey
		if last >= 0 {
			last -= d.FirstKey // a spec counts from the first key
		}
		c.Keys = []KeySpec{{
			Flags: use, Begin: Begin{Kind: BeginIndex, Pos: d.FirstKey},
			Find: Find{Kind: FindRange, Last: last, Step: max(d.KeyStep, 1)},
		}}
	}
	if first := max(d.FirstKey, d.KeyNumAt); !c.reaches(first) {
		c.Arity = -(first + 1) // with fewer arguments it could not be routed
	}
	c.derive()
	return c
}

// reaches reports whether every invocation of the right arity has an argument at
// this position.
func (c *Command) reaches(at int) bool {
	if c.Arity > 0 {
		return at < c.Arity
	}
	return at < -c.Arity
}

// Internal reports whether a name, in lower case, is one by which servers and
// dashboards move slots, of any family. No client may use these: they would
// interfere with whoever moves slots, and some of them end a Pika (SLOTSSCAN with a
// slot that is no number, SLOTSMGRT-EXEC-WRAPPER and SLOTSMGRTTAGSLOT-ASYNC without
// arguments).
func Internal(name string) bool {
	for _, prefix := range []string{"slots", "dflycluster", "dflymigrate", "clusterx"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
