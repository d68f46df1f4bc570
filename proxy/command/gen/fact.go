package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// facts is the condensed file: what a project states about its commands, without
// a word of its prose. It lies between the two modes so that a build needs
// neither a source tree nor the network, and so that a review of a new version
// is a diff with one line per command.
type facts struct {
	Origin   origin `json:"origin"`
	Commands []fact `json:"commands"`
}

// origin says where the facts were taken from.
type origin struct {
	Project string `json:"project"`
	Branch  string `json:"branch"`
	Commit  string `json:"commit"`
	Path    string `json:"path"`
	Licence string `json:"licence"`
}

// fact is one command or subcommand. The field names in JSON are those of
// Redis' own files, so one type reads both.
type fact struct {
	Name            string    `json:"name"`
	Container       string    `json:"container,omitempty"`
	Group           string    `json:"group"`
	Since           string    `json:"since"`
	Arity           int       `json:"arity"`
	Flags           []string  `json:"command_flags,omitempty"`
	ACL             []string  `json:"acl_categories,omitempty"`
	Tips            []string  `json:"command_tips,omitempty"`
	DocFlags        []string  `json:"doc_flags,omitempty"`
	DeprecatedSince string    `json:"deprecated_since,omitempty"`
	ReplacedBy      string    `json:"replaced_by,omitempty"`
	Keys            []keySpec `json:"key_specs,omitempty"`

	valkey     string // the version of Valkey that has a newer command, "" for none; see merge
	onlyValkey bool   // Redis does not have it
}

type keySpec struct {
	Flags []string    `json:"flags"`
	Begin beginSearch `json:"begin_search"`
	Find  findKeys    `json:"find_keys"`
}

// beginSearch has exactly one field set. Unknown is the JSON null when it is.
type beginSearch struct {
	Index   *indexBegin     `json:"index,omitempty"`
	Keyword *keywordBegin   `json:"keyword,omitempty"`
	Unknown json.RawMessage `json:"unknown,omitempty"`
}

type indexBegin struct {
	Pos int `json:"pos"`
}

type keywordBegin struct {
	Keyword   string `json:"keyword"`
	StartFrom int    `json:"startfrom"`
}

// findKeys has exactly one field set. Unknown is the JSON null when it is.
type findKeys struct {
	Range   *rangeFind      `json:"range,omitempty"`
	KeyNum  *keyNumFind     `json:"keynum,omitempty"`
	Unknown json.RawMessage `json:"unknown,omitempty"`
}

type rangeFind struct {
	LastKey int `json:"lastkey"`
	Step    int `json:"step"`
	Limit   int `json:"limit"`
}

type keyNumFind struct {
	KeyNumIdx int `json:"keynumidx"`
	FirstKey  int `json:"firstkey"`
	Step      int `json:"step"`
}

// fullName is the name Redis reports: lower case, "container|sub" for a
// subcommand. Both halves are stored in lower case.
func (f *fact) fullName() string {
	if f.Container == "" {
		return f.Name
	}
	return f.Container + "|" + f.Name
}

// readFacts reads a condensed file and refuses a field it does not know, so a
// newer file cannot lose a fact in an older generator.
func readFacts(path string) (*facts, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var f facts
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return &f, nil
}

// marshal renders the condensed file with one command per line.
func (f *facts) marshal() ([]byte, error) {
	var out bytes.Buffer
	head, err := json.Marshal(f.Origin)
	if err != nil {
		return nil, fmt.Errorf("encode origin: %w", err)
	}
	fmt.Fprintf(&out, "{\n\"origin\": %s,\n\"commands\": [\n", head)
	for i := range f.Commands {
		line, err := json.Marshal(&f.Commands[i])
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.Commands[i].fullName(), err)
		}
		out.Write(line)
		if i < len(f.Commands)-1 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
	}
	out.WriteString("]\n}\n")
	return out.Bytes(), nil
}
