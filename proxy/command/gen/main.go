// Program gen keeps the command table equal to what Redis states about itself.
//
// With -extract it condenses the src/commands directory of a Redis tree into
// one file of facts. Without, it turns that file into table_gen.go. The first
// is done once per Redis version, by hand; the second by "go generate".
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	set := flag.NewFlagSet("gen", flag.ContinueOnError)
	dir := set.String("extract", "", "condense the Redis command files in this `directory`")
	in := set.String("in", "redis-7.2.json", "file of facts to read")
	out := set.String("out", "", "file to write (default table_gen.go, or the -in file with -extract)")
	branch := set.String("branch", "", "branch the extracted files are from")
	commit := set.String("commit", "", "commit the extracted files are from")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return generate(*in, orElse(*out, "table_gen.go"))
	}
	if *branch == "" || *commit == "" {
		return errors.New("-extract needs -branch and -commit: facts without an origin cannot be checked")
	}
	return condense(*dir, orElse(*out, *in), *branch, *commit)
}

func condense(dir, out, branch, commit string) error {
	f, err := extract(dir, origin{
		Project: "redis/redis",
		Branch:  branch,
		Commit:  commit,
		Path:    "src/commands",
		Licence: "BSD-3-Clause",
	})
	if err != nil {
		return err
	}
	raw, err := f.marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(out, raw, 0o644)
}

func generate(in, out string) error {
	f, err := readFacts(in)
	if err != nil {
		return err
	}
	src, err := emit(f)
	if err != nil {
		return err
	}
	return os.WriteFile(out, src, 0o644)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
