package sluice

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed says which packages of ours a package may import, by path below the module, tests not counted.
// The data path goes one way, cmd -> proxy -> {router, backend}, and so does the topology,
// discovery -> router. What is not listed here may import nothing of ours; a trailing "/" means everything
// below.
var allowed = map[string][]string{
	"backend":                        {"internal/bufpool", "internal/clock", "internal/control", "internal/paced", "internal/rawio", "proxy/resp", "router/lag"},
	"backend/dialect":                {"proxy/resp", "router", "router/lag"},
	"bench/":                         {"bench/"},
	"conf":                           {"proxy/acl", "proxy/command"},
	"cmd/sluice":                     {"backend", "backend/dialect", "conf", "discovery", "discovery/cluster", "discovery/codis", "discovery/consul", "discovery/controller", "discovery/controller/driver", "discovery/controller/mover", "discovery/learn", "discovery/migration", "discovery/replication", "discovery/static", "discovery/upkeep", "internal/control", "internal/testbed", "proxy", "proxy/acl", "proxy/admin", "proxy/command", "proxy/hold", "router"},
	"discovery":                      {"router"},
	"discovery/cluster":              {"discovery", "internal/control", "router"},
	"discovery/codis":                {"discovery", "internal/control", "internal/statefile", "router"},
	"discovery/consul":               {"backend", "backend/dialect", "discovery", "internal/clock", "internal/statefile", "router", "router/lag"},
	"discovery/controller":           {"router"},
	"discovery/controller/driver":    {"discovery/consul", "discovery/controller", "discovery/controller/mover", "internal/control", "router"},
	"discovery/controller/mover":     {"backend/dialect", "discovery/controller", "internal/control", "router"},
	"discovery/learn":                {"internal/control", "proxy/command"},
	"discovery/migration":            {"backend/dialect", "internal/control", "internal/paced", "router"},
	"discovery/replication":          {"backend", "backend/dialect", "internal/clock", "internal/control", "router", "router/lag"},
	"discovery/static":               {"discovery", "router"},
	"discovery/upkeep":               {"internal/control", "internal/paced"},
	"internal/control":               {"proxy/resp"},
	"internal/testbed/fake":          {"proxy/command", "router"},
	"internal/testbed/fakecodis":     {"internal/testbed/fake"},
	"internal/testbed/fakedragonfly": {"internal/testbed/fake"},
	"internal/testbed/fakekvrocks":   {"internal/testbed/fake"},
	"proxy":                          {"backend", "backend/dialect", "internal/bufpool", "internal/clock", "internal/control", "internal/epoll", "internal/paced", "internal/rawio", "internal/sparselog", "proxy/acl", "proxy/command", "proxy/hold", "proxy/keymove", "proxy/local", "proxy/merge", "proxy/pubsub", "proxy/redispatch", "proxy/resp", "proxy/scan", "proxy/script", "router", "router/lag"},
	"proxy/acl":                      {"proxy/command"},
	"proxy/hold":                     {"router"},
	"proxy/keymove":                  {"backend/dialect", "proxy/hold", "proxy/resp", "router"},
	"proxy/local":                    {"proxy/acl", "proxy/command", "proxy/merge", "proxy/resp", "router"},
	"proxy/merge":                    {"proxy/resp"},
	"proxy/pubsub":                   {"backend", "backend/dialect", "internal/bufpool", "proxy/command", "proxy/resp", "router"},
	"proxy/scan":                     {"router"},
	"proxy/admin":                    {"backend", "discovery/migration", "discovery/replication", "proxy", "proxy/command", "proxy/hold", "proxy/keymove", "proxy/local", "proxy/pubsub", "router"},
}

func TestImportDirection(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		for _, imported := range p.Imports {
			path, ours := strings.CutPrefix(imported, "sluice/")
			if ours && !mayImport(p.path(), path) {
				t.Errorf("%s imports %s: is this the way the data goes? See allowed in this file", p.path(), path)
			}
		}
	}
}

// TestOnlyTestbedsUseTidwall: its reader recurses and allocates what is announced; internal/control does neither.
func TestOnlyTestbedsUseTidwall(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if slices.Contains(p.Imports, "github.com/tidwall/resp") && !strings.HasPrefix(p.path(), "internal/testbed") {
			t.Errorf("%s reads replies with tidwall/resp: use internal/control", p.path())
		}
	}
}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

func (p listedPackage) path() string { return strings.TrimPrefix(p.ImportPath, "sluice/") }

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []listedPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < len(allowed) {
		t.Fatalf("only %d packages found", len(packages))
	}
	return packages
}

func mayImport(from, to string) bool {
	for pkg, list := range allowed {
		if !matches(pkg, from) {
			continue
		}
		if slices.ContainsFunc(list, func(pattern string) bool { return matches(pattern, to) }) {
			return true
		}
	}
	return false
}

func matches(pattern, path string) bool {
	return pattern == path || strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern)
}
