package acl

import (
	"bytes"
	"slices"
	"strings"

	"sluice/proxy/command"
)

// Spec states the rights of a user. The zero value allows everything.
type Spec struct {
	// ReadOnly denies every command that writes, whatever else is allowed.
	ReadOnly bool
	// Keys are key rules of Redis: a glob for reading and writing, with %R~ or %W~ in
	// front for one of the two. Nil allows every key.
	Keys []string
	// Channels are globs of the channels to publish and subscribe to. Nil allows
	// every channel.
	Channels []string
	// Commands are command rules of Redis in their order, from nothing allowed on. Nil
	// allows every command.
	Commands []string
}

// Text is the rights as ACL LIST of Redis writes them.
func (s *Spec) Text() string {
	words := []string{"~*", "&*", "+@all"}
	if s.Keys != nil {
		words = slices.Concat(rulesOf("~", s.Keys), words[1:])
	}
	if s.Channels != nil {
		words = slices.Concat(words[:len(words)-2], []string{"resetchannels"}, rulesOf("&", s.Channels), words[len(words)-1:])
	}
	if s.Commands != nil {
		words = slices.Concat(words[:len(words)-1], []string{"-@all"}, s.Commands)
	}
	if s.ReadOnly {
		words = append(words, "-@write", "-config|set")
	}
	return strings.Join(words, " ")
}

// rulesOf writes patterns as rules.
func rulesOf(prefix string, patterns []string) []string {
	rules := make([]string, len(patterns))
	for i, p := range patterns {
		if rules[i] = p; !strings.HasPrefix(p, prefix) && !strings.HasPrefix(p, "%") {
			rules[i] = prefix + p
		}
	}
	return rules
}

// Rules are compiled rights. Immutable after construction; a nil *Rules allows
// everything.
type Rules struct {
	readOnly    bool
	commands    []commandRule // for declared commands, which have no bit
	allowed     bitset        // by command.Command.ID
	allKeys     bool
	keys        []keyRule
	allChannels bool
	channels    [][]byte
}

// bitset has a bit per command of the table.
type bitset [(command.Count + 63) / 64]uint64

func (b *bitset) set(id int) { b[id/64] |= 1 << (id % 64) }

func (b *bitset) has(id int) bool { return b[id/64]>>(id%64)&1 != 0 }

// New compiles rights; nil when they allow everything. The error is a *RuleError.
func New(s Spec) (*Rules, error) {
	if !s.ReadOnly && s.Keys == nil && s.Channels == nil && s.Commands == nil {
		return nil, nil
	}
	r := &Rules{readOnly: s.ReadOnly, allKeys: s.Keys == nil, allChannels: s.Channels == nil}
	for _, text := range s.Keys {
		rule, bad := parseKeyRule(text)
		if bad != nil {
			return nil, bad
		}
		r.addKey(rule)
	}
	for _, text := range s.Channels {
		r.channels = append(r.channels, []byte(text))
	}
	texts := s.Commands
	if texts == nil {
		texts = []string{"+@all"}
	}
	for _, text := range texts {
		rule, bad := parseCommandRule(text, nil, true)
		if bad != nil {
			return nil, bad
		}
		r.commands = append(r.commands, rule)
	}
	for id := range command.Count {
		if r.decide(command.At(id)) {
			r.allowed.set(id)
		}
	}
	return r, nil
}

// addKey adds a key rule. What is said of one pattern in two rules counts together, as in Redis.
func (r *Rules) addKey(rule keyRule) {
	for i := range r.keys {
		if k := &r.keys[i]; bytes.Equal(k.pattern, rule.pattern) {
			k.read, k.write = k.read || rule.read, k.write || rule.write
			return
		}
	}
	r.keys = append(r.keys, rule)
}

// CheckCommand returns what is wrong with a command rule, or nil. declared are the
// commands that are known beside those of the table; modules lets names pass that a
// module may have, which have a dot. Any other name that is not known is a mistake.
func CheckCommand(text string, declared []string, modules bool) *RuleError {
	_, bad := parseCommandRule(text, declared, modules && strings.Contains(text, "."))
	return bad
}

// CheckKey returns what is wrong with a key rule, or nil.
func CheckKey(text string) *RuleError {
	_, bad := parseKeyRule(text)
	return bad
}

// decide applies the rules to one command.
func (r *Rules) decide(cmd *command.Command) bool {
	if cmd.Is(command.NoAuth) {
		return true // As in Redis: who may not even authenticate could not change who he is.
	}
	if r.readOnly && (cmd.Is(command.Write) || writesUnseen(cmd)) {
		return false
	}
	allowed := false
	for i := range r.commands {
		rule := &r.commands[i]
		if !rule.about(cmd) || rule.allow && r.isOpaque(cmd) && !rule.namesOpaque() {
			continue
		}
		allowed = rule.allow
	}
	return allowed
}

// runsScripts reports whether what the command does is in a script. A server checks
// each command of a script against the rights of the user; here it runs with those of
// the proxy, which sees the keys that are named and not what is done. So @all and @slow do
// not stand for these commands: they have to be allowed by name or by @scripting.
func runsScripts(cmd *command.Command) bool {
	switch cmd.Name {
	case "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro":
		return true
	}
	return false
}

// isOpaque reports whether the request need not show what a command is used on, so that the user's rights can't be
// checked here, and the server sees those of the proxy: a script, and for a user with limited keys any command that
// was learned. RediSearch tells the name of an index for the key, and its commands read and delete other keys.
func (r *Rules) isOpaque(cmd *command.Command) bool {
	return runsScripts(cmd) || cmd.Learned && !r.allKeys
}

// namesOpaque reports whether a rule means commands that are opaque, if it is about one.
func (r *commandRule) namesOpaque() bool { return r.name != "" || r.category == command.ACLScripting }

// writesUnseen reports whether the command can write, or change the servers, although it is not marked so.
// The _RO forms are held to reading by the server.
func writesUnseen(cmd *command.Command) bool {
	return runsScripts(cmd) && !cmd.Is(command.ReadOnly) || cmd.Name == "config|set"
}

// MayRun reports whether the user may run a command on anything at all. cmd is the
// subcommand where there is one.
func (r *Rules) MayRun(cmd *command.Command) bool {
	if r == nil {
		return true
	}
	if cmd.ID < command.Count {
		return r.allowed.has(cmd.ID)
	}
	return r.decide(cmd)
}

// MayAccess reports whether the user may do to a key what the flags of a key spec
// say. One pattern has to allow all of it, as in Redis.
func (r *Rules) MayAccess(key []byte, use command.KeyFlags) bool {
	if r == nil || r.allKeys {
		return true
	}
	const changes = command.KeyUpdate | command.KeyInsert | command.KeyDelete
	reads, writes := use&command.KeyAccess != 0, use&changes != 0
	for i := range r.keys {
		k := &r.keys[i]
		if (k.read || !reads) && (k.write || !writes) && command.MatchPattern(k.pattern, key) {
			return true
		}
	}
	return false
}

// MayReadEverything reports whether no key is kept from the user's reads. SORT needs
// it for BY and GET, which read keys that nobody names.
func (r *Rules) MayReadEverything() bool {
	return r == nil || r.allKeys || slices.ContainsFunc(r.keys, func(k keyRule) bool { return k.read && string(k.pattern) == "*" })
}

// MayUse reports whether the user may publish or subscribe to a channel. A pattern to
// subscribe to has to be one of the user's own, letter by letter, as in Redis.
func (r *Rules) MayUse(channel []byte, pattern bool) bool {
	if r == nil || r.allChannels {
		return true
	}
	for _, allowed := range r.channels {
		if pattern && bytes.Equal(allowed, channel) || !pattern && command.MatchPattern(allowed, channel) {
			return true
		}
	}
	return false
}
