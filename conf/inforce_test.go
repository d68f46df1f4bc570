package conf

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inForceBase has a pool of 16 slots.
const inForceBase = `
[proxy]
loops = 1
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"
slots = 16
dialect = "redis"
[[pool.group]]
id = "1"
master = "127.0.0.1:7001"
slots = "0-7"
[[pool.group]]
id = "2"
master = "127.0.0.1:7002"
slots = "8-15"
[pool.reads]
policy = "prefer-replica"
`

func texts(changes []Change) (out []string) {
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

func TestReloadTakesAFileWholeOrLeavesWhatBelongsTogether(t *testing.T) {
	changed := func(pairs []string) *Config {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(inForceBase, pairs[i]) {
				t.Fatalf("no %q to change", pairs[i])
			}
		}
		return mustParse(t, strings.NewReplacer(pairs...).Replace(inForceBase))
	}
	running := mustParse(t, inForceBase)
	// taken is a file of which something is applied.
	taken := func(apply, restart []string, pairs ...string) *Config {
		t.Helper()
		r, err := running.Reload(changed(pairs))
		if err != nil {
			t.Fatalf("%q: %v", pairs, err)
		}
		if diff := cmp.Diff([][]string{apply, restart}, [][]string{texts(r.Applied), texts(r.Restart)}); diff != "" {
			t.Errorf("%q (-want +got):\n%s", pairs, diff)
		}
		if err := r.InForce.Validate(); err != nil {
			t.Errorf("%q: in force is something that is not valid: %v", pairs, err)
		}
		again, err := r.InForce.Reload(changed(pairs))
		if err != nil || len(again.Applied) > 0 || !slices.Equal(texts(again.Restart), restart) {
			t.Errorf("%q read twice: %v, %v", pairs, again, err)
		}
		return r.InForce
	}
	refused := func(want []string, pairs ...string) {
		t.Helper()
		_, err := running.Reload(changed(pairs))
		var not *NotAppliedError
		if !errors.As(err, &not) || !strings.HasPrefix(err.Error(), "nothing was applied, what was in force stays; restart to put the file into force:\n") {
			t.Fatalf("%q: %v", pairs, err)
		}
		if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")[1:]); diff != "" {
			t.Errorf("%q (-want +got):\n%s", pairs, diff)
		}
	}
	taken(nil, nil)
	got := taken([]string{"proxy.log_level: info -> debug"}, []string{"proxy.loops: 1 -> 2"}, "loops = 1", "loops = 2\nlog_level = \"debug\"")
	if got.Proxy.Loops != 1 || got.Proxy.LogLevel != LogDebug {
		t.Errorf("%+v", got.Proxy)
	}
	// Other slots: what the groups have of them would be read from the wrong place.
	refused([]string{
		"pool.main.group 1.slots: 0-7 -> 0-3: goes with pool.main.slots", "pool.main.group 2.slots: 8-15 -> 4-7: goes with pool.main.slots",
		"pool.main.slots: 16 -> 8: needs a restart",
	}, "slots = 16", "slots = 8", "0-7", "0-3", "8-15", "4-7")
	refused([]string{
		"pool.main.group 2.slots: 8-15 -> 8-31: goes with pool.main.slots", "pool.main.slots: 16 -> 32: needs a restart",
	}, "slots = 16", "slots = 32", "8-15", "8-31")
	refused([]string{
		"pool.main.group 2: id=2 master=127.0.0.1:7002 slots=8-15 -> (none): goes with pool.main.slots",
		"pool.main.group 3: (none) -> id=3 master=127.0.0.1:7002 slots=8-16: goes with pool.main.slots",
		"pool.main.slots: 16 -> 17: needs a restart",
	}, "slots = 16", "slots = 17", `id = "2"`, `id = "3"`, "8-15", "8-15,16")
	refused([]string{
		"pool.main.databases: 16 -> 1: goes with pool.main.slot_model",
		"pool.main.multi_key: group -> slot: goes with pool.main.slot_model",
		"pool.main.group 2.slots: 8-15 -> 8-16383: goes with pool.main.slot_model",
		"pool.main.slot_model: codis -> cluster: needs a restart", "pool.main.slots: 16 -> 16384: needs a restart",
	}, `slot_model = "codis"`+"\nslots = 16", `slot_model = "cluster"`, "8-15", "8-16383")
	refused([]string{
		"pool.main.reads.heartbeat: false -> true: goes with pool.main.dialect", "pool.main.dialect: redis -> pika: needs a restart",
	}, `dialect = "redis"`, `dialect = "pika"`, "[pool.reads]", "[pool.reads]\nheartbeat = true")
	// Without the slots, what the groups are does not hang on them.
	got = taken([]string{"pool.main.hold.max_wait: 2s -> 3s"}, []string{"pool.main.dialect: redis -> codis"},
		`dialect = "redis"`, `dialect = "codis"`, "[pool.reads]", "[pool.hold]\nmax_wait = \"3s\"\n[pool.reads]")
	if got.Pools[0].Dialect != DialectRedis {
		t.Error("the dialect was changed")
	}
	// The port is taken until the restart.
	refused([]string{
		`until then sluice.toml:16: pool.main.group 2.master: "127.0.0.1:6380" is where pool.main listens; hint: name the backend; the proxy would connect to itself`,
		"pool.main.listen: tcp://127.0.0.1:6380 -> tcp://127.0.0.1:6390: needs a restart",
	}, "tcp://127.0.0.1:6380", "tcp://127.0.0.1:6390", "127.0.0.1:7002", "127.0.0.1:6380")
}

func TestPoolsComeAndGoWithARestart(t *testing.T) {
	second := strings.NewReplacer("main", "other", "6380", "6390", "[proxy]\nloops = 1\n", "").Replace(inForceBase)
	one, both, swapped := mustParse(t, inForceBase), mustParse(t, inForceBase+second), mustParse(t, second+inForceBase)
	names := func(c *Config) (out []string) {
		for _, p := range c.Pools {
			out = append(out, p.Name)
		}
		return out
	}
	f := func(running, next *Config, restart int) {
		t.Helper()
		r, err := running.Reload(next)
		if err != nil || len(r.Applied) > 0 || len(r.Restart) != restart || !slices.Equal(names(r.InForce), names(running)) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	f(one, both, 1)
	f(both, one, 1)
	f(both, swapped, 0)
	f(one, mustParse(t, second), 2)
	// Of a pool that stays, what can be applied is, wherever it stands in the file.
	next := mustParse(t, strings.Replace(second, `master = "127.0.0.1:7001"`, `master = "127.0.0.1:7011"`, 1)+inForceBase)
	r, err := both.Reload(next)
	if err != nil || len(r.Applied) != 1 || r.InForce.Pools[1].Groups[0].Master != "127.0.0.1:7011" || r.InForce.Pools[0].Groups[0].Master != "127.0.0.1:7001" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestEveryKeyIsAppliedOrKept changes each key of a configuration in turn: it is in force then, or the old value and the
// key among those that need a restart.
func TestEveryKeyIsAppliedOrKept(t *testing.T) {
	eachAlteredKey(t, func(at string, field reflect.StructField, running, next *Config) {
		inForce := running.keepRestartOnly(next)
		_, restart := Diff(running, next)
		applied, pending := Diff(running, inForce)
		left, rest := Diff(inForce, next)
		switch field.Tag.Get("reload") {
		case "live":
			if isName := strings.HasSuffix(at, ".name") || strings.HasSuffix(at, ".id"); len(applied) == 0 || len(left)+len(restart)+len(rest) > 0 && !isName {
				t.Errorf("%s: applied %v, not applied %v, %v", at, applied, left, restart)
			}
		case "restart":
			if len(restart) == 0 || len(rest) != len(restart) || len(applied)+len(pending) > 0 {
				t.Errorf("%s: needs a restart %v, and is applied %v", at, restart, applied)
			}
		}
	})
}
