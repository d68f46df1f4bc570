package command

// A key spec is Redis' declarative answer to "where are the keys". It works in
// two steps over the arguments of one invocation (argument 0 is the command):
//
//	begin search     a fixed index, or the argument after a keyword that is
//	                 looked for from the left (Pos > 0) or right (Pos < 0)
//	find keys        a range: every Step-th argument up to Last, where Last
//	                 counts from the beginning or, negative, from the end
//	                 (a Limit of 2 takes the first half of what is left)
//	                 or a count: an argument says how many keys follow,
//	                 Step apart
//
// What a spec finds is always an arithmetic run of positions, so a command of
// n specs yields at most n runs and never a list: runs is a value, and
// thousands of keys cost nothing until somebody asks for each of them.
//
// Specs fail on purpose: some are "unknown" (SORT ... STORE may be anywhere),
// some are marked incomplete (MIGRATE ... KEYS), and a count may not be a
// number or point past the end. One failed spec voids the result of all of
// them, and the finder of the command, if it has one, decides instead.

// KeySpec says where some keys of a command are and what is done to them.
type KeySpec struct {
	Flags KeyFlags
	Begin Begin
	Find  Find
}

// KeyFlags says how a command treats a key.
type KeyFlags uint16

// The key flags. The first four exclude each other.
const (
	KeyRO            KeyFlags = 1 << iota // reads the value
	KeyRW                                 // changes the value
	KeyOW                                 // replaces the value
	KeyRM                                 // removes the key
	KeyAccess                             // the user's data reaches the reply or another key
	KeyUpdate                             // existing data may change
	KeyInsert                             // data is only added
	KeyDelete                             // data is deleted
	KeyNotKey                             // a shard channel, routed like a key
	KeyIncomplete                         // the spec may miss keys
	KeyVariableFlags                      // the flags depend on the other arguments
)

// keyFlagNames is ordered as COMMAND reports the set: by bit.
var keyFlagNames = [...]string{
	"RO", "RW", "OW", "RM", "access", "update", "insert", "delete",
	"not_key", "incomplete", "variable_flags",
}

// BeginKind selects how the first step works.
type BeginKind uint8

// The kinds of the first step.
const (
	BeginUnknown BeginKind = iota
	BeginIndex
	BeginKeyword
)

// Begin is the first step. Pos is the index of BeginIndex, or the argument
// BeginKeyword starts to look from.
type Begin struct {
	Kind    BeginKind
	Pos     int
	Keyword string
}

// FindKind selects how the second step works.
type FindKind uint8

// The kinds of the second step.
const (
	FindUnknown FindKind = iota
	FindRange
	FindKeyNum
)

// Find is the second step. Last and Limit belong to FindRange, NumAt and First
// to FindKeyNum; all are relative to where the first step ended.
type Find struct {
	Kind  FindKind
	Last  int
	Limit int
	NumAt int
	First int
	Step  int
}

// run is an arithmetic run of key positions.
type run struct {
	first, count, step int

	flags KeyFlags
}

// MaxKeySpecs is the most that a command has: SORT and GEORADIUS have three. Declare
// and the table panic when a command has more.
const MaxKeySpecs = 3

// maxRuns is the most a command yields.
const maxRuns = MaxKeySpecs

// runs is what one invocation yields. It is filled through a pointer, down to
// the last helper: copying it costs more than finding the keys.
type runs struct {
	at [maxRuns]run
	n  int
}

func (r *runs) add(one run) {
	r.at[r.n] = one
	r.n++
}

// total returns the number of keys.
func (r *runs) total() int {
	sum := 0
	for i := range r.at[:r.n] {
		sum += r.at[i].count
	}
	return sum
}

// start returns the position where the first step ends. found is false when
// the keyword is not there, ok is false when the spec says nothing.
func (b *Begin) start(args [][]byte) (pos int, found, ok bool) {
	switch b.Kind {
	case BeginIndex:
		return b.Pos, true, true
	case BeginKeyword:
		if i := b.search(args); i > 0 {
			return i + 1, true, true
		}
		return 0, false, true
	case BeginUnknown:
		return 0, false, false
	}
	panic("BUG: begin search of unknown kind")
}

// search returns the position of the keyword, 0 when it is not there. The last
// argument is no keyword, since nothing follows it.
func (b *Begin) search(args [][]byte) int {
	if b.Pos > 0 {
		for i := b.Pos; i < len(args)-1; i++ {
			if equalFoldText(args[i], b.Keyword) {
				return i
			}
		}
		return 0
	}
	for i := min(len(args)-2, len(args)+b.Pos); i > 1; i-- {
		if equalFoldText(args[i], b.Keyword) {
			return i
		}
	}
	return 0
}

// locate applies the second step from pos on. It reports false when the
// arguments do not fit the spec.
func (f *Find) locate(pos int, args [][]byte) (run, bool) {
	var last int
	switch f.Kind {
	case FindRange:
		switch {
		case f.Last >= 0:
			last = pos + f.Last
		case f.Limit == 0:
			last = len(args) + f.Last
		default:
			last = pos + (len(args)-pos)/f.Limit + f.Last
		}
	case FindKeyNum:
		if pos+f.NumAt >= len(args) {
			return run{}, false
		}
		n, ok := parseCount(args[pos+f.NumAt])
		if !ok || n < 0 || f.Step > 1 && n > int64(len(args)) {
			return run{}, false
		}
		pos += f.First
		// Redis 7.2 keeps the count in a C int. It has no step but 1 here; with
		// another one the count is within the arguments, so nothing overflows.
		last = pos + (int(int32(n))-1)*f.Step
	case FindUnknown:
		return run{}, false
	}
	if pos >= len(args) || last < pos || last >= len(args) {
		return run{}, false
	}
	return run{first: pos, count: (last-pos)/f.Step + 1, step: f.Step}, true
}

// bySpecs adds what the key specs of c find. It reports false when one of them
// fails; what the others found is added all the same.
func (c *Command) bySpecs(args [][]byte, out *runs) bool {
	settled := true
	for i := range c.Keys {
		spec := &c.Keys[i]
		if spec.Flags&KeyNotKey != 0 {
			continue
		}
		pos, found, ok := spec.Begin.start(args)
		if ok && !found {
			continue
		}
		var one run
		if ok {
			one, ok = spec.Find.locate(pos, args)
		}
		if !ok || spec.Flags&KeyIncomplete != 0 {
			settled = false
			continue
		}
		one.flags = spec.Flags
		out.add(one)
	}
	return settled
}
