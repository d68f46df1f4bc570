package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/testbed"
)

// askCtl runs a command of sluice ctl in this process, with somebody at the terminal who types input.
func askCtl(t *testing.T, input string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, notes bytes.Buffer
	cmd := ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), notes.String(), err
}

const staticPool = `
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = "10.0.0.1:6379"
replicas = ["10.0.0.2:6379"]
slots = "0-511"
zones = ["10.0.0.1:6379=a"]
[[pool.group]]
id = "2"
master = "10.0.0.3:6379"
slots = "512-1023"
`

const consulPool = `
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"
discovery.kind = "consul"
`

// configured writes a configuration with a table [consul] that leads to a server, and returns its path.
func configured(t *testing.T, server *testbed.ConsulServer, rest string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	write(t, path, fmt.Sprintf("[consul]\naddress = %q\nsession_ttl = \"1s\"\n%s", server.Addr(), rest))
	return path
}

func TestCtlTopologyFromTheFirstToAnImport(t *testing.T) {
	server := testbed.Consul(t)
	static, inConsul := configured(t, server, staticPool), configured(t, server, consulPool)
	topology := func(input string, args ...string) (string, string, error) {
		t.Helper()
		return askCtl(t, input, append([]string{"topology"}, args...)...)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, notes, err := topology("", args...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v\n%s%s\nwant %s", args, err, out, notes, want)
		}
	}
	prints := func(want string, args ...string) {
		t.Helper()
		if out, notes, err := topology("", args...); err != nil || out != want || notes != "" {
			t.Errorf("%q: %v %s\n%s\nwant\n%s", args, err, notes, out, want)
		}
	}

	refused("there is no topology; `sluice ctl topology init` makes one", "show", "-c", inConsul)
	refused("name the groups: either --from-config or --groups", "init", "-c", inConsul)
	refused("pool main of "+inConsul+" has no [[pool.group]]; name them with --groups", "init", "-c", inConsul, "--from-config")
	refused(`--pool "other": `+inConsul+" has no pool of this name; it has main", "show", "-c", inConsul, "--pool", "other")
	prints("would write epoch 1 of pool main: 2 group(s), 1024 slots, in sluice/main/\n", "init", "-c", static, "--from-config", "--dry-run")
	prints("wrote epoch 1 of pool main: 2 group(s), 1024 slots, in sluice/main/\n", "init", "-c", static, "--from-config")
	refused("sluice/main/format is there already; `sluice ctl topology show` shows the topology", "init", "-c", inConsul, "--groups", "1,2")
	prints("pool main, epoch 1, 1024 slots by crc32, in sluice/main/\nlast change: init by "+whoami()+`
GROUP  SLOTS     NODES
1      0-511     10.0.0.1:6379 (a), 10.0.0.2:6379
2      512-1023  10.0.0.3:6379
`, "show", "-c", inConsul)

	// What is exported says the same when it is imported, in both forms.
	dir := t.TempDir()
	for _, form := range []string{"table", "json"} {
		text, _, err := topology("", "export", "-c", inConsul, "-o", form)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, form)
		write(t, file, text)
		prints("nothing changes: epoch 1 says the same\n", "import", file, "-c", inConsul, "--yes")
	}
	text, err := os.ReadFile(filepath.Join(dir, "table"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("an export:\n%s", text)
	edited := filepath.Join(dir, "edited.toml")
	write(t, edited, strings.NewReplacer("10.0.0.3:6379", "10.0.0.4:6379", "0-511", "0-500", "512-1023", "501-1023").Replace(string(text)))
	changes := "group 2: node 10.0.0.3:6379 removed\ngroup 2: node 10.0.0.4:6379 added\nslots 501-511: group 1 -> group 2\n" +
		"11 slot(s) change their group, and an import moves no keys: what they hold will not be found any more\n"
	if out, _, err := topology("n\n", "import", edited, "-c", inConsul); err == nil || err.Error() != "not written, as you say" || out != changes+"write it? [y/N] " {
		t.Errorf("%v\n%s", err, out)
	}
	const wrote = "wrote epoch 2 of pool main: 2 group(s), 1024 slots, in sluice/main/\n"
	if out, _, err := topology("y\n", "import", edited, "-c", inConsul); err != nil || out != changes+"write it? [y/N] "+wrote {
		t.Errorf("%v\n%s", err, out)
	}

	// Without a configuration Consul is where the environment says, and slots are what Consul says.
	t.Setenv("CONSUL_HTTP_ADDR", server.Addr())
	t.Chdir(dir)
	var shown struct {
		Root, Change string
		Epoch        uint64
		Groups       []any
	}
	out, _, err := topology("", "show", "--pool", "main", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &shown)
	}
	if err != nil || shown.Epoch != 2 || shown.Root != "sluice/main/" || len(shown.Groups) != 2 || shown.Change != "import of "+edited+" by "+whoami() {
		t.Errorf("%v\n%s", err, out)
	}
	refused("which pool? There is no sluice.toml here", "show")
}

func TestCtlTopologyImportNamesEveryProblem(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	file, dir := configured(t, server, consulPool), t.TempDir()
	f := func(doc, wantErr string, want ...string) {
		t.Helper()
		path := filepath.Join(dir, "topology")
		write(t, path, doc)
		out, notes, err := askCtl(t, "", "topology", "import", path, "-c", file, "--yes")
		if err == nil || !strings.Contains(err.Error(), wantErr) || out != "" {
			t.Errorf("%s: %v\n%s", doc, err, out)
		}
		for _, line := range want {
			if !strings.Contains(notes, path+":"+line+"\n") {
				t.Errorf("no line %q in\n%s", line, notes)
			}
		}
	}
	f("groups = [{ id = \"1\" }, { id = \"1\" }]\nslots = [{ slots = \"0-1000\", group = \"2\" }]", errReported.Error(),
		" group 1 is listed twice", ` slots 0-1000: there is no group "2"`, " slots 1001-1023 have no group")
	f("groups = [{ idd = \"1\" }]\nfoo = 1", errReported.Error(),
		"1: unknown key idd; see sluice ctl topology export for what there is", "2: unknown key foo; see sluice ctl topology export for what there is")
	f("groups = [", errReported.Error(), "1:10: array is incomplete")
	f(`{"groups": [], "slotts": []}`, errReported.Error(), `1: unknown field "slotts"`)
	f("format = {version = 1, slots = 16384, hash = \"crc16\"}\ngroups = [{id = \"1\"}]\nslots = [{slots = \"0-16383\", group = \"1\"}]",
		errReported.Error(), " it is for 16384 slots by crc16, the pool is configured for 1024 by crc32")
	if _, _, err := askCtl(t, "", "topology", "import", filepath.Join(dir, "nowhere"), "-c", file); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// TestCtlTopologyConflict changes the topology while somebody is asked whether to.
func TestCtlTopologyConflict(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	file := configured(t, server, consulPool)
	if _, notes, err := askCtl(t, "", "topology", "init", "-c", file, "--groups", "1=10.0.0.1:6379,10.0.0.2:6379", "--groups", "2,3"); err != nil {
		t.Fatalf("%v %s", err, notes)
	}
	text, _, err := askCtl(t, "", "topology", "export", "-c", file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, `"341-681"`) && !strings.Contains(text, `'341-681'`) {
		t.Errorf("the slots are not divided evenly:\n%s", text)
	}
	doc := filepath.Join(t.TempDir(), "topology.toml")
	write(t, doc, strings.Replace(text, "10.0.0.2:6379", "10.0.0.9:6379", 1))
	var out bytes.Buffer
	cmd := ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{"topology", "import", doc, "-c", file})
	cmd.SetOut(&out)
	cmd.SetIn(readerFunc(func(p []byte) (int, error) {
		other := filepath.Join(t.TempDir(), "other.toml")
		write(t, other, strings.Replace(text, "10.0.0.1:6379", "10.0.0.8:6379", 1))
		if _, notes, err := askCtl(t, "", "topology", "import", other, "-c", file, "--yes"); err != nil {
			t.Errorf("%v %s", err, notes)
		}
		return copy(p, "y\n"), nil
	}))
	err = cmd.ExecuteContext(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "not written: the topology in sluice/main/ has changed since it was read") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if shown, _, _ := askCtl(t, "", "topology", "show", "-c", file); !strings.Contains(shown, "10.0.0.8:6379") || strings.Contains(shown, "10.0.0.9") {
		t.Errorf("the other one's change is gone:\n%s", shown)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestCtlTopologyThatWasLostIsNotBegunAnew is about keys that somebody has deleted under proxies that serve.
func TestCtlTopologyThatWasLostIsNotBegunAnew(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	file := configured(t, server, consulPool)
	put := func(key, value string) {
		t.Helper()
		if code, body, err := server.Do("PUT", "/v1/kv/sluice/main/"+key, value); err != nil || code != 200 {
			t.Fatalf("%d %s %v", code, body, err)
		}
	}
	// One that waits for its first topology is no hindrance, nor is what a doctor has left.
	put("members/a", `{"id":"a","name":"sluice:a","last_seen_epoch":0}`)
	put("proxies/doctor-1", `{}`)
	if _, notes, err := askCtl(t, "", "topology", "init", "-c", file, "--groups", "1", "--dry-run"); err != nil {
		t.Errorf("%v %s", err, notes)
	}
	put("members/b", `{"id":"b","name":"sluice:b","last_seen_epoch":1842}`)
	_, _, err := askCtl(t, "", "topology", "init", "-c", file, "--groups", "1")
	if err == nil || !strings.Contains(err.Error(), "but there was one: 1 proxies (b) know epoch 1842; write it back with `sluice ctl topology import FILE`") {
		t.Error(err)
	}
	doc := filepath.Join(t.TempDir(), "topology.toml")
	write(t, doc, "groups = [{id = \"1\"}]\nslots = [{slots = \"0-1023\", group = \"1\"}]\n")
	out, notes, err := askCtl(t, "", "topology", "import", doc, "-c", file, "--yes")
	if want := "there is no topology in sluice/main/ yet\nwrote epoch 1843 of pool main: 1 group(s), 1024 slots, in sluice/main/\n"; err != nil || out != want {
		t.Errorf("%v %s\n%s", err, notes, out)
	}
	list := listProxiesOf(t, server)
	if list.Epoch != 1843 || len(list.Proxies) != 2 || list.Proxies[1].State != "gone" || list.Proxies[1].Lease != "lost" || list.Proxies[1].Seen != 1842 {
		t.Errorf("%+v", list)
	}
}

func TestCtlTopologyImportMends(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	file := configured(t, server, consulPool)
	do := func(method, key, value string) {
		t.Helper()
		if code, body, err := server.Do(method, "/v1/kv/sluice/main/"+key, value); err != nil || code != 200 {
			t.Fatalf("%d %s %v", code, body, err)
		}
	}
	doc := filepath.Join(t.TempDir(), "topology.toml")
	imports := func(slots, want string) {
		t.Helper()
		write(t, doc, "groups = [{id = \"1\"}, {id = \"2\"}, {id = \"3\"}]\nslots = ["+slots+"]\n")
		out, notes, err := askCtl(t, "", "topology", "import", doc, "-c", file, "--yes")
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v %s\n%s\nwant %s", slots, err, notes, out, want)
		}
		if _, _, err := askCtl(t, "", "topology", "show", "-c", file); err != nil {
			t.Error(err)
		}
	}
	const stable, lost = `{slots = "0-1023", group = "1", state = "stable"}`, "slot(s) change their group"
	imports(stable, "wrote epoch 1 ")
	do("PUT", "members/a", `{"id":"a","name":"sluice:a","last_seen_epoch":7}`)
	do("DELETE", "topology/epoch", "")
	imports(stable, "wrote epoch 8 ")
	do("PUT", "topology/epoch", `{"epoch":50,"change":"x","barrier":false,"digest":"bad"}`)
	imports(stable, "wrote epoch 51 ")
	imports(`{slots = "0-1023", group = "1", state = "moving", to = "2"}`, "wrote epoch 52 ")
	imports(`{slots = "0-9", group = "1", state = "stable"}, {slots = "10-1023", group = "1", state = "moving", to = "2"}`, "10 "+lost)
	imports(`{slots = "0-9", group = "1", state = "stable"}, {slots = "10-1023", group = "1", state = "moving", to = "3"}`, "1014 "+lost)
}

func TestCtlTopologyWithoutConsulIsOneLine(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	file := filepath.Join(t.TempDir(), "sluice.toml")
	write(t, file, fmt.Sprintf("[consul]\naddress = %q\n%s", addr, consulPool))
	out, notes, exit := sluice(t, "ctl", "topology", "show", "-c", file)
	if exit != 1 || out != "" || strings.Count(notes, "\n") != 1 || !strings.Contains(notes, addr) || !strings.Contains(notes, "is Consul running there?") {
		t.Errorf("exit %d\n%s%s", exit, out, notes)
	}
	doc := filepath.Join(t.TempDir(), "t.toml")
	write(t, doc, "groups = []\nslots = []\n")
	if _, notes, exit = sluice(t, "ctl", "topology", "imprt"); exit != 1 || notes != "sluice: ctl topology has no command \"imprt\"; see sluice ctl topology --help\n" {
		t.Errorf("exit %d\n%s", exit, notes)
	}
}

func TestCtlTopologyTokenWithoutRights(t *testing.T) {
	server := testbed.Consul(t, testbed.ConsulOptions{ACL: true})
	file := configured(t, server, consulPool)
	out, _, err := askCtl(t, "", "topology", "init", "-c", file, "--groups", "1")
	if err == nil || !strings.Contains(err.Error(), "Permission denied") && !strings.Contains(err.Error(), "403") || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
	t.Setenv("CONSUL_HTTP_TOKEN", server.Token())
	if out, notes, err := askCtl(t, "", "topology", "init", "-c", file, "--groups", "1"); err != nil {
		t.Errorf("%v\n%s%s", err, out, notes)
	}
}
