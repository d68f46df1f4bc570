package command

// Finders are the hand-written answers for commands whose specs do not settle
// where the keys are. Each reads the options the way the command itself does:
// it steps over the values of options it knows, so a value that happens to
// look like a keyword is not taken for one.
//
// Two callers ask, in opposite order:
//
//	COMMAND GETKEYS     specs first, the finder when they fail
//	routing             for the commands of walksFirst the finder first
//
// The order matters where a spec is well formed and still wrong. The spec of
// XREADGROUP takes the first "streams" from argument 4 on, which in
//
//	XREADGROUP COUNT 1 GROUP g streams STREAMS k >
//
// is the name of the consumer: GETKEYS answers "STREAMS", and the server reads
// k. GEORADIUS ... STORE storedist DESC fails alike. A proxy that routed by the
// answer of GETKEYS would send these to the wrong place. In one more case the
// two part: PFMERGE with a destination alone is valid, but GETKEYS finds no
// sources and reports an error; routing takes what the specs did find.

// finder names the hand-written search of a command. A code and not a function
// value: a call through a value would make the arguments escape.
type finder uint8

const (
	noFinder      finder = iota
	findCounted1         // numkeys at 1, keys from 2
	findCounted2         // numkeys at 2, keys from 3
	findStored           // destination at 1, numkeys at 2, keys from 3
	findSort             // key at 1, STORE anywhere
	findSortRO           // key at 1; BY and GET patterns are not keys
	findGeoRadius        // key at 1, the last STORE or STOREDIST
	findStreams          // STREAMS key... id...
	findMigrate          // key at 3, or KEYS key...
	findSet              // key at 1, flags by GET and the conditions
	findDelEx            // key at 1, flags by the condition
	findBitField         // key at 1, flags by the operations
)

// finders is by full name. A command whose specs can fail and that is not
// listed has no keys then.
var finders = map[string]finder{
	"bitfield":          findBitField,
	"blmpop":            findCounted2,
	"bzmpop":            findCounted2,
	"delex":             findDelEx,
	"eval":              findCounted2,
	"eval_ro":           findCounted2,
	"evalsha":           findCounted2,
	"evalsha_ro":        findCounted2,
	"fcall":             findCounted2,
	"fcall_ro":          findCounted2,
	"georadius":         findGeoRadius,
	"georadiusbymember": findGeoRadius,
	"lmpop":             findCounted1,
	"migrate":           findMigrate,
	"sdiffcard":         findCounted1,
	"set":               findSet,
	"sintercard":        findCounted1,
	"sort":              findSort,
	"sort_ro":           findSortRO,
	"sunioncard":        findCounted1,
	"xread":             findStreams,
	"xreadgroup":        findStreams,
	"zdiff":             findCounted1,
	"zdiffstore":        findStored,
	"zinter":            findCounted1,
	"zintercard":        findCounted1,
	"zinterstore":       findStored,
	"zmpop":             findCounted1,
	"zunion":            findCounted1,
	"zunionstore":       findStored,
}

// walksFirst reports whether routing believes the finder before the specs.
func (f finder) walksFirst() bool { return f == findStreams || f == findGeoRadius }

// find adds what the finder finds. The arity has been checked, so the fixed
// arguments are there.
func (f finder) find(args [][]byte, out *runs) {
	switch f {
	case noFinder:
	case findCounted1:
		out.addCounted(args, 1, 0)
	case findCounted2:
		out.addCounted(args, 2, 0)
	case findStored:
		out.addCounted(args, 2, 1)
	case findSort:
		out.addOne(1, KeyRO|KeyAccess)
		out.addOne(sortStore(args), KeyOW|KeyUpdate)
	case findSortRO:
		out.addOne(1, KeyRO|KeyAccess)
	case findGeoRadius:
		out.addOne(1, KeyRO|KeyAccess)
		out.addOne(geoRadiusStore(args), KeyOW|KeyUpdate)
	case findStreams:
		out.addStreams(args)
	case findMigrate:
		out.addMigrated(args)
	case findSet:
		out.addOne(1, setFlags(args))
	case findDelEx:
		out.addOne(1, delExFlags(args))
	case findBitField:
		out.addOne(1, bitFieldFlags(args))
	}
}

// addOne adds a single key unless pos is 0.
func (r *runs) addOne(pos int, flags KeyFlags) {
	if pos > 0 {
		r.add(run{first: pos, count: 1, step: 1, flags: flags})
	}
}

// addCounted reads numkeys and adds as many keys after it; storeAt, when not 0,
// is a destination that Redis lists last. Flags come from the specs alone.
func (r *runs) addCounted(args [][]byte, numAt, storeAt int) {
	first := numAt + 1
	n := looseCount(args[numAt])
	if n < 1 || n > len(args)-first {
		return
	}
	r.add(run{first: first, count: n, step: 1})
	r.addOne(storeAt, 0)
}

// sortStore returns the position of the last STORE's value, as SORT does, or
// 0. What BY and GET name are patterns: the keys they expand to depend on the
// data and are in no argument.
func sortStore(args [][]byte) int {
	store := 0
	for i := 2; i < len(args); i++ {
		switch {
		case equalFoldText(args[i], "limit"):
			i += 2
		case equalFoldText(args[i], "get"), equalFoldText(args[i], "by"):
			i++
		case equalFoldText(args[i], "store") && i+1 < len(args):
			store = i + 1 // the value is looked at again, as Redis does
		}
	}
	return store
}

// geoRadiusStore returns the position of the last destination, or 0: the
// command overwrites the one it has when STORE and STOREDIST are both given.
func geoRadiusStore(args [][]byte) int {
	store := 0
	for i := 5; i+1 < len(args); i++ {
		if equalFoldText(args[i], "store") || equalFoldText(args[i], "storedist") {
			store = i + 1
			i++
		}
	}
	return store
}

// addStreams adds the first half of what follows STREAMS.
func (r *runs) addStreams(args [][]byte) {
	at := streamsAt(args)
	n := len(args) - at - 1
	if at == 0 || n == 0 || n%2 != 0 {
		return
	}
	r.add(run{first: at + 1, count: n / 2, step: 1, flags: KeyRO | KeyAccess})
}

// streamsAt returns the position of the option STREAMS, 0 when the options
// before it are not understood.
func streamsAt(args [][]byte) int {
	for i := 1; i < len(args); i++ {
		switch {
		case isStreamOption(args[i]):
			i++
		case equalFoldText(args[i], "group"):
			i += 2
		case equalFoldText(args[i], "noack"):
		case equalFoldText(args[i], "streams"):
			return i
		default:
			return 0
		}
	}
	return 0
}

// isStreamOption reports whether an option of XREAD or XREADGROUP has one value. CLAIM
// is of Redis 8.4, MAXCOUNT and MAXSIZE of 8.10.
func isStreamOption(arg []byte) bool {
	for _, word := range [...]string{"count", "block", "claim", "maxcount", "maxsize"} {
		if equalFoldText(arg, word) {
			return true
		}
	}
	return false
}

// addMigrated adds the keys after KEYS when the single key is the empty string,
// and none when both forms are used, which MIGRATE refuses.
func (r *runs) addMigrated(args [][]byte) {
	const flags = KeyRW | KeyAccess | KeyDelete
	for i := 6; i < len(args); i++ {
		switch {
		case equalFoldText(args[i], "auth"):
			i++
		case equalFoldText(args[i], "auth2"):
			i += 2
		case equalFoldText(args[i], "keys"):
			if n := len(args) - i - 1; n > 0 && len(args[3]) == 0 {
				r.add(run{first: i + 1, count: n, step: 1, flags: flags})
			}
			return
		}
	}
	r.addOne(3, flags)
}

// setFlags: SET reads the value only with GET or a condition on it.
func setFlags(args [][]byte) KeyFlags {
	for i := 3; i < len(args); i++ {
		if equalFoldText(args[i], "get") || isCondition(args[i]) {
			return KeyRW | KeyAccess | KeyUpdate
		}
	}
	return KeyOW | KeyUpdate
}

// delExFlags: DELEX without a condition is DEL.
func delExFlags(args [][]byte) KeyFlags {
	if len(args) > 2 {
		return KeyRW | KeyAccess | KeyDelete
	}
	return KeyRM | KeyDelete
}

// isCondition reports whether an option compares the value, or its digest, with one
// that the client gives: the reply tells whether they are the same. Valkey 8.1 has
// the first, Redis 8.4 all.
func isCondition(arg []byte) bool {
	for _, word := range [...]string{"ifeq", "ifne", "ifdeq", "ifdne"} {
		if equalFoldText(arg, word) {
			return true
		}
	}
	return false
}

// bitFieldFlags: BITFIELD only reads when it has no operation but GET. What
// cannot be parsed counts as a write.
func bitFieldFlags(args [][]byte) KeyFlags {
	const write = KeyRW | KeyAccess | KeyUpdate
	for i := 2; i < len(args); i++ {
		left := len(args) - i - 1
		switch {
		case equalFoldText(args[i], "get") && left >= 2:
			i += 2
		case equalFoldText(args[i], "overflow") && left >= 1:
			i++
		default:
			return write
		}
	}
	return KeyRO | KeyAccess
}

// IsOption reports whether Redis takes arg for the option word, which is in lower
// case.
func IsOption(arg []byte, word string) bool { return equalFoldText(arg, word) }

// equalFoldText reports whether the argument is the word in any case, up to
// its first NUL: Redis compares options as C strings.
func equalFoldText(arg []byte, word string) bool {
	if len(arg) < len(word) || len(arg) > len(word) && arg[len(word)] != 0 {
		return false
	}
	for i := range len(word) {
		if lower(arg[i]) != lower(word[i]) {
			return false
		}
	}
	return true
}
