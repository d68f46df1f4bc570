package command

import "strings"

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
