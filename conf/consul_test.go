package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const inConsul = `
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"
discovery.kind = "consul"
`

func TestConsulRootFollowsFromThePool(t *testing.T) {
	c := mustParse(t, inConsul+`discovery.service = "redis"`)
	if got := c.Pools[0].Discovery.Root; got != "sluice/main/" || got != ConsulRoot("main") {
		t.Errorf("root %q", got)
	}
	c = mustParse(t, inConsul+`discovery.root = "cache/"`)
	if got := c.Pools[0].Discovery.Root; got != "cache/" {
		t.Errorf("root %q", got)
	}
	if c := mustParse(t, small); c.Pools[0].Discovery.Root != "" {
		t.Errorf("root %q of a static pool", c.Pools[0].Discovery.Root)
	}
}

func TestConsulAddresses(t *testing.T) {
	f := func(address, want string) {
		t.Helper()
		_, err := Parse("sluice.toml", []byte("[consul]\naddress = \""+address+"\"\n"+inConsul))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
	}
	f("127.0.0.1:8500", "")
	f("http://127.0.0.1:8500", "")
	f("https://consul.example.com:8501/", "")
	f("unix:///run/consul.sock", "")
	f("unix://run/consul.sock", "three slashes")
	f("tcp://127.0.0.1:8500", "is not an address of Consul")
	f("127.0.0.1", "has no port; hint: Consul listens on port 8500")
	f("https://secret@consul:8501", "the token of Consul belongs into token or token_file")
	f("http://:8500", "names no host to connect to")
}

func TestFilesAreBesideTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"consul.token": "hunter2\n",
		"sluice.toml":  "[consul]\ntoken_file = \"consul.token\"\n" + inConsul,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "sluice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, want string) {
		t.Helper()
		if got := c.Beside(name); got != want {
			t.Errorf("%q is at %q, want %q", name, got, want)
		}
	}
	f("", "")
	f("/run/token", "/run/token")
	f(c.Consul.TokenFile, filepath.Join(dir, "consul.token"))
	if !c.Consul.Token.Empty() || strings.Contains(c.String(), "hunter2") {
		t.Error("the token is in the configuration, it could not be exchanged any more")
	}
}

func TestVariableThatNamesAConsulBinaryIsNoKey(t *testing.T) {
	if _, err := ParseWith("sluice.toml", []byte(small), Overrides{Env: []string{"SLUICE_CONSUL=/usr/bin/consul"}}); err != nil {
		t.Error(err)
	}
}
