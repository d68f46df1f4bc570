package conf

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Reload is what becomes of a process that reads its configuration again.
type Reload struct {
	InForce *Config  // what is in force then: the file, but for the keys that need a restart, which stay as they are
	Applied []Change // between what was in force and InForce
	Restart []Change // what the file has, and only a new process puts into force
}

// NotAppliedError is a file that needs a restart before anything of it can be applied.
type NotAppliedError struct {
	Reasons []string // one for each change that has to wait, or for each problem of what would be in force
	Restart []Change // the keys that need a restart
}

// Error implements error.
func (e *NotAppliedError) Error() string {
	var b strings.Builder
	b.WriteString("nothing was applied, what was in force stays; restart to put the file into force:")
	for _, reason := range e.Reasons {
		b.WriteString("\n" + reason)
	}
	for _, c := range e.Restart {
		b.WriteString("\n" + c.String() + ": needs a restart")
	}
	return b.String()
}

// Reload returns what becomes of a process in which c is in force when it reads next, which is valid. A file can't be
// applied in part where the parts belong together: a change that means something else without a key that needs a restart and
// has changed as well, and whatever leaves a configuration in force that is not valid, refuses the whole file with a
// NotAppliedError. c and next stay as they are.
func (c *Config) Reload(next *Config) (Reload, error) {
	live, restart := Diff(c, next)
	var reasons []string
	for _, change := range live {
		for _, r := range restart {
			if slices.Contains(change.with, r.Key) {
				reasons = append(reasons, fmt.Sprintf("%s: goes with %s", change, r.Key))
				break
			}
		}
	}
	if len(reasons) > 0 {
		return Reload{}, &NotAppliedError{reasons, restart}
	}
	inForce := c.keepRestartOnly(next)
	if err := inForce.Validate(); err != nil {
		return Reload{}, &NotAppliedError{strings.Split("until then "+err.Error(), "\n"), restart}
	}
	applied, _ := Diff(c, inForce)
	return Reload{inForce, applied, restart}, nil
}

// keepRestartOnly returns next with the values of c for all keys that need a restart, pools that are new or gone among
// them.
func (c *Config) keepRestartOnly(next *Config) *Config {
	out := *next
	out.origins, out.dir = make(map[string]Origin), c.dir
	out.Pools = slices.Clone(c.Pools)
	k := keeper{out: &out}
	for path, origin := range next.origins {
		if name, _, ok := elementOf(splitPath(path)[0]); !ok || name != "pool" {
			out.origins[path] = origin
		}
	}
	for i := range out.Pools {
		at := element("pool", i)
		j := slices.IndexFunc(next.Pools, func(p Pool) bool { return p.Name == out.Pools[i].Name })
		if j < 0 {
			k.keepOrigins(c, at)
			continue
		}
		out.Pools[i] = next.Pools[j]
		for path, origin := range below(next.origins, element("pool", j)) {
			out.origins[at+path] = origin
		}
		k.table(c, at, reflect.ValueOf(&out.Pools[i]).Elem(), reflect.ValueOf(&c.Pools[i]).Elem())
	}
	k.table(c, "proxy", reflect.ValueOf(&out.Proxy).Elem(), reflect.ValueOf(&c.Proxy).Elem())
	k.table(c, "consul", reflect.ValueOf(&out.Consul).Elem(), reflect.ValueOf(&c.Consul).Elem())
	return &out
}

// keeper puts values that need a restart into a configuration.
type keeper struct{ out *Config }

// table sets the keys of the table at path that need a restart to those of old.
func (k keeper) table(c *Config, path string, v, old reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		at := join(path, keyOf(f))
		switch {
		case keyOf(f) == "":
		case isTable(f.Type):
			k.table(c, at, v.Field(i), old.Field(i))
		case f.Tag.Get("reload") == "restart":
			v.Field(i).Set(old.Field(i))
			k.keepOrigins(c, at)
		}
	}
}

// keepOrigins makes the places of path, and of what is in it, those that c has. They have no lines: the file is another one now.
func (k keeper) keepOrigins(c *Config, path string) {
	for rest := range below(k.out.origins, path) {
		delete(k.out.origins, path+rest)
	}
	for rest := range below(c.origins, path) {
		k.out.origins[path+rest] = Origin{File: "in force"}
	}
}

// below returns the part of origins that is at path or in it, by the rest of the paths.
func below(origins map[string]Origin, path string) map[string]Origin {
	out := maps.Clone(origins)
	maps.DeleteFunc(out, func(at string, _ Origin) bool {
		rest, ok := strings.CutPrefix(at, path)
		return !ok || rest != "" && rest[0] != '.' && rest[0] != '['
	})
	cut := make(map[string]Origin, len(out))
	for at, origin := range out {
		cut[at[len(path):]] = origin
	}
	return cut
}
