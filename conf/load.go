package conf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Load reads a configuration file. The error is of type Problems and holds everything that is
// wrong with the file. Environment and flags are left out; LoadWith takes them.
func Load(path string) (*Config, error) {
	return LoadWith(path, Overrides{})
}

// LoadWith is Load with environment and flags over the file.
func LoadWith(path string, over Overrides) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		bad := unreadable(path, err)
		if errors.Is(err, os.ErrNotExist) {
			bad.hint = "name the file with --config; `sluice config default` prints one to start from"
		}
		return nil, Problems{{File: path, Msg: strings.Replace(bad.msg, " "+quote(path), "", 1), Hint: bad.hint}}
	}
	return ParseWith(path, data, over)
}

// Parse reads a configuration from memory. The name stands in problems in place of the file, and
// relative names of password files are looked up in its directory. data is not kept.
func Parse(name string, data []byte) (*Config, error) {
	return ParseWith(name, data, Overrides{})
}

// ParseWith is Parse with environment and flags over the file.
func ParseWith(name string, data []byte, over Overrides) (*Config, error) {
	// Some editors put a byte order mark first, which is not TOML. The copy is for the parser,
	// which compares capacities of slices to find positions.
	doc := bytes.Clone(bytes.TrimPrefix(data, []byte("\ufeff")))
	var tree map[string]any
	if err := toml.Unmarshal(doc, &tree); err != nil {
		return nil, Problems{syntaxProblem(name, err)}
	}
	c := Default()
	c.origins, c.dir = places(name, doc), filepath.Dir(name)
	r := newReport(&c)
	d := decoder{r: r}
	d.table("", tree, reflect.ValueOf(&c).Elem())
	over.apply(r)
	complete(r, name)
	completeConsul(r)
	validate(r)
	if err := r.err(); err != nil {
		return nil, err
	}
	delete(c.origins, "")
	return &c, nil
}

// syntaxHints say what to do about the usual slips, by a part of the message of the TOML library.
var syntaxHints = []struct{ in, hint string }{
	{"start of value", `text stands in quotes: key = "text"`},
	{"keyword", `text stands in quotes: key = "text"`},
	{"parse float", `text stands in quotes: key = "text"`},
	{"already", "keep one of the two"},
	{"cannot have new lines", "the closing quote is missing"},
	{"after array value", "a comma or the closing bracket of the list is missing"},
	{"array is incomplete", "the closing bracket of the list is missing"},
}

// syntaxProblem turns the error of the TOML library into a Problem.
func syntaxProblem(name string, err error) Problem {
	p := Problem{File: name, Line: 1, Column: 1, Msg: strings.TrimPrefix(err.Error(), "toml: ")}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		p.Line, p.Column = at.Position()
	}
	// What follows would quote the value, and the value may be a password without quotes.
	p.Msg, _, _ = strings.Cut(p.Msg, ": strconv.")
	p.Msg = strings.Map(func(r rune) rune {
		if r < ' ' {
			return '?'
		}
		return r
	}, p.Msg)
	p.Hint = "this is not TOML; the rest of the file is checked once it is"
	for _, h := range syntaxHints {
		if strings.Contains(p.Msg, h.in) {
			p.Hint = h.hint
			break
		}
	}
	return p
}

// complete fills in what depends on other values: the sizes that follow from the slot model, and
// passwords that are in files.
func complete(r *report, file string) {
	for i := range r.cfg.Pools {
		p, at := &r.cfg.Pools[i], element("pool", i)
		if p.SlotModel == SlotCluster {
			if !r.cfg.given(join(at, "slots")) {
				p.Slots = clusterSlots
			}
			if !r.cfg.given(join(at, "databases")) {
				p.Databases = clusterDatabases
			}
			if !r.cfg.given(join(at, "multi_key")) {
				p.MultiKey = MultiKeySlot
			}
		}
		auth := join(at, "auth")
		resolveSecret(r, auth, "backend_password", &p.Auth.BackendPassword, p.Auth.BackendPasswordFile, file)
		for j := range p.Auth.Users {
			u := &p.Auth.Users[j]
			resolveSecret(r, element(join(auth, "user"), j), "password", &u.Password, u.PasswordFile, file)
		}
	}
}

// resolveSecret reads the password file of the key in the table at path, when one is named.
func resolveSecret(r *report, path, key string, password *Secret, name, configFile string) {
	if name == "" {
		return
	}
	fileKey := key + "_file"
	if !password.Empty() {
		r.add(join(path, fileKey), fmt.Sprintf("%s is given too", key), "keep one of the two")
		return
	}
	secret, err := readSecret(name, configFile)
	if bad := asBad(err); bad != nil {
		r.add(join(path, fileKey), bad.msg, bad.hint)
		r.excused[join(path, key)] = true
		return
	}
	*password = secret
}
