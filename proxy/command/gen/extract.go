package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extract reads the per-command JSON files of a source tree and returns the
// facts of those that base does not have, ordered by full name, which puts a
// container right before its subcommands.
func extract(dir string, from origin, base *facts) (*facts, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no command file in %s", dir)
	}
	out := &facts{Origin: from}
	for _, path := range paths {
		list, err := extractFile(path)
		if err != nil {
			return nil, fmt.Errorf("extract %s: %w", filepath.Base(path), err)
		}
		out.Commands = append(out.Commands, list...)
	}
	sortByName(out.Commands)
	if err := checkNames(out.Commands); err != nil {
		return nil, err
	}
	had := namesOf(base.Commands)
	out.Commands = slices.DeleteFunc(out.Commands, func(f fact) bool { return had[f.fullName()] })
	return out, nil
}

func sortByName(list []fact) {
	slices.SortFunc(list, func(a, b fact) int { return strings.Compare(a.fullName(), b.fullName()) })
}

func namesOf(list []fact) map[string]bool {
	names := make(map[string]bool, len(list))
	for i := range list {
		names[list[i].fullName()] = true
	}
	return names
}

// extractFile reads one file: an object that maps the command name to its
// description. Fields that fact does not name are dropped here; these are the
// texts, the argument trees and the reply schemas.
func extractFile(path string) ([]fact, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var byName map[string]fact
	if err := json.Unmarshal(raw, &byName); err != nil {
		return nil, err
	}
	out := make([]fact, 0, len(byName))
	for name, f := range byName {
		f.Name = strings.ToLower(name)
		f.Container = strings.ToLower(f.Container)
		if f.Group == "" || f.Arity == 0 {
			return nil, fmt.Errorf("%s: no group or no arity", f.fullName())
		}
		f.dropImplied()
		out = append(out, f)
	}
	return out, nil
}

// dropImplied leaves out the categories that follow from the flags. Redis does not
// state them, Valkey does.
func (f *fact) dropImplied() {
	has := func(word string) bool { return slices.Contains(f.Flags, word) }
	f.ACL = slices.DeleteFunc(f.ACL, func(word string) bool {
		switch word {
		case "READ":
			return has("READONLY")
		case "SLOW":
			return !has("FAST")
		case "WRITE", "FAST", "BLOCKING", "PUBSUB":
			return has(word)
		}
		return false
	})
}

// checkNames refuses a name given twice and a subcommand without container.
func checkNames(list []fact) error {
	seen := make(map[string]bool, len(list))
	var errs []error
	for i := range list {
		name := list[i].fullName()
		if seen[name] {
			errs = append(errs, fmt.Errorf("%s: described twice", name))
		}
		seen[name] = true
	}
	for i := range list {
		if c := list[i].Container; c != "" && !seen[c] {
			errs = append(errs, fmt.Errorf("%s: no container %q", list[i].fullName(), c))
		}
	}
	return errors.Join(errs...)
}
