package peer

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// A Kind is one proxy that can take part in a comparison: where its program is,
// how it is configured with one worker over all servers, and how it is called.
// To add one, add its configuration to config/ and an entry to Kinds.
type Kind struct {
	// Name is how reports call it.
	Name string
	// Note says what a reader of its figures has to know.
	Note string

	locate  func() (string, error)
	version []string // arguments that print the version
	config  string   // template in config/
	// args returns the arguments; extra files go next to the configuration.
	args func(s setup) ([]string, error)
}

// setup is what the configuration templates see.
type setup struct {
	Dir           string
	Config        string // path of the rendered configuration
	Listen, Admin string
	Servers       []server
}

type server struct {
	ID                  int
	Addr                string
	FirstSlot, LastSlot int
}

const slots = 1024

//go:embed config
var configs embed.FS

// ErrNotFound is returned by Launch when the program of a kind is not there.
var ErrNotFound = errors.New("not found")

// Names of the kinds that targets are stated against.
const (
	Sluice    = "sluice"
	Before    = "before"
	Predixy   = "predixy"
	Twemproxy = "twemproxy"
	Codis     = "codis-proxy"
	HAProxy   = "haproxy"
)

// Kinds returns all proxies, with Sluice's program at the given path.
func Kinds(sluicePath string) []Kind {
	return []Kind{
		{
			Name: Sluice, Note: "1 loop, codis slots over the servers",
			locate:  func() (string, error) { return program(sluicePath, "built by make build") },
			version: []string{"version"},
			config:  "sluice.toml",
			args:    sluiceArgs,
		},
		{
			Name: Before, Note: "an earlier build of Sluice, set up like this one",
			locate:  func() (string, error) { return fromEnv("SLUICE_BENCH_BEFORE") },
			version: []string{"version"},
			config:  "sluice.toml",
			args:    sluiceArgs,
		},
		{
			Name: Predixy, Note: "1 worker, crc16, modula, latency monitors off",
			locate:  func() (string, error) { return fromEnv("SLUICE_BENCH_PREDIXY") },
			version: []string{"--version"},
			config:  "predixy.conf",
			args:    func(s setup) ([]string, error) { return []string{s.Config}, nil },
		},
		{
			Name: Twemproxy, Note: "fnv1a_64, ketama, 1 connection per server",
			locate:  func() (string, error) { return onPath("nutcracker") },
			version: []string{"-V"},
			config:  "nutcracker.yml",
			args: func(s setup) ([]string, error) {
				host, port, _ := strings.Cut(s.Admin, ":")
				return []string{"-c", s.Config, "-a", host, "-s", port, "-o", filepath.Join(s.Dir, "nutcracker.log")}, nil
			},
		},
		{
			Name: Codis, Note: "--ncpu=1, 1024 slots over the servers",
			locate:  func() (string, error) { return fromEnv("SLUICE_BENCH_CODIS_PROXY") },
			version: []string{"--version"},
			config:  "codis.toml",
			args:    codisArgs,
		},
		{
			Name: HAProxy, Note: "TCP mode, 1 thread, one server only, does not read the protocol",
			locate:  func() (string, error) { return onPath("haproxy") },
			version: []string{"-v"},
			config:  "haproxy.cfg",
			args:    func(s setup) ([]string, error) { return []string{"-db", "-f", s.Config}, nil },
		},
	}
}

func sluiceArgs(s setup) ([]string, error) { return []string{"serve", "--config", s.Config}, nil }

// codisArgs writes the slot table that the proxy loads at its start, in place of
// the dashboard that would send it.
func codisArgs(s setup) ([]string, error) {
	type slot struct {
		ID      int    `json:"id"`
		Addr    string `json:"backend_addr"`
		GroupID int    `json:"backend_addr_group_id"`
	}
	var table []slot
	for _, srv := range s.Servers {
		for id := srv.FirstSlot; id <= srv.LastSlot; id++ {
			table = append(table, slot{ID: id, Addr: srv.Addr, GroupID: srv.ID})
		}
	}
	text, err := json.Marshal(table)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.Dir, "slots.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	return []string{
		"--ncpu=1", "--config=" + s.Config, "--fillslots=" + path,
		"--log=" + filepath.Join(s.Dir, "codis.log"), "--log-level=WARN",
	}, nil
}

// shareSlots gives each server its part of the slots.
func shareSlots(addrs []string) []server {
	servers := make([]server, len(addrs))
	for i, addr := range addrs {
		servers[i] = server{
			ID: i + 1, Addr: addr,
			FirstSlot: i * slots / len(addrs), LastSlot: (i+1)*slots/len(addrs) - 1,
		}
	}
	return servers
}

// render writes the configuration of k and sets s.Config to its path.
func (k Kind) render(s *setup) error {
	t, err := template.ParseFS(configs, "config/"+k.config)
	if err != nil {
		return fmt.Errorf("configuration of %s: %w", k.Name, err)
	}
	s.Config = filepath.Join(s.Dir, k.config)
	f, err := os.Create(s.Config)
	if err != nil {
		return err
	}
	if err := t.Execute(f, s); err != nil {
		f.Close()
		return fmt.Errorf("configuration of %s: %w", k.Name, err)
	}
	return f.Close()
}

// Version returns the first line that the program says about its version.
func (k Kind) Version() string {
	bin, err := k.locate()
	if err != nil {
		return ""
	}
	return firstLine(bin, k.version...)
}

// firstLine runs a program and returns the first line of its output, or of its
// errors if it has none: some print their version there, some log there.
func firstLine(bin string, args ...string) string {
	var out, errs bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // some exit with 1 after they printed their version
	text := bytes.TrimSpace(out.Bytes())
	if len(text) == 0 {
		text = bytes.TrimSpace(errs.Bytes())
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.ReplaceAll(line, bin, filepath.Base(bin))
	return line[:min(len(line), 80)]
}

// program checks that path is something to run and makes it absolute, because
// processes start in a directory of their own.
func program(path, hint string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("program %w (%s)", ErrNotFound, hint)
	}
	return filepath.Abs(path)
}

func fromEnv(name string) (string, error) {
	path := os.Getenv(name)
	if path == "" {
		return "", fmt.Errorf("program %w: %s is not set", ErrNotFound, name)
	}
	return program(path, name+" does not name a program")
}

// onPath also looks where distributions put daemons, which is not on the path of
// ordinary users.
func onPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := program(filepath.Join(dir, name), ""); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w on the path", name, ErrNotFound)
}
