package acl

import (
	"strings"

	"sluice/proxy/command"
)

// commandRule is one element of Spec.Commands: it allows or denies a command
// with its subcommands, one subcommand, or a category. The last rule that is about
// a command decides.
type commandRule struct {
	allow    bool
	name     string             // full name in lower case; "" for a category
	category command.Categories // of "@...", everyCategory for @all
}

// everyCategory is @all. It also has what is in no category.
const everyCategory = ^command.Categories(0)

// RuleError is why a text is not a rule. It is returned by CheckCommand, CheckKey
// and New.
type RuleError struct {
	Rule    string
	Problem string   // such as "is not a command"
	Advice  string   // what to write instead; "" where Known says it
	Word    string   // the part of Rule that is not known, "" when it is the form that is wrong
	Known   []string // what could stand in place of Word
}

// Error returns the rule and what is wrong with it.
func (e *RuleError) Error() string { return `"` + e.Rule + `" ` + e.Problem }

// parseCommandRule reads "+get", "-client|kill", "+@read" and so on. extra are
// commands beside those of the table; everyName lets any other name pass as well.
func parseCommandRule(text string, extra []string, everyName bool) (commandRule, *RuleError) {
	bad := func(problem, advice string) (commandRule, *RuleError) {
		return commandRule{}, &RuleError{Rule: text, Problem: problem, Advice: advice}
	}
	if len(text) < 2 || text[0] != '+' && text[0] != '-' {
		return bad("is not a command rule", `write "+get", "-client|kill", "+@read" or "-@dangerous"`)
	}
	rule, word := commandRule{allow: text[0] == '+'}, strings.ToLower(text[1:])
	if category, ok := strings.CutPrefix(word, "@"); ok {
		if rule.category = command.CategoryByName([]byte(category)); category == "all" {
			rule.category = everyCategory
		}
		if rule.category == 0 {
			return rule, &RuleError{Rule: text, Problem: "names no category", Word: category, Known: append(command.CategoryNames(), "all")}
		}
		return rule, nil
	}
	rule.name = word
	if command.LookupFull([]byte(word)) != nil {
		return rule, nil
	}
	container, sub, isSub := strings.Cut(word, "|")
	parent := command.Lookup([]byte(container))
	switch {
	case isSub && parent != nil && len(parent.Subcommands) == 0:
		return bad("names an argument of "+container, "rules are about commands and subcommands: write "+text[:1]+container)
	case isSub && parent != nil:
		return rule, &RuleError{Rule: text, Problem: "names no subcommand of " + container, Word: sub, Known: verbs(parent)}
	}
	for _, name := range extra {
		if name == word {
			return rule, nil
		}
	}
	if everyName && !isSub {
		return rule, nil
	}
	return rule, &RuleError{Rule: text, Problem: "names no command", Word: container, Known: append(topNames(), extra...)}
}

// about reports whether the rule is about cmd. A container is named for all of its
// subcommands, also by a category that it has itself.
func (r *commandRule) about(cmd *command.Command) bool {
	if r.name != "" {
		return r.name == cmd.Name || cmd.Parent != nil && r.name == cmd.Parent.Name
	}
	return r.category == everyCategory || r.category&cmd.ACL != 0 || cmd.Parent != nil && r.category&cmd.Parent.ACL != 0
}

// verbs returns the names of the subcommands of a container.
func verbs(container *command.Command) []string {
	names := make([]string, len(container.Subcommands))
	for i, sub := range container.Subcommands {
		_, names[i], _ = strings.Cut(sub.Name, "|")
	}
	return names
}

// topNames returns the names of all commands that are not subcommands.
func topNames() []string {
	var names []string
	for id := range command.Count {
		if cmd := command.At(id); cmd.Parent == nil {
			names = append(names, cmd.Name)
		}
	}
	return names
}

// keyRule is one element of Spec.Keys: what may be done to the keys that match.
type keyRule struct {
	pattern []byte
	read    bool
	write   bool
}

// parseKeyRule reads "app:*", and "%R~app:*", "%W~app:*" or "%RW~app:*".
func parseKeyRule(text string) (keyRule, *RuleError) {
	modes, pattern, ok := strings.Cut(strings.TrimPrefix(text, "%"), "~")
	if !strings.HasPrefix(text, "%") {
		if text == "" {
			return keyRule{}, &RuleError{Rule: text, Problem: "is no pattern", Advice: `write a pattern such as "app:*"`}
		}
		return keyRule{pattern: []byte(strings.TrimPrefix(text, "~")), read: true, write: true}, nil
	}
	rule := keyRule{pattern: []byte(pattern)}
	for _, mode := range strings.ToUpper(modes) {
		switch {
		case mode == 'R' && !rule.read:
			rule.read = true
		case mode == 'W' && !rule.write:
			rule.write = true
		default:
			ok = false
		}
	}
	if !ok || !rule.read && !rule.write {
		return keyRule{}, &RuleError{Rule: text, Problem: "is not a key rule", Advice: `write "app:*", or "%R~app:*" to read only, "%W~app:*" to write only`}
	}
	return rule, nil
}
