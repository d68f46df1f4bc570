package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// small is the least that validates.
const small = `
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = "127.0.0.1:7001"
slots = "0-1023"
`

func mustParse(t *testing.T, doc string) *Config {
	t.Helper()
	c, err := Parse("sluice.toml", []byte(doc))
	if err != nil {
		t.Fatalf("unexpected problems:\n%v", err)
	}
	return c
}

func TestLoadNamesAFileThatCannotBeRead(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%q): %v; want %q", path, err, want)
		}
	}
	f("testdata/nowhere.toml", "testdata/nowhere.toml: cannot read: no such file or directory; hint: name the file with --config")
	f("testdata", "testdata: cannot read: is a directory")
}

func TestLoadReadsAFile(t *testing.T) {
	c, err := Load("sluice.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Pools[0].Groups[1].Slots.String(); got != "512-1023" {
		t.Errorf("slots of the second group are %q", got)
	}
}

func TestByteOrderMarkIsSkipped(t *testing.T) {
	mustParse(t, "\ufeff"+strings.TrimSpace(small))
}

func TestSlotModelDecidesSlotsAndDatabases(t *testing.T) {
	f := func(lines string, slots, databases int, keys ...MultiKey) {
		t.Helper()
		c := mustParse(t, "[[pool]]\nname = \"main\"\nlisten = [\"tcp://127.0.0.1:6380\"]\n"+lines)
		if p := c.Pools[0]; p.Slots != slots || p.Databases != databases {
			t.Errorf("%s: %d slots, %d databases; want %d, %d", lines, p.Slots, p.Databases, slots, databases)
		} else if len(keys) > 0 && p.MultiKey != keys[0] {
			t.Errorf("%s: multi_key %q, want %q", lines, p.MultiKey, keys[0])
		}
	}
	const group = "\n[[pool.group]]\nid = \"1\"\nmaster = \"127.0.0.1:7001\"\nslots = "
	f(`slot_model = "codis"`+group+`"0-1023"`, 1024, 16, MultiKeyGroup)
	f(`slot_model = "codis"`+"\nmulti_key = \"slot\""+group+`"0-1023"`, 1024, 16, MultiKeySlot)
	f("slot_model = \"codis\"\nslots = 512\ndatabases = 4"+group+`"0-511"`, 512, 4)
	f(`slot_model = "cluster"`+group+`"0-16383"`, 16384, 1, MultiKeySlot)
	f("slot_model = \"cluster\"\nslots = 16384\ndatabases = 16"+group+`"0-16383"`, 16384, 16)
	f("slot_model = \"cluster\"\ndiscovery = {kind = \"cluster\", seeds = [\"127.0.0.1:7001\"]}", 16384, 1)
}

func TestOverridesWinInOrder(t *testing.T) {
	doc := "[proxy]\nloops = 2\nmax_clients = 20\nadmin = \"127.0.0.1:1\"\n[proxy.limits]\nmax_bulk = \"2mb\"\n" + small
	over := Overrides{
		Env: []string{
			"PATH=/bin", "SLUICE_CONFIG=x", "SLUICE_TEST_REDIS=x", "SLUICE_BENCH_PEERS=x",
			"SLUICE_SERVICE_HOST=10.0.0.1", "SLUICE_SERVICE_PORT_RESP=6380", "SLUICE_PORT=tcp://10.0.0.1:6380",
			"SLUICE_PORT_6380_TCP=tcp://10.0.0.1:6380", "SLUICE_ADMIN_SERVICE_HOST=10.0.0.2", "SLUICE_ADMIN_PORT_80_TCP_ADDR=10.0.0.2",
			"SLUICE_PROXY_MAX_CLIENTS=30", "SLUICE_PROXY_ADMIN=", "SLUICE_PROXY_ADMIN_HOSTS=a.example, b", "SLUICE_PROXY_LIMITS_MAX_BULK=3mb", "SLUICE_PROXY_DRAIN_TIMEOUT=3s",
		},
		Set: []string{"proxy.max_clients=40", "proxy.max_clients = 50"},
	}
	c, err := ParseWith("sluice.toml", []byte(doc), over)
	if err != nil {
		t.Fatal(err)
	}
	f := func(key string, got, want any, origin string) {
		t.Helper()
		if got != want || c.Origin(key).String() != origin {
			t.Errorf("%s is %v from %v; want %v from %v", key, got, c.Origin(key), want, origin)
		}
	}
	f("proxy.loops", c.Proxy.Loops, 2, "sluice.toml:2")
	f("proxy.max_clients", c.Proxy.MaxClients, 50, "--set")
	f("proxy.admin", c.Proxy.Admin, "", "environment SLUICE_PROXY_ADMIN")
	f("proxy.admin_hosts", strings.Join(c.Proxy.AdminHosts, "|"), "a.example|b", "environment SLUICE_PROXY_ADMIN_HOSTS")
	f("proxy.limits.max_bulk", c.Proxy.Limits.MaxBulk, Bytes(3<<20), "environment SLUICE_PROXY_LIMITS_MAX_BULK")
	f("proxy.drain_timeout", c.Proxy.DrainTimeout, Duration(3*time.Second), "environment SLUICE_PROXY_DRAIN_TIMEOUT")
	f("proxy.log_level", c.Proxy.LogLevel, LogInfo, "default")
	f("pool[0].group[0].slots", c.Pools[0].Groups[0].Slots.String(), "0-1023", "sluice.toml:15")
	if c.Proxy.Limits.MaxBulk.String() != "3mb" {
		t.Errorf("max_bulk prints as %v", c.Proxy.Limits.MaxBulk)
	}
}

func TestOverridesThatAreNotUnderstood(t *testing.T) {
	f := func(over Overrides, want string) {
		t.Helper()
		_, err := ParseWith("sluice.toml", []byte(small), over)
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	env := func(entry, want string) { t.Helper(); f(Overrides{Env: []string{entry}}, want) }
	set := func(entry, want string) { t.Helper(); f(Overrides{Set: []string{entry}}, want) }
	env("SLUICE_PROXY_MAX_CLIENT=5", "environment: SLUICE_PROXY_MAX_CLIENT: names no key of the configuration; hint: did you mean SLUICE_PROXY_MAX_CLIENTS?")
	env("SLUICE_MAX_BULK=5", "environment: SLUICE_MAX_BULK: names no key of the configuration; hint: did you mean SLUICE_PROXY_LIMITS_MAX_BULK?")
	env("SLUICE_POOL_AUTH_PASSWORD=hunter2", "environment: SLUICE_POOL_AUTH_PASSWORD: names no key of the configuration; hint: pools are described in the file alone")
	env("SLUICE_VERBOSE=1", "environment: SLUICE_VERBOSE: names no key of the configuration; hint: unset it; variables reach the keys of [proxy], such as SLUICE_PROXY_LOOPS")
	env("SLUICE_PROXY_ADMIN_HOSTS=a.example,b:1", `environment SLUICE_PROXY_ADMIN_HOSTS: proxy.admin_hosts: "b:1" is not the name of a host; hint: write it without a port, such as "sluice.example.com"`)
	env("SLUICE_PROXY_LOOPS=many", `environment SLUICE_PROXY_LOOPS: proxy.loops: "many" is not a whole number; hint: write digits only, such as 4`)
	env("SLUICE_PROXY_LOOPS=0", "environment SLUICE_PROXY_LOOPS: proxy.loops: 0 is out of range; hint: from 1 to 256")
	env("SLUICE_PROXY_LOG_LEVEL=loud", `environment SLUICE_PROXY_LOG_LEVEL: proxy.log_level: "loud" is not known; hint: one of "debug", "info", "warn", "error"`)
	env("SLUICE_PROXY_DRAIN_TIMEOUT=5", `environment SLUICE_PROXY_DRAIN_TIMEOUT: proxy.drain_timeout: "5" is not a duration; hint: a duration needs a unit: "5s"`)
	set("proxy.max_client=5", "--set: proxy.max_client: is not a key that can be set here; hint: did you mean proxy.max_clients?")
	set("max_clients=5", "--set: max_clients: is not a key that can be set here; hint: did you mean proxy.max_clients?")
	set("pool.auth.backend_password=hunter2", "--set: pool.auth.backend_password: is not a key that can be set here; hint: pools are described in the file alone")
	set("hunter2", "--set: expected key=value; hint: such as --set proxy.max_clients=5")
	set("proxy.limits.max_bulk=2gb", "--set: proxy.limits.max_bulk: 2gb is out of range; hint: from 1mb to 1gb")
	set("proxy.admin=127.0.0.1:6380", `sluice.toml:4: pool.main.listen: "tcp://127.0.0.1:6380" is taken by proxy.admin; hint: give each listener a port or a path of its own`)
}

// TestNumberBeyond32Bits: its lower half is a number that is allowed.
func TestNumberBeyond32Bits(t *testing.T) {
	f := func(doc string, over Overrides) {
		t.Helper()
		if c, err := ParseWith("sluice.toml", []byte(doc), over); err == nil || !strings.Contains(err.Error(), "proxy.loops") {
			t.Errorf("%+v, %v", c, err)
		}
	}
	f(small, Overrides{Set: []string{"proxy.loops=4294967298"}})
	f("[proxy]\nloops = 4294967298\n"+small, Overrides{})
}

func TestOverrideReplacesAValueThatIsOutOfRange(t *testing.T) {
	doc := "[proxy]\nloops = 0\n" + small
	if _, err := ParseWith("sluice.toml", []byte(doc), Overrides{Set: []string{"proxy.loops=2"}}); err != nil {
		t.Errorf("the value in force is fine: %v", err)
	}
}

func TestValidateWorksWithoutAFile(t *testing.T) {
	c := Default()
	f := func(want string) {
		t.Helper()
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	f("pool: there is no pool; hint: add [[pool]] with name, listen, slot_model and its groups; `sluice config default` prints an example")
	p := DefaultPool()
	p.Name, p.SlotModel = "dev", SlotCluster
	p.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "unix", Address: "/tmp/s.sock"}}
	p.Groups = []Group{{ID: "a", Master: "127.0.0.1:7001", Slots: Slots{{0, 8191}}}, {ID: "b", Master: "127.0.0.1:7001", Slots: Slots{{8000, 16382}}}}
	c.Pools = []Pool{p}
	f(`pool.dev.listen: "0000" is not a mode of a socket; hint: write the permission bits in octal, such as ?mode=0660
pool.dev.slots: 1024 slots with slot_model "cluster", which has 16384; hint: leave slots out
pool.dev.group b.master: "127.0.0.1:7001" serves already as pool.dev.group a.master; hint: an address is one node, and a node has one place in a pool`)
	c.Pools[0].Listen[1].Mode = 0o600
	c.Pools[0].Slots = 16384
	c.Pools[0].Groups[1].Master = "127.0.0.1:7002"
	f(`pool.dev.group b: slots 8000-8191 overlap group a; hint: a slot has one owner; take them out of one of the two
pool.dev: slot 16383 belongs to no group; hint: give them to a group; each of the 16384 slots needs an owner`)
	c.Pools[0].Groups[1].Slots = Slots{{16383, 8192}}
	f(`pool.dev.group b.slots: slots 16383-8192 run backwards; hint: the smaller slot comes first`)
	c.Pools[0].Groups[1].Slots = Slots{{8192, 16383}}
	f("")
}

func TestPasswordFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "hunter2\r\n")
	write("b", "two words\n\n")
	write("empty", "\n")
	write("long", strings.Repeat("hunter2", 10000))
	doc := small + "[pool.auth]\nbackend_password_file = %q\n[[pool.auth.user]]\npassword_file = %q\n"
	c, err := Parse(filepath.Join(dir, "sluice.toml"), fmt.Appendf(nil, doc, "a", filepath.Join(dir, "b")))
	if err != nil {
		t.Fatal(err)
	}
	a := c.Pools[0].Auth
	if a.BackendPassword.Reveal() != "hunter2" || a.Users[0].Password.Reveal() != "two words\n" || a.Users[0].Name != "default" {
		t.Errorf("passwords are %q and %q", a.BackendPassword.Reveal(), a.Users[0].Password.Reveal())
	}
	if err := c.Validate(); err != nil {
		t.Errorf("validated again: %v", err)
	}
	if s := c.String(); strings.Contains(s, "***") || !strings.Contains(s, "backend_password_file = \"a\"") {
		t.Errorf("a password file prints as\n%s", s)
	}
	f := func(name, want string) {
		t.Helper()
		_, err := Parse(filepath.Join(dir, "sluice.toml"), fmt.Appendf(nil, doc, "a", name))
		if err == nil || !strings.Contains(err.Error(), "sluice.toml:13: pool.main.auth.user default.password_file: ") ||
			!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
	f("nowhere", "no such file or directory; hint: check the name")
	f("empty", "is empty; hint: write the password into it")
	f("long", "too long for a password file")
	f(".", "is not a regular file")
	f("/dev/zero", "is not a regular file")
}

func TestPasswordsAreNeverPrinted(t *testing.T) {
	c := mustParse(t, small+`[pool.auth]
backend_user = "sluice"
backend_password = "hunter2-backend"
[[pool.auth.user]]
name = "app"
password = "hunter2-app"
password_sha256 = ["68756e746572320000000000000000000000000000000000000000000000abcd"]
`)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asTOML, err := toml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	other := mustParse(t, small)
	apply, _ := Diff(other, c)
	for _, s := range []string{
		c.String(), fmt.Sprint(c), fmt.Sprint(*c), fmt.Sprintf("%+v %#v", *c, *c), string(asJSON), fmt.Sprint(apply),
		fmt.Sprintf("%[1]q %[1]x %[1]X %[1]v %[1]d %[2]v", c.Pools[0].Auth.BackendPassword, c.Pools[0].Auth), string(asTOML),
	} {
		if strings.Contains(s, "hunter2") || strings.Contains(strings.ToLower(s), "68756e74657232") {
			t.Errorf("a password is in\n%s", s)
		}
	}
	if _, err := Parse("x.toml", []byte(c.String())); err == nil || !strings.Contains(err.Error(), "is the mask") {
		t.Errorf("masks pass for passwords: %v", err)
	}
}

func TestPrintedConfigurationParsesBack(t *testing.T) {
	rights, err := os.ReadFile("testdata/ok-rights.toml")
	if err != nil {
		t.Fatal(err)
	}
	noPasswords := regexp.MustCompile(`password(_sha256)? = .*`).ReplaceAllString(string(rights), `password_file = "testdata/default.password"`)
	noPasswords = strings.Replace(noPasswords, "password_file = \"testdata/default.password\"\n", "", 1)
	for _, doc := range []string{string(Documented), small, noPasswords} {
		c := mustParse(t, doc)
		again := mustParse(t, c.String())
		if apply, restart := Diff(c, again); len(apply)+len(restart) > 0 {
			t.Errorf("differs after printing: %v %v", apply, restart)
		}
	}
}

func TestProblemsAreFoundByErrorsAs(t *testing.T) {
	_, err := Parse("x.toml", []byte("[proxy]\nloops = 0\n"+small))
	var p Problem
	if !errors.As(fmt.Errorf("reload: %w", err), &p) || p.Key != "proxy.loops" || p.Line != 2 || p.File != "x.toml" {
		t.Errorf("no problem in %v, or another one: %+v", err, p)
	}
}

func TestLogLevelForSlog(t *testing.T) {
	for l, want := range map[LogLevel]string{LogDebug: "DEBUG", LogInfo: "INFO", LogWarn: "WARN", LogError: "ERROR", "loud": "INFO"} {
		if got := l.Slog().String(); got != want {
			t.Errorf("%s is %s, want %s", l, got, want)
		}
	}
}
