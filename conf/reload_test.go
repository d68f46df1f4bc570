package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiffNamesWhatChanged(t *testing.T) {
	const base = `
[proxy]
loops = 1
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380", "tcp://[::1]:6380"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = "127.0.0.1:7001"
replicas = ["127.0.0.1:7002", "127.0.0.1:7003"]
slots = "0-1023"
[pool.auth]
backend_password = "hunter2"
[[pool.auth.user]]
password = "hunter2"
`
	f := func(change []string, wantApply, wantRestart []string) {
		t.Helper()
		doc := base
		for i := 0; i < len(change); i += 2 {
			if !strings.Contains(doc, change[i]) {
				t.Fatalf("no %q to change", change[i])
			}
			doc = strings.Replace(doc, change[i], change[i+1], 1)
		}
		apply, restart := Diff(mustParse(t, base), mustParse(t, doc))
		text := func(cs []Change) []string {
			var out []string
			for _, c := range cs {
				out = append(out, c.String())
			}
			return out
		}
		if diff := cmp.Diff([][]string{wantApply, wantRestart}, [][]string{text(apply), text(restart)}); diff != "" {
			t.Errorf("%q (-want +got):\n%s", change, diff)
		}
	}
	f(nil, nil, nil)
	f([]string{`"127.0.0.1:7002", "127.0.0.1:7003"`, `"127.0.0.1:7003", "127.0.0.1:7002"`}, nil, nil)
	f([]string{`"tcp://127.0.0.1:6380", "tcp://[::1]:6380"`, `"tcp://[::1]:6380", "tcp://127.0.0.1:6380"`}, nil, nil)
	f([]string{`"0-1023"`, `"512-1023,0-511"`}, nil, nil)
	f([]string{"loops = 1", "loops = 2\nlog_level = \"debug\"\n[proxy.limits]\nmax_bulk = \"1mb\""},
		[]string{"proxy.log_level: info -> debug", "proxy.limits.max_bulk: 512mb -> 1mb"},
		[]string{"proxy.loops: 1 -> 2"})
	f([]string{"loops = 1", "admin = \"\""}, nil, []string{"proxy.admin: 127.0.0.1:6381 -> (none)"})
	f([]string{`"127.0.0.1:7001"`, `"127.0.0.1:7011"`, `, "127.0.0.1:7003"`, ""},
		[]string{"pool.main.group 1.master: 127.0.0.1:7001 -> 127.0.0.1:7011", "pool.main.group 1.replicas: 127.0.0.1:7002, 127.0.0.1:7003 -> 127.0.0.1:7002"}, nil)
	f([]string{"\"0-1023\"", "\"0-511\"\n[[pool.group]]\nid = \"2\"\nmaster = \"127.0.0.1:7005\"\nslots = \"512-1023\""},
		[]string{"pool.main.group 1.slots: 0-1023 -> 0-511", "pool.main.group 2: (none) -> id=2 master=127.0.0.1:7005 slots=512-1023"}, nil)
	f([]string{`id = "1"`, `id = "9"`},
		[]string{
			"pool.main.group 1: id=1 master=127.0.0.1:7001 replicas=127.0.0.1:7002, 127.0.0.1:7003 slots=0-1023 -> (none)",
			"pool.main.group 9: (none) -> id=9 master=127.0.0.1:7001 replicas=127.0.0.1:7002, 127.0.0.1:7003 slots=0-1023",
		}, nil)
	f([]string{`password = "hunter2"`, `password = "hunter3"`, "[[pool.auth.user]]\npassword = \"hunter2\"", "[[pool.auth.user]]\npassword = \"hunter4\""},
		[]string{"pool.main.auth.backend_password: *** -> ***", "pool.main.auth.user default.password: *** -> ***"}, nil)
	f([]string{`[[pool.auth.user]]`, "[[pool.auth.user]]\nname = \"app\""},
		[]string{"pool.main.auth.user default: name=default password=*** read_only=false -> (none)", "pool.main.auth.user app: (none) -> name=app password=*** read_only=false"}, nil)
	f([]string{`name = "main"`, `name = "other"`}, nil, []string{
		"pool.main: name=main listen=tcp://127.0.0.1:6380, tcp://[::1]:6380 slot_model=codis slots=1024 databases=16 dialect=redis cluster_emulation=false multi_key=group cross_group=false learn_commands=true ping=servers server_config=set -> (none)",
		"pool.other: (none) -> name=other listen=tcp://127.0.0.1:6380, tcp://[::1]:6380 slot_model=codis slots=1024 databases=16 dialect=redis cluster_emulation=false multi_key=group cross_group=false learn_commands=true ping=servers server_config=set",
	})
	f([]string{`slot_model = "codis"`, `slot_model = "cluster"`, "0-1023", "0-16383"},
		[]string{"pool.main.databases: 16 -> 1", "pool.main.multi_key: group -> slot", "pool.main.group 1.slots: 0-1023 -> 0-16383"},
		[]string{"pool.main.slot_model: codis -> cluster", "pool.main.slots: 1024 -> 16384"})
}

func TestDiffOfRights(t *testing.T) {
	const one, other = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
	parse := func(user string) *Config { return mustParse(t, small+"[[pool.auth.user]]\n"+user) }
	f := func(before, after string, want ...string) {
		t.Helper()
		apply, restart := Diff(parse(before), parse(after))
		var got []string
		for _, c := range append(apply, restart...) {
			got = append(got, c.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q to %q: %q, want %q", before, after, got, want)
		}
	}
	hashes := func(list ...string) string { return `password_sha256 = ["` + strings.Join(list, `", "`) + `"]` }
	f(hashes(one), hashes(other), "pool.main.auth.user default.password_sha256: *** -> ***")
	f(hashes(one), hashes(one, other), "pool.main.auth.user default.password_sha256: *** -> ***, ***")
	f(hashes(one, other), hashes(other, strings.ToUpper(one)))
	rules := func(list string) string { return hashes(one) + "\ncommands = [" + list + "]" }
	f(rules(`"+@all", "-get"`), rules(`"+@all", "+get"`), "pool.main.auth.user default.commands: +@all, -get -> +@all, +get")
	f(rules(`"+@all", "-@all"`), rules(`"+@all", "-get"`), "pool.main.auth.user default.commands: +@all, -@all -> +@all, -get")
	f(rules(`"+get", "-get"`), rules(`"+get", "-@read", "-get"`), "pool.main.auth.user default.commands: +get, -get -> +get, -@read, -get")
	f(rules(`"+get", "-@read", "+set"`), rules(`"+get", "+set", "-@read"`), "pool.main.auth.user default.commands: +get, -@read, +set -> +get, +set, -@read")
}

// TestDiffSeesEveryKey changes each key of a configuration in turn.
func TestDiffSeesEveryKey(t *testing.T) {
	eachAlteredKey(t, func(at string, field reflect.StructField, old, changed *Config) {
		apply, restart := Diff(old, changed)
		if len(apply)+len(restart) == 0 {
			t.Errorf("%s: the change is not seen", at)
		}
		if live := field.Tag.Get("reload") == "live"; live != (len(apply) > 0) {
			t.Errorf("%s: apply %v, restart %v", at, apply, restart)
		}
	})
}

// eachAlteredKey calls f for each key with a configuration and one in which that key has another value.
func eachAlteredKey(t *testing.T, f func(at string, field reflect.StructField, old, changed *Config)) {
	t.Helper()
	build := func() *Config {
		c := Default()
		p := DefaultPool()
		p.Name = "main"
		p.Groups = []Group{{ID: "1"}}
		p.Auth.Users = []User{{Name: "app"}}
		p.Commands = []Command{{Name: "bf.add"}}
		c.Pools = []Pool{p}
		return &c
	}
	seen := 0
	changed := build()
	var visit func(path string, v reflect.Value)
	visit = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			field, value := v.Type().Field(i), v.Field(i)
			at := join(path, keyOf(field))
			switch {
			case keyOf(field) == "":
			case isTable(field.Type):
				visit(at, value)
			case isTables(field.Type):
				visit(element(at, 0), value.Index(0))
			default:
				seen++
				before := reflect.ValueOf(value.Interface())
				alter(value)
				f(at, field, build(), changed)
				value.Set(before)
			}
		}
	}
	visit("", reflect.ValueOf(changed).Elem())
	want := 0
	eachKey(func(string, reflect.StructField, reflect.Value) { want++ })
	if seen != want {
		t.Errorf("%d keys changed, there are %d", seen, want)
	}
	if apply, restart := Diff(build(), changed); len(apply)+len(restart) > 0 {
		t.Fatalf("the test does not put back what it changes: %v %v", apply, restart)
	}
}

// alter gives a value another one.
func alter(v reflect.Value) {
	if p, ok := v.Addr().Interface().(*Secret); ok {
		*p = NewSecret(p.Reveal() + "x")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	default:
		panic("alter: " + v.Type().String())
	}
}

func ExampleDiff() {
	old, _ := Parse("sluice.toml", Documented)
	new, _ := Parse("sluice.toml", []byte(strings.NewReplacer(
		`"127.0.0.1:7003"`, `"127.0.0.1:7013"`, "loops = 1", "loops = 2",
	).Replace(string(Documented))))
	apply, restart := Diff(old, new)
	fmt.Println("apply:", apply)
	fmt.Println("restart:", restart)
	// Output:
	// apply: [pool.main.group 2.master: 127.0.0.1:7003 -> 127.0.0.1:7013]
	// restart: [proxy.loops: 1 -> 2]
}

func ExampleParse() {
	_, err := Parse("sluice.toml", []byte(`
[proxy]
max_cleints = 100

[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"

[[pool.group]]
id = "1"
master = "10.0.0.1:6379"
slots = "0-600"

[[pool.group]]
id = "2"
master = "10.0.0.2:6379"
slots = "512-1000"
`))
	fmt.Println(err)
	// Output:
	// sluice.toml:3: proxy.max_cleints: unknown key; hint: did you mean max_clients?
	// sluice.toml:5: pool.main: slots 1001-1023 belong to no group; hint: give them to a group; each of the 1024 slots needs an owner
	// sluice.toml:18: pool.main.group 2: slots 512-600 overlap group 1 (line 13); hint: a slot has one owner; take them out of one of the two
}
