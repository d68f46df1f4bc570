// Program gen keeps the command table equal to what Redis and Valkey state
// about themselves.
//
// With -extract it condenses the src/commands directory of a source tree into
// one file of facts. Without, it turns the files of facts into the tables. The
// first is done once per version, by hand; the second by "go generate".
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// The files of facts, and the tables they become.
const (
	oldFacts    = "redis-7.2.json"
	redisFacts  = "redis-8.12.json"
	valkeyFacts = "valkey-9.1.json"
	oldTable    = "table_gen.go"
	newerTable  = "table_newer_gen.go"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	set := flag.NewFlagSet("gen", flag.ContinueOnError)
	dir := set.String("dir", ".", "`directory` of the files of facts and of the tables")
	tree := set.String("extract", "", "condense the command files in this `directory`")
	out := set.String("out", "", "with -extract: file of facts to write")
	besides := set.String("besides", "", "with -extract: leave out what this `file` of facts has")
	from := origin{Path: "src/commands", Licence: "BSD-3-Clause"}
	set.StringVar(&from.Project, "project", "redis/redis", "project the extracted files are of")
	set.StringVar(&from.Branch, "branch", "", "branch the extracted files are from")
	set.StringVar(&from.Commit, "commit", "", "commit the extracted files are from")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *tree == "" {
		return generate(*dir)
	}
	switch {
	case from.Branch == "" || from.Commit == "" || *out == "":
		return errors.New("-extract needs -branch, -commit and -out: facts without an origin cannot be checked")
	case from.Project == "redis/redis" && from.Branch != "7.2" || !isSource[from.Project]:
		return fmt.Errorf("%s, branch %s, is no source: only files under BSD-3-Clause are extracted, see README.md",
			from.Project, from.Branch)
	}
	return condense(*tree, *out, *besides, from)
}

// isSource has the projects whose files are extracted: those of Redis up to 7.2
// and those of Valkey are under BSD-3-Clause.
var isSource = map[string]bool{"redis/redis": true, "valkey-io/valkey": true}

func condense(tree, out, besides string, from origin) error {
	base := new(facts)
	if besides != "" {
		var err error
		if base, err = readFacts(besides); err != nil {
			return err
		}
	}
	f, err := extract(tree, from, base)
	if err != nil {
		return err
	}
	raw, err := f.marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(out, raw, 0o644)
}

// generate writes both tables.
func generate(dir string) error {
	tables, err := render(dir)
	if err != nil {
		return err
	}
	for name, src := range tables {
		if err := os.WriteFile(filepath.Join(dir, name), src, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render makes the tables, by file name, of the facts in a directory.
func render(dir string) (map[string][]byte, error) {
	var lists []*facts
	for _, name := range []string{oldFacts, redisFacts, valkeyFacts} {
		f, err := readFacts(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		lists = append(lists, f)
	}
	old, redis, valkey := lists[0], lists[1], lists[2]
	newer, err := merge(old.Commands, redis.Commands, valkey.Commands)
	if err != nil {
		return nil, err
	}
	tables := make(map[string][]byte)
	for _, t := range []struct {
		name string
		table
	}{
		{oldTable, table{
			origins: []origin{old.Origin}, name: "redis72", commands: old.Commands,
			says: "redis72 lists the commands of a Redis 7.2 data server by full name.",
		}},
		{newerTable, table{
			origins: []origin{redis.Origin, valkey.Origin}, name: "newer", commands: newer,
			says: "newer lists the commands by full name that later versions of Redis and Valkey have besides.",
		}},
	} {
		if tables[t.name], err = t.emit(); err != nil {
			return nil, err
		}
	}
	return tables, nil
}
