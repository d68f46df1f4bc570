package conf

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// envPrefix starts the name of every variable that is ours.
const envPrefix = "SLUICE_"

// Overrides are values from outside of the file. They reach the keys of [proxy] and
// [proxy.limits]; of a list the values stand with commas between them. Pools are lists of tables, for which a variable name says too little, and a
// password does not belong into an environment: use password_file.
type Overrides struct {
	// Env is the environment, as os.Environ returns it. A variable is the key in capitals with
	// underscores, such as SLUICE_PROXY_LIMITS_MAX_BULK. One that starts with SLUICE_ and is not
	// a key is a problem, save for those that foreignVariable names.
	Env []string
	// Set are "key=value", such as "proxy.max_clients=5", and win over Env. The last one of a
	// key counts.
	Set []string
}

// foreignVariable matches variables that start with our prefix and are no keys: the one that names
// the file, the one that names a consul for tests, those of tests and benchmarks, and those that Kubernetes puts into every pod beside a
// service whose name is sluice or starts with sluice-.
var foreignVariable = regexp.MustCompile(`^SLUICE_(CONFIG$|CONSUL$|TEST_|BENCH_|` +
	`(.+_)?SERVICE_(HOST|PORT)(_|$)|(.+_)?PORT(_\d+_(TCP|UDP|SCTP)(_|$)|$))`)

// setting is a key that can be overridden.
type setting struct {
	key   string // "proxy.limits.max_bulk"
	value reflect.Value
}

func (s setting) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// settings returns the keys of c that can be overridden.
func settings(c *Config) []setting {
	var out []setting
	var visit func(path string, v reflect.Value)
	visit = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			at := join(path, keyOf(v.Type().Field(i)))
			if isTable(v.Field(i).Type()) {
				visit(at, v.Field(i))
				continue
			}
			out = append(out, setting{at, v.Field(i)})
		}
	}
	visit("proxy", reflect.ValueOf(&c.Proxy).Elem())
	return out
}

// apply sets the overrides and records those that are not understood.
func (o Overrides) apply(r *report) {
	known := settings(r.cfg)
	for _, entry := range o.Env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || foreignVariable.MatchString(name) {
			continue
		}
		i := slices.IndexFunc(known, func(s setting) bool { return s.variable() == name })
		if i < 0 {
			r.problems = append(r.problems, unknownVariable(name, known))
			continue
		}
		override(r, known[i], value, Origin{File: "environment " + name})
	}
	for _, entry := range o.Set {
		key, value, found := strings.Cut(entry, "=")
		key = strings.TrimSpace(key)
		if !found || key == "" {
			// What it is instead is not repeated: it may be half of a password.
			r.problems = append(r.problems, Problem{
				File: "--set", Msg: "expected key=value", Hint: "such as --set proxy.max_clients=5",
			})
			continue
		}
		i := slices.IndexFunc(known, func(s setting) bool { return s.key == key })
		if i < 0 {
			r.problems = append(r.problems, unknownSetting(key, known))
			continue
		}
		override(r, known[i], strings.TrimSpace(value), Origin{File: "--set"})
	}
}

// override sets one value. What was wrong with the value of the file stays reported, but the checks
// that follow look at the new value.
func override(r *report, s setting, value string, from Origin) {
	r.cfg.origins[s.key] = from
	delete(r.bad, s.key)
	if s.value.Type() == reflect.TypeFor[[]string]() {
		maps.DeleteFunc(r.cfg.origins, func(path string, _ Origin) bool { return strings.HasPrefix(path, s.key+"[") })
		maps.DeleteFunc(r.bad, func(path string, _ bool) bool { return strings.HasPrefix(path, s.key+"[") })
		s.value.Set(reflect.ValueOf(strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ' ' })))
		return
	}
	if bad := setText(s.value, value); bad != nil {
		r.addValue(s.key, bad)
	}
}

func unknownVariable(name string, known []setting) Problem {
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.variable()
	}
	p := Problem{File: "environment", Key: name, Msg: "names no key of the configuration"}
	if !isBare(name) {
		p.Key = quote(name)
	}
	near := nearest(name, names)
	if near == "" {
		near = endingIn(strings.TrimPrefix(name, "SLUICE"), names)
	}
	switch {
	case near != "":
		p.Hint = "did you mean " + near + "?"
	case strings.HasPrefix(name, envPrefix+"POOL"):
		p.Hint = "pools are described in the file alone"
	default:
		p.Hint = "unset it; variables reach the keys of [proxy], such as " + names[0]
	}
	return p
}

func unknownSetting(key string, known []setting) Problem {
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.key
	}
	p := Problem{File: "--set", Key: key, Msg: "is not a key that can be set here"}
	if !isBare(strings.NewReplacer(".", "", "[", "", "]", "").Replace(key)) {
		p.Key = quote(key)
	}
	near := nearest(key, names)
	if near == "" {
		near = endingIn("."+key, names)
	}
	switch {
	case near != "":
		p.Hint = "did you mean " + near + "?"
	case strings.HasPrefix(key, "pool"):
		p.Hint = "pools are described in the file alone"
	default:
		p.Hint = "keys of [proxy] and [proxy.limits] can be set, such as " + names[0]
	}
	return p
}

// endingIn returns the one name that ends in tail, for a key without its table; else "".
func endingIn(tail string, names []string) string {
	if i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, tail) }); i >= 0 {
		return names[i]
	}
	return ""
}
