package command

import (
	"slices"
	"strings"
)

// Declaration states a command that is not in the table: one of a module, or of
// a server of another family.
type Declaration struct {
	Name  string    // in lower case
	Arity int       // as in Command; raised if it does not reach the first key
	Keys  []KeySpec // at most MaxKeySpecs, see KeysAt and KeysCounted; Flags of 0 follow from Write
	Write bool      // it may change what it is used on
	ACL   Categories
	// Masters says where a command without keys goes.
	Masters Masters
	Learned bool // from a server, and nobody has said that it is all it does
}

// Masters says to which masters of a pool a command without keys goes.
type Masters uint8

// The places of commands without keys.
const (
	AnyMaster  Masters = iota // one of them, always the same
	AllMasters                // each, and all have to answer the same
	OnlyMaster                // the one of a pool that has no other
)

// KeysAt is the key spec of what COMMAND reports as first key, last key and step.
func KeysAt(first, last, step int) []KeySpec {
	if last >= 0 {
		last -= first // a spec counts from the first key
	}
	return []KeySpec{{Begin: Begin{Kind: BeginIndex, Pos: first}, Find: Find{Kind: FindRange, Last: last, Step: max(step, 1)}}}
}

// KeysCounted is the key spec of a command that has the number of its keys at a
// position, and the keys behind it.
func KeysCounted(at int) []KeySpec {
	return []KeySpec{{Begin: Begin{Kind: BeginIndex, Pos: at}, Find: Find{Kind: FindKeyNum, First: 1, Step: 1}}}
}

// Equal reports whether both state the same.
func (d *Declaration) Equal(other *Declaration) bool {
	return d.Name == other.Name && d.Arity == other.Arity && slices.Equal(d.Keys, other.Keys) &&
		d.Write == other.Write && d.ACL == other.ACL && d.Masters == other.Masters && d.Learned == other.Learned
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

// LongestDeclared bounds the names of declared commands.
const LongestDeclared = 64

// Find returns the command with this name in any case, or nil. The name is read
// only during the call; nothing is allocated.
func (d Declarations) Find(name []byte) *Command {
	if len(d) == 0 || len(name) > LongestDeclared {
		return nil
	}
	var buf [LongestDeclared]byte
	for i, b := range name {
		buf[i] = lower(b)
	}
	return d[string(buf[:len(name)])]
}

// Declare makes a command of a declaration. It is not in the table: the caller
// keeps it and asks for it where Lookup finds nothing.
func Declare(d Declaration) *Command {
	c := &Command{Name: d.Name, Group: "module", Arity: d.Arity, ID: Declared, Flags: ReadOnly, ACL: d.ACL, Masters: d.Masters, Learned: d.Learned}
	use := KeyRO | KeyAccess
	if d.Write {
		// Less than everything can't be ruled out, so OOM is the server's to say.
		c.Flags, use = Write, KeyRW|KeyAccess|KeyUpdate|KeyInsert|KeyDelete
	}
	if d.ACL&ACLFast != 0 {
		c.Flags |= Fast
	}
	c.Keys = slices.Clone(d.Keys)
	for i := range c.Keys {
		spec := &c.Keys[i]
		if spec.Flags == 0 {
			spec.Flags = use
		}
		// With fewer arguments the command could not be routed.
		if first := spec.Begin.Pos; spec.Begin.Kind == BeginIndex && !c.reaches(first) {
			c.Arity = -(first + 1)
		}
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
