package conf

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"sluice/proxy/acl"
	"sluice/proxy/command"
)

// CommandRules are the command rules of a user. Unlike in other lists their order counts.
type CommandRules []string

// Masters names where a declared command without keys goes.
type Masters string

// The places of a declared command without keys.
const (
	MastersAny Masters = "any"
	MastersAll Masters = "all"
)

// Access names what a declared command does to its keys.
type Access string

// What a declared command does.
const (
	AccessRead  Access = "read"
	AccessWrite Access = "write"
)

// Rights returns the rights of a user in the form that package acl compiles.
func (u *User) Rights() acl.Spec {
	return acl.Spec{ReadOnly: u.ReadOnly, Keys: u.Keys, Channels: u.Channels, Commands: u.Commands}
}

// checkHashes checks the digests of passwords. What stands there is in no message: it may be a password.
func checkHashes(r *report, user string, hashes []Secret) {
	for i, h := range hashes {
		at := element(join(user, "password_sha256"), i)
		if checkSecret(r, at, h); r.isBad(at) {
			continue
		}
		digest, err := hex.DecodeString(h.Reveal())
		switch {
		case err != nil || h.Empty():
			r.add(at, "is not a SHA-256 digest in hexadecimal", "printf %s PASSWORD | sha256sum prints it")
		case len(digest) != 32:
			r.add(at, fmt.Sprintf("has %d hexadecimal digits, a SHA-256 digest has 64", len(h.Reveal())), "printf %s PASSWORD | sha256sum prints it")
		}
	}
}

// checkRights checks what a user may do.
func checkRights(r *report, user string, p *Pool, u *User) {
	keys, channels, commands := join(user, "keys"), join(user, "channels"), join(user, "commands")
	checkNotEmpty(r, keys, u.Keys, "leave it out for all keys")
	checkNotEmpty(r, channels, u.Channels, `leave it out for all channels; "-@pubsub" in commands is none`)
	checkNotEmpty(r, commands, u.Commands, "leave it out for all commands")
	for i, text := range u.Keys {
		if at := element(keys, i); !r.isBad(at) {
			addRuleError(r, at, acl.CheckKey(text))
		}
	}
	for i, text := range u.Channels {
		if at := element(channels, i); text == "" && !r.isBad(at) {
			r.add(at, `"" is no pattern`, `write a pattern such as "news.*"`)
		}
	}
	var declared []string
	for _, c := range p.Commands {
		declared = append(declared, c.Name)
	}
	for i, text := range u.Commands {
		at := element(commands, i)
		if r.isBad(at) {
			continue
		}
		addRuleError(r, at, acl.CheckCommand(text, declared, p.LearnCommands))
		if i == 0 && strings.HasPrefix(text, "-") && !r.isBad(at) {
			r.add(at, quoteRule(text)+" takes away where nothing is allowed yet", `rules are applied in order, from none on: begin with "+@all"`)
		}
	}
}

// checkNotEmpty refuses an empty list, which could be meant for all as well as for none.
func checkNotEmpty[S ~[]string](r *report, at string, list S, hint string) {
	if list != nil && len(list) == 0 && !r.isBad(at) {
		r.add(at, "is an empty list", hint)
	}
}

// addRuleError records what is wrong with a rule, with the nearest name where one is not known.
func addRuleError(r *report, at string, bad *acl.RuleError) {
	if bad == nil {
		return
	}
	hint := bad.Advice
	if bad.Word != "" {
		hint = ruleHint(bad)
	}
	r.add(at, quoteRule(bad.Rule)+" "+bad.Problem, hint)
}

// quoteRule is quote for a text in which an @ has no password in front of it.
func quoteRule(text string) string { return strconv.Quote(text[:min(len(text), 120)]) }

// ruleHint says what could stand in place of a name that is not known.
func ruleHint(bad *acl.RuleError) string {
	if near := nearest(bad.Word, bad.Known); near != "" {
		return "did you mean " + quoteRule(strings.Replace(strings.ToLower(bad.Rule), bad.Word, near, 1)) + "?"
	}
	if len(bad.Known) < 30 { // categories, subcommands
		return "one of " + strings.Join(bad.Known, ", ")
	}
	return "a command of Redis, or one that [[pool.command]] declares"
}

// checkCommands checks the declared commands of a pool.
func checkCommands(r *report, path string, p *Pool) {
	first := map[string]int{}
	for i := range p.Commands {
		at := element(join(path, "command"), i)
		if r.isBad(at) {
			continue
		}
		checkBounds(r, at, reflect.ValueOf(p.Commands[i]))
		checkCommandName(r, at, p.Commands[i].Name)
		checkCommandKeys(r, at, &p.Commands[i])
		access := join(at, "access")
		if p.Commands[i].Access == "" && !r.isBad(access) {
			r.add(access, "is missing", `"write" if the command may change something, else "read"`)
		} else {
			checkOneOf(r, access, p.Commands[i].Access, AccessRead, AccessWrite)
		}
		checkCommandMasters(r, join(at, "masters"), &p.Commands[i])
		name := join(at, "name")
		if j, taken := first[p.Commands[i].Name]; taken && !r.isBad(name) {
			r.add(name, "is declared twice"+r.line(join(element(join(path, "command"), j), "name")), "keep one of the two")
		}
		first[p.Commands[i].Name] = i
	}
}

func checkCommandName(r *report, path, name string) {
	at := join(path, "name")
	switch {
	case r.isBad(at):
	case name == "":
		r.add(at, "is missing", `add name = "bf.add"`)
	case len(name) > longestName || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "":
		r.add(at, quote(name)+" is not a command name", fmt.Sprintf("up to %d lower-case letters, digits, dots, hyphens and underscores", longestName))
	case command.Lookup([]byte(name)) != nil:
		r.add(at, quote(name)+" is a command of Redis, which Sluice knows", "remove it")
	case command.Internal(name):
		r.add(at, quote(name)+" is for those who move slots, and would interfere with them", "remove it")
	}
}

// checkCommandKeys checks that the positions of a command's keys fit together.
func checkCommandKeys(r *report, path string, c *Command) {
	first, last, step, num, arity := join(path, "first_key"), join(path, "last_key"), join(path, "key_step"), join(path, "keynum_at"), join(path, "arity")
	if r.isBad(first) || r.isBad(last) || r.isBad(step) || r.isBad(num) || r.isBad(arity) {
		return
	}
	if c.Arity == 0 {
		r.add(arity, "0 arguments", "the name counts: 3 is a command with two arguments, -3 one with two or more")
		return
	}
	if c.KeyNumAt > 0 {
		checkNoRange(r, path, c)
		return
	}
	switch {
	case c.FirstKey == 0 && c.LastKey != 0 && c.LastKey != defaultCommand().LastKey:
		r.add(last, fmt.Sprintf("%d without a first key", c.LastKey), "set first_key, or leave it out")
	case c.FirstKey > 0 && c.LastKey >= 0 && c.LastKey < c.FirstKey:
		at := last
		if !r.cfg.given(last) {
			at = first
		}
		r.add(at, fmt.Sprintf("last_key %d is before first_key %d", c.LastKey, c.FirstKey),
			"last_key is a position too, the same one for a single key; -1 is the last argument")
	case c.Arity > 0 && c.FirstKey >= c.Arity:
		r.add(arity, fmt.Sprintf("with %d arguments, the name among them, there is none at %d", c.Arity, c.FirstKey), "count the name too")
	}
}

func checkCommandMasters(r *report, at string, c *Command) {
	checkOneOf(r, at, c.Masters, MastersAny, MastersAll)
	if c.Masters == MastersAll && (c.FirstKey > 0 || c.KeyNumAt > 0) {
		r.add(at, "is for a command without keys", "set first_key = 0, or leave it out")
	}
}

// checkNoRange refuses positions of keys beside a count of keys.
func checkNoRange(r *report, path string, c *Command) {
	def := defaultCommand()
	for _, key := range []struct {
		name  string
		given bool
	}{{"first_key", c.FirstKey != def.FirstKey}, {"last_key", c.LastKey != def.LastKey}, {"key_step", c.KeyStep != def.KeyStep}} {
		if key.given {
			r.add(join(path, key.name), "keynum_at is given too"+r.line(join(path, "keynum_at")), "keep one of the two")
		}
	}
}

// Declaration returns a declared command in the form of package command.
func (c *Command) Declaration() command.Declaration {
	d := command.Declaration{Name: c.Name, Arity: c.Arity, Write: c.Access == AccessWrite}
	switch {
	case c.KeyNumAt > 0:
		d.Keys = command.KeysCounted(c.KeyNumAt)
	case c.FirstKey > 0:
		d.Keys = command.KeysAt(c.FirstKey, c.LastKey, c.KeyStep)
	case c.Masters == MastersAll:
		d.Masters = command.AllMasters
	}
	return d
}
