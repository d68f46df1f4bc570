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

// extract reads the per-command JSON files of a Redis tree and returns their
// facts ordered by full name, which puts a container right before its
// subcommands.
func extract(dir string, from origin) (*facts, error) {
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
	slices.SortFunc(out.Commands, func(a, b fact) int {
		return strings.Compare(a.fullName(), b.fullName())
	})
	if err := checkNames(out.Commands); err != nil {
		return nil, err
	}
	return out, nil
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
		out = append(out, f)
	}
	return out, nil
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
