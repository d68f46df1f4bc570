package command

import (
	"bytes"
	"encoding/binary"
)

// A name of up to eight bytes is one uint64. Four of five commands have such a
// name and nearly all traffic does, so Lookup packs it, folds the case of all
// eight bytes at once, and probes a small open-addressing table:
//
//	"GeT"  ->  0x0000000000546547  ->  0x0000000000746567  ->  slot  ->  get
//	           pack (little end)       fold letters only
//
// Two things make equality of words equality of names:
//
//	The fold touches letters only. Setting bit 5 everywhere would make "[" and
//	"{" the same, and a client could reach a command by a name it does not have.
//	The slot keeps the length. A name with NULs at its end packs to the same
//	word as the name without.
//
// Longer names are folded on the stack and looked up in a map; the conversion
// in the index expression does not allocate.

// maxShort is the longest name that fits a word.
const maxShort = 8

// slotBits makes the table 1024 slots: 246 short names fill it to a quarter, at
// which nearly every name is found in its first slot. Of its 24 KiB what a client
// asks for stays in cache.
const slotBits = 10

// slot is one place of the table; an empty one has no cmd.
type slot struct {
	key  uint64
	size int
	cmd  *Command
}

// Both are immutable after construction.
var (
	shortNames = hashShort(topLevel)
	longNames  = indexLong(topLevel)
)

// maxLong bounds the stack buffer for long names; the longest name of Redis
// has 20 bytes. indexLong panics when one does not fit.
const maxLong = 32

// Lookup returns the top-level command with this name in any case, or nil. The
// name is read only during the call; nothing is allocated.
func Lookup(name []byte) *Command {
	if len(name) > maxShort {
		return lookupLong(name)
	}
	key := fold(pack(name))
	for i := home(key); ; i++ {
		s := &shortNames[i%(1<<slotBits)]
		if s.key == key && s.size == len(name) {
			return s.cmd
		}
		if s.cmd == nil {
			return nil
		}
	}
}

// Resolve returns the command an invocation is about: the top-level command,
// or its subcommand when it is a container and a second argument is there. It
// returns nil when either is unknown, as a server would refuse it.
func Resolve(args [][]byte) *Command {
	if len(args) == 0 {
		return nil
	}
	c := Lookup(args[0])
	if c == nil || len(c.Subcommands) == 0 || len(args) == 1 {
		return c
	}
	return c.Sub(args[1])
}

// LookupFull returns the command with this full name in any case, "config|get",
// or nil. The name is read only during the call.
func LookupFull(name []byte) *Command {
	container, verb, ok := bytes.Cut(name, []byte{'|'})
	c := Lookup(container)
	if !ok || c == nil {
		return c
	}
	return c.Sub(verb)
}

func lookupLong(name []byte) *Command {
	if len(name) > maxLong {
		return nil
	}
	var buf [maxLong]byte
	for i, b := range name {
		buf[i] = lower(b)
	}
	return longNames[string(buf[:len(name)])]
}

// pack puts at most eight bytes into a word, the first one lowest. Loads that
// overlap replace a loop. The masks change no shift: they tell the compiler that
// none reaches 64.
func pack(b []byte) uint64 {
	n := uint(len(b))
	if n >= 4 {
		tail := uint64(binary.LittleEndian.Uint32(b[n-4:]))
		return uint64(binary.LittleEndian.Uint32(b)) | tail<<((n-4)*8&63)
	}
	if n >= 2 {
		return uint64(binary.LittleEndian.Uint16(b)) | uint64(b[n-1])<<((n-1)*8&63)
	}
	if n == 1 {
		return uint64(b[0])
	}
	return 0
}

// fold turns the letters A-Z of a word into a-z and leaves every other byte,
// those above 127 included. Per byte, the high bit of fromA says "at least A"
// and that of pastZ "beyond Z", computed on seven bits so that no carry leaves
// a byte.
func fold(w uint64) uint64 {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	seven := w &^ high
	fromA := seven + (0x80-'A')*ones
	pastZ := seven + (0x80-'Z'-1)*ones
	letters := fromA &^ pastZ &^ w & high
	return w | letters>>2 // 0x80 to 0x20, the bit between the cases
}

// home returns the first slot of a key. The multiplier is 2^64 over the golden
// ratio, which spreads words that differ in few bits.
func home(key uint64) uint64 {
	return key * 0x9e3779b97f4a7c15 >> (64 - slotBits)
}

func hashShort(list []*Command) [1 << slotBits]slot {
	var out [1 << slotBits]slot
	for _, c := range list {
		if len(c.Name) > maxShort {
			continue
		}
		key := pack([]byte(c.Name))
		i := home(key) % (1 << slotBits)
		for out[i].cmd != nil {
			i = (i + 1) % (1 << slotBits)
		}
		out[i] = slot{key: key, size: len(c.Name), cmd: c}
	}
	return out
}

func indexLong(list []*Command) map[string]*Command {
	out := make(map[string]*Command)
	for _, c := range list {
		if len(c.Name) > maxLong {
			panic("BUG: the name of " + c.Name + " is too long to be looked up")
		}
		if len(c.Name) > maxShort {
			out[c.Name] = c
		}
	}
	return out
}
