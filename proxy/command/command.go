package command

import "strings"

// Command is one command or subcommand. Immutable after construction; the
// table hands out the same pointer for the life of the process, so callers may
// compare pointers and keep them.
type Command struct {
	// Name is the full name in lower case: "get", or "client|setname" for a
	// subcommand.
	Name  string
	Group string

	// Since is the version of Redis that brought the command, or of Valkey when
	// OnlyValkey is set: Redis does not have it. Valkey is the version of Valkey
	// that brought a command which Redis 7.2 does not have; all that Redis 7.2
	// has Valkey has had from the beginning.
	Since      string
	Valkey     string
	OnlyValkey bool

	// Arity counts the command name (and the subcommand name) too. Negative
	// means "at least".
	Arity int
	Flags Flags
	ACL   Categories
	Tips  []string
	Keys  []KeySpec

	DocFlags        DocFlags
	DeprecatedSince string
	ReplacedBy      string

	// ID is dense in [0, Count) over commands and subcommands alike, for
	// arrays of per-command counters. It may change between releases.
	ID int

	// Masters is where a declared command without keys goes.
	Masters Masters
	// Learned says that a server has told of the command, and not the
	// configuration.
	Learned bool

	// Parent is the container of a subcommand, Subcommands the content of a
	// container, ordered by name.
	Parent      *Command
	Subcommands []*Command

	// FirstKey, LastKey and Step are the triple COMMAND reports. They miss
	// keys whenever MovableKeys is set and are for display only.
	FirstKey int
	LastKey  int
	Step     int

	// KeyAt is the position of the only key of a command that always has
	// exactly one, at a fixed place; 0 for every other command. It is within
	// the arguments once ArityOK has said yes.
	KeyAt int

	// Request and Response are the policies parsed from Tips.
	Request  RequestPolicy
	Response ResponsePolicy

	verb    string // name within the container, or Name
	firstAt int    // fixed position of the first key, 0 when it moves
	hasKeys bool   // some spec is about keys and not about a shard channel

	variable bool // some spec leaves the flags to the finder
	finder   finder
}

// Is reports whether all of the given flags are set.
func (c *Command) Is(f Flags) bool { return c.Flags&f == f }

// ArityOK reports whether an invocation may have n arguments, the command
// name included.
func (c *Command) ArityOK(n int) bool {
	if c.Arity > 0 {
		return n == c.Arity
	}
	return n >= -c.Arity
}

// Sub returns the subcommand with this name in any case, nil when c has none
// such. The name is read only during the call.
func (c *Command) Sub(name []byte) *Command {
	for _, s := range c.Subcommands {
		if equalFold(name, s.verb) {
			return s
		}
	}
	return nil
}

// splitName parts a full name into container and verb; a top-level command
// has no container.
func splitName(name string) (container, verb string) {
	container, verb, ok := strings.Cut(name, "|")
	if !ok {
		return "", name
	}
	return container, verb
}

// equalFold reports whether b is the lower-case ASCII string s in any case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != s[i] {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b | 0x20
	}
	return b
}
