package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/conf"
	"sluice/router"
)

// everyKey is a configuration in which every key that a reload applies can be changed alone, and nothing answers.
const everyKey = `
[proxy]
admin = "127.0.0.1:0"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
slots = 16
[[pool.group]]
id = "1"
master = "127.0.0.1:1"
replicas = ["127.0.0.1:2"]
slots = "0-7"
[[pool.group]]
id = "2"
master = "127.0.0.1:3"
slots = "8-15"
[[pool.command]]
name = "bf.add"
access = "write"
[pool.reads]
policy = "prefer-replica"
[pool.auth]
backend_user = "sluice"
backend_password = "pw"
[[pool.auth.user]]
name = "app"
password = "secret"
keys = ["~a*"]
channels = ["a*"]
commands = ["+@all"]
read_max_lag_bytes = "1mb"
[[pool]]
name = "other"
listen = ["tcp://127.0.0.1:0"]
slot_model = "cluster"
[pool.discovery]
kind = "cluster"
seeds = ["127.0.0.1:4"]
`

// otherValues are valid values of keys for which a value that is a little more, or the opposite, would not do.
var otherValues = map[string]any{
	"pool.multi_key":                    "slot",
	"pool.server_config":                "get",
	"pool.ping":                         "proxy",
	"proxy.admin_hosts":                 []string{"sluice.example.com"},
	"proxy.log_level":                   conf.LogDebug,
	"pool.group.id":                     "9",
	"pool.group.master":                 "127.0.0.1:5",
	"pool.group.replicas":               []string{"127.0.0.1:5"},
	"pool.group.zones":                  []conf.NodeZone{{Address: "127.0.0.1:1", Zone: "a"}},
	"pool.command.name":                 "bf.madd",
	"pool.command.access":               conf.AccessRead,
	"pool.command.arity":                2,
	"pool.command.first_key":            0,
	"pool.command.keynum_at":            1,
	"pool.command.masters":              conf.MastersAll,
	"pool.discovery.seeds":              []string{"127.0.0.1:5"},
	"pool.discovery.admin_port":         "+10",
	"pool.reads.max_lag_bytes":          conf.Bytes(3 << 20),
	"pool.reads.policy":                 conf.ReadNearest,
	"pool.reads.consistency":            conf.ConsistencyMonotonic,
	"pool.reads.on_master_loss":         conf.LossLastProven,
	"pool.reads.zone":                   "b",
	"pool.reads.weights":                []conf.Weight{{Address: "127.0.0.1:2", Share: 2}},
	"pool.auth.backend_password":        conf.NewSecret("pw2"),
	"pool.auth.user.password":           conf.NewSecret("secret2"),
	"pool.auth.user.password_sha256":    []conf.Secret{conf.NewSecret(strings.Repeat("ab", 32))},
	"pool.auth.user.keys":               []string{"~b*"},
	"pool.auth.user.channels":           []string{"b*"},
	"pool.auth.user.commands":           conf.CommandRules{"+@all", "-get"},
	"pool.auth.user.read_policy":        conf.ReadNearest,
	"pool.auth.user.read_consistency":   conf.ConsistencyMonotonic,
	"pool.auth.user.read_max_lag":       new(conf.Duration(time.Second)),
	"pool.auth.user.read_max_lag_bytes": new(conf.Bytes(2 << 20)),
	"pool.group.slots":                  conf.Slots{{From: 0, To: 5}},
	"pool.command.last_key":             2,
	"pool.backend.max_connection_age":   conf.Duration(time.Hour),
}

// fileKeys name files whose content is in another key of a configuration that was loaded.
var fileKeys = []string{"pool.auth.backend_password_file", "pool.auth.user.password_file"}

// TestReloadAppliesOrNamesEveryKey changes each key of a running process: either what is in force becomes what it were in a
// process that is started with that file, and the answer has the key among what was applied, or nothing does, and the answer has it
// among what needs a restart.
func TestReloadAppliesOrNamesEveryKey(t *testing.T) {
	t.Parallel()
	base := func() *conf.Config {
		c, err := conf.Parse("sluice.toml", []byte(everyKey))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	next := base()
	log := slog.New(slog.DiscardHandler)
	in, err := startInstance(base(), func() (*conf.Config, error) { return next, nil }, log, new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	defer in.shutdown(t.Context())
	settings, groups := inForce(in)
	started := func() string {
		t.Helper()
		level := new(slog.LevelVar)
		level.Set(next.Proxy.LogLevel.Slog())
		fresh, err := newInstance(next, nil, log, level)
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.closeAdmin()
		settings, _ := inForce(fresh)
		return settings
	}
	if started := started(); started != settings {
		t.Fatalf("in force\n%s\nin another process\n%s", settings, started)
	}
	keys := 0
	eachKeyOf(base(), func(string, string, reflect.StructField, reflect.Value) { keys++ })
	if keys < 90 {
		t.Errorf("only %d keys", keys)
	}
	for i := range keys {
		var key, label string
		var live bool
		next = base()
		n := 0
		eachKeyOf(next, func(k, l string, field reflect.StructField, value reflect.Value) {
			if n++; n == i+1 {
				key, label, live = k, l, field.Tag.Get("reload") == "live"
				change(k, value)
			}
		})
		if key == "pool.group.slots" { // Each slot needs an owner.
			next.Pools[0].Groups[1].Slots = conf.Slots{{From: 6, To: 15}}
		}
		if key == "pool.command.masters" { // Where there are keys they say where it goes.
			next.Pools[0].Commands[0].FirstKey = 0
		}
		applied, restart, err := in.reload()
		named := func(list []string) bool {
			return slices.ContainsFunc(list, func(text string) bool { return strings.HasPrefix(text, label+":") })
		}
		switch {
		case live && (err != nil || !named(applied) || len(restart) > 0):
			t.Errorf("%s: applied %q, needs a restart %q, %v; want %s applied", key, applied, restart, err, label)
		case live && !slices.Contains(fileKeys, key):
			nowSettings, nowGroups := inForce(in)
			if started := started(); nowSettings != started {
				t.Errorf("%s: in force\n%s\nin a process with that file\n%s", key, nowSettings, started)
			}
			if isGroup := strings.HasPrefix(key, "pool.group."); (nowGroups == groups) == isGroup || (nowSettings == settings) != isGroup {
				t.Errorf("%s: applied %q, but the groups are now\n%s\nand the settings\n%s", key, applied, nowGroups, nowSettings)
			}
		case !live && (!named(restart) || len(applied) > 0):
			t.Errorf("%s: applied %q, needs a restart %q, %v; want %s to need one", key, applied, restart, err, label)
		}
		next = base()
		if _, _, err := in.reload(); err != nil {
			t.Fatalf("%s put back: %v", key, err)
		}
		if nowSettings, nowGroups := inForce(in); nowSettings != settings || nowGroups != groups {
			t.Fatalf("%s put back: in force\n%s\n%s\nbefore\n%s\n%s", key, nowSettings, nowGroups, settings, groups)
		}
	}
}

// ofTheCluster are the keys that the second pool has a use for, and the first has none.
var ofTheCluster = []string{"pool.discovery.seeds", "pool.discovery.refresh", "pool.backend.probe_interval", "pool.reads.policy"}

// eachKeyOf calls f for each key: its name without those of pools, groups, users and commands, how a change of it is named, and its
// value in the first pool, group and so on that can have it.
func eachKeyOf(c *conf.Config, f func(key, label string, field reflect.StructField, value reflect.Value)) {
	var visit func(key, label string, v reflect.Value)
	visit = func(key, label string, v reflect.Value) {
		for i := range v.NumField() {
			field, value := v.Type().Field(i), v.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
			at, shown := strings.TrimPrefix(key+"."+name, "."), strings.TrimPrefix(label+"."+name, ".")
			isList := value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Struct
			switch {
			case name == "":
			case field.Tag.Get("reload") == "":
				visit(at, shown, value)
			case at == "pool":
				for j, p := range c.Pools {
					visit(at, "pool."+p.Name, value.Index(j))
				}
			case isList && value.Type().Elem().Field(0).Tag.Get("toml") != "":
				if value.Len() > 0 {
					visit(at, shown+" "+value.Index(0).Field(0).String(), value.Index(0))
				}
			case strings.HasPrefix(label, "pool.other") != slices.Contains(ofTheCluster, at):
			case i == 0 && strings.HasPrefix(at, "pool") && (v.Type() == reflect.TypeFor[conf.Pool]() || strings.Contains(label, " ")): // A name: the element is another one then.
				f(at, label, field, value)
			default:
				f(at, shown, field, value)
			}
		}
	}
	visit("", "", reflect.ValueOf(c).Elem())
}

// change gives a key another valid value.
func change(key string, v reflect.Value) {
	if other, ok := otherValues[key]; ok {
		v.Set(reflect.ValueOf(other).Convert(v.Type()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int:
		v.SetInt(v.Int() + 1)
	case reflect.Int64:
		v.SetInt(v.Int() * 3 / 2)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Struct:
		v.Set(reflect.ValueOf(conf.NewSecret("another")))
	default:
		panic("no other value for " + key)
	}
}

// inForce is all that a reload can change, as a text: settings, and the groups of the configuration.
func inForce(in *instance) (settings, groups string) {
	var b strings.Builder
	add := func(what string, v any) {
		b.WriteString(what + " ")
		dump(&b, reflect.ValueOf(v), 0)
		b.WriteString("\n")
	}
	add("level", in.level.Level())
	add("process", in.server.Settings())
	add("admin", in.admin.Hosts())
	for _, s := range in.sources {
		add("pool", s.pool.Settings())
		add("rules", s.replicas.Rules())
		add("access", s.watcher.Access())
		busy, idle := s.watcher.Rhythm()
		add("rhythm", []time.Duration{busy, idle})
		add("learner", s.learner.Enabled())
		if s.cluster != nil {
			cfg := s.cluster.Config()
			cfg.Dial, cfg.Log = nil, nil
			add("cluster", cfg)
		}
	}
	id := in.sources[0].pool.Settings().Backend.Name
	settings = strings.ReplaceAll(b.String(), id, "ID")
	b.Reset()
	if t := in.sources[0].pool.Table(); t != nil {
		for _, g := range t.Groups {
			add("group", []any{g.ID, g.Master.Addr, g.Zones})
			for _, r := range g.Replicas {
				add("replica", r.Addr)
			}
		}
		for slot := range t.Model.Slots() {
			add("slot", t.Owner(router.Slot(slot)).ID)
		}
	}
	return settings, b.String()
}

// dump writes a value, following pointers, with maps in order.
func dump(b *strings.Builder, v reflect.Value, depth int) {
	if !v.IsValid() || depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		dump(b, v.Elem(), depth+1)
	case reflect.Struct:
		b.WriteString("{")
		for i := range v.NumField() {
			b.WriteString(v.Type().Field(i).Name + ":")
			dump(b, v.Field(i), depth+1)
			b.WriteString(" ")
		}
		b.WriteString("}")
	case reflect.Slice, reflect.Array:
		fmt.Fprintf(b, "%d[", v.Len())
		for i := range v.Len() {
			dump(b, v.Index(i), depth+1)
			b.WriteString(" ")
		}
		b.WriteString("]")
	case reflect.Map:
		var lines []string
		for it := v.MapRange(); it.Next(); {
			var line strings.Builder
			dump(&line, it.Key(), depth+1)
			line.WriteString("=")
			dump(&line, it.Value(), depth+1)
			lines = append(lines, line.String())
		}
		slices.Sort(lines)
		fmt.Fprintf(b, "%q", lines)
	case reflect.Func, reflect.Chan:
	default:
		fmt.Fprintf(b, "%v", v)
	}
}
