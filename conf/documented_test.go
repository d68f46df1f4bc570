package conf

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"
)

func TestDocumentedFileIsValid(t *testing.T) {
	c, err := Parse("sluice.toml", Documented)
	if err != nil {
		t.Fatalf("the documented file has problems:\n%v", err)
	}
	if len(c.Pools) != 1 || len(c.Pools[0].Groups) != 2 {
		t.Fatalf("the documented file is not the example with two groups:\n%v", c)
	}
	// What is not part of the example is the default.
	p := c.Pools[0]
	p.Name, p.Listen, p.SlotModel, p.Groups = "", nil, "", nil
	want := Default()
	want.Pools = []Pool{DefaultPool()}
	got := Config{Proxy: c.Proxy, Consul: c.Consul, Pools: []Pool{p}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmp.AllowUnexported(Secret{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("values of the documented file are not the defaults (-default +file):\n%s", diff)
	}
}

// docKey is a key as sluice.toml describes it.
type docKey struct {
	line    int
	value   string // as after the equals sign
	live    bool   // false when it is commented out
	comment string // the prose above it
}

var (
	docHeader = regexp.MustCompile(`^(?:# )?\[\[?([a-z_.]+)\]\]?$`)
	docLine   = regexp.MustCompile(`^(# )?([a-z0-9_]+) = (.+)$`)
	docFacts  = regexp.MustCompile(`Unit: [^.]+\. Default: (.+?)\. Change: (reload|restart)[.;]`)
)

// readDocumented returns the first mention of each key, by "proxy.loops" or "pool.group.id".
func readDocumented() map[string]docKey {
	out := map[string]docKey{}
	table, comment := "", ""
	for i, line := range strings.Split(string(Documented), "\n") {
		if m := docHeader.FindStringSubmatch(line); m != nil {
			table, comment = m[1], ""
			continue
		}
		if m := docLine.FindStringSubmatch(line); m != nil {
			if path := table + "." + m[2]; out[path].line == 0 {
				out[path] = docKey{i + 1, m[3], m[1] == "", comment}
			}
			comment = ""
			continue
		}
		if text, ok := strings.CutPrefix(line, "#"); ok {
			comment += strings.TrimSpace(text) + " "
			continue
		}
		comment = ""
	}
	return out
}

// eachKey calls f for every key with its default, its field and its path without indexes.
func eachKey(f func(path string, field reflect.StructField, value reflect.Value)) {
	var visit func(path string, v reflect.Value)
	visit = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if keyOf(field) == "" {
				continue
			}
			at := join(path, keyOf(field))
			switch {
			case isTable(field.Type):
				visit(at, v.Field(i))
			case field.Type == reflect.TypeFor[[]Pool]():
				visit(at, reflect.ValueOf(DefaultPool()))
			case field.Type == reflect.TypeFor[[]Group]():
				visit(at, reflect.ValueOf(Group{}))
			case field.Type == reflect.TypeFor[[]User]():
				visit(at, reflect.ValueOf(defaultUser()))
			case field.Type == reflect.TypeFor[[]Command]():
				visit(at, reflect.ValueOf(defaultCommand()))
			case isTables(field.Type):
				panic("a list of tables without a default in this test: " + at)
			default:
				f(at, field, v.Field(i))
			}
		}
	}
	visit("", reflect.ValueOf(Default()))
}

// literal reads a TOML value into the type of a key.
func literal(t *testing.T, path, text string, typ reflect.Type) reflect.Value {
	t.Helper()
	var tree map[string]any
	if err := toml.Unmarshal([]byte("v = "+text), &tree); err != nil {
		t.Errorf("%s: %s is no TOML value: %v", path, text, err)
		return reflect.Zero(typ)
	}
	r := newReport(&Config{})
	v := reflect.New(typ).Elem()
	(&decoder{r}).value(path, tree["v"], v)
	if err := r.err(); err != nil {
		t.Errorf("%s: %s: %v", path, text, err)
	}
	return v
}

func TestEveryKeyIsDocumented(t *testing.T) {
	doc := readDocumented()
	eachKey(func(path string, field reflect.StructField, def reflect.Value) {
		d, ok := doc[path]
		if !ok {
			t.Errorf("sluice.toml does not have %s: add it, or a line \"# %s = ...\"", path, keyOf(field))
			return
		}
		delete(doc, path)
		facts := docFacts.FindStringSubmatch(d.comment)
		if facts == nil {
			t.Errorf("sluice.toml:%d: %s has no \"Unit: ... Default: ... Change: reload|restart\" above it, but %q", d.line, path, d.comment)
			return
		}
		if prose, _, _ := strings.Cut(d.comment, "Unit: "); len(prose) < 10 {
			t.Errorf("sluice.toml:%d: %s has no prose", d.line, path)
		}
		if want := map[string]string{"live": "reload", "restart": "restart"}[field.Tag.Get("reload")]; facts[2] != want {
			t.Errorf("sluice.toml:%d: %s: the file says %q, the reload tag %q", d.line, path, facts[2], field.Tag.Get("reload"))
		}
		value := literal(t, path, d.value, field.Type)
		if isPlain := def.Kind() == reflect.Bool || def.CanInt(); def.IsZero() && !isPlain {
			if !strings.HasPrefix(facts[1], "none") {
				t.Errorf("sluice.toml:%d: %s: the file says the default is %s, there is none", d.line, path, facts[1])
			}
			return
		}
		for _, got := range []reflect.Value{value, literal(t, path, facts[1], field.Type)} {
			if !reflect.DeepEqual(got.Interface(), def.Interface()) {
				t.Errorf("sluice.toml:%d: %s: the file says %v, the default is %v", d.line, path, got, def)
			}
		}
		// The bounds that the prose mentions are those of the tags.
		for _, tag := range []string{"min", "max"} {
			if bounds := regexp.MustCompile(`Unit: [a-z]+, (?:from )?("?\w+"?)(?: to ("?\w+"?))?\.`).FindStringSubmatch(d.comment); bounds != nil {
				text := bounds[map[string]int{"min": 1, "max": 2}[tag]]
				if text != "" && strings.Trim(text, `"`) != field.Tag.Get(tag) {
					t.Errorf("sluice.toml:%d: %s: the file says %s %s, the tag %q", d.line, path, tag, text, field.Tag.Get(tag))
				}
			}
		}
	})
	for path, d := range doc {
		t.Errorf("sluice.toml:%d: there is no key %s", d.line, path)
	}
}

func TestEveryKeySaysWhetherAReloadAppliesIt(t *testing.T) {
	restart := []string{}
	fromZero := []string{
		"pool.hold.max_wait", "pool.hold.max_move_wait", "pool.reads.max_lag_bytes", "pool.auth.user.read_max_lag_bytes",
		"pool.command.first_key", "pool.command.keynum_at", "proxy.slowlog_max_len", "proxy.slowlog_slower_than",
		"pool.backend.max_connection_age", "pool.backend.max_dedicated",
	}
	fromBelow := []string{"pool.command.arity", "pool.command.last_key"}
	eachKey(func(path string, field reflect.StructField, _ reflect.Value) {
		switch tag := field.Tag.Get("reload"); tag {
		case "live":
		case "restart":
			restart = append(restart, path)
		default:
			t.Errorf("%s: reload tag %q", path, tag)
		}
		typ := field.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if reflect.Zero(typ).CanInt() {
			low, high := bound(field, "min"), bound(field, "max")
			if low.Int() < 0 && !slices.Contains(fromBelow, path) || low.Int() == 0 && !slices.Contains(fromZero, path) || low.Int() >= high.Int() {
				t.Errorf("%s: from %v to %v", path, low, high)
			}
		}
	})
	want := []string{
		"consul.address", "consul.ca_file", "consul.cert_file", "consul.check_ttl", "consul.datacenter",
		"consul.deregister_after", "consul.key_file", "consul.namespace", "consul.on_loss", "consul.register",
		"consul.service_name", "consul.session_ttl", "consul.tls_server_name", "consul.token", "consul.token_file",
		"pool.dialect", "pool.discovery.admin", "pool.discovery.flap", "pool.discovery.follow", "pool.discovery.kind",
		"pool.discovery.max_state_age", "pool.discovery.product", "pool.discovery.product_auth",
		"pool.discovery.replicas", "pool.discovery.require_consul", "pool.discovery.root", "pool.discovery.service",
		"pool.discovery.state_file", "pool.listen", "pool.name", "pool.slot_model", "pool.slots",
		"proxy.admin", "proxy.log_format", "proxy.loops",
	}
	if slices.Sort(restart); !slices.Equal(restart, want) {
		t.Errorf("keys that need a restart: %q\nwant %q", restart, want)
	}
}
