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
	// Closed and Open say in which cells it takes part.
	Closed, Open bool

	locate  func() (string, error)
	version []string // arguments that print the version
	config  string   // template in config/
	workers int      // threads, or event loops
	reads   bool     // from replicas
	// args returns the arguments; extra files go next to the configuration.
	args func(s setup) ([]string, error)
}

// setup is what the configuration templates see.
type setup struct {
	Dir           string
	Config        string // path of the rendered configuration
	Listen, Admin string
	Servers       []server

	Workers int  // those of the kind
	Reads   bool // whether the kind reads from replicas
}

type server struct {
	ID                  int
	Addr                string
	Replica             string // its address
	FirstSlot, LastSlot int
}

// Server is one of the servers that proxies are put in front of.
type Server struct{ Addr, Replica string }

const slots = 1024

//go:embed config
var configs embed.FS

// ErrNotFound is returned by Launch when the program of a kind is not there.
var ErrNotFound = errors.New("not found")

// Names of the kinds that targets are stated against.
const (
	Sluice    = "sluice"
	Sluice2   = "sluice-2"
	Reads     = "sluice-reads"
	Before    = "before"
	Predixy   = "predixy"
	Predixy2  = "predixy-2"
	Twemproxy = "twemproxy"
	Codis     = "codis-proxy"
	HAProxy   = "haproxy"
)

// Kinds returns all proxies, with Sluice's program at the given path.
func Kinds(sluicePath string) []Kind {
	sluice := func(name, note string) Kind {
		return Kind{
			Name: name, Note: note, Open: true,
			locate:  func() (string, error) { return program(sluicePath, "built by make build") },
			version: []string{"version"},
			config:  "sluice.toml",
			workers: 1,
			args:    sluiceArgs,
		}
	}
	predixy := func(name, note string) Kind {
		return Kind{
			Name: name, Note: note, Open: true,
			locate:  func() (string, error) { return fromEnv("SLUICE_BENCH_PREDIXY") },
			version: []string{"--version"},
			config:  "predixy.conf",
			workers: 1,
			args:    func(s setup) ([]string, error) { return []string{s.Config}, nil },
		}
	}
	one := sluice(Sluice, "1 loop, codis slots over the servers")
	two := sluice(Sluice2, "2 loops")
	reads := sluice(Reads, "1 loop, reads from replicas: prefer-replica, read-your-writes")
	before := sluice(Before, "an earlier build of Sluice, set up like this one")
	predixy1 := predixy(Predixy, "1 worker, crc16, modula, latency monitors off")
	predixy2 := predixy(Predixy2, "2 workers")
	one.Closed, before.Closed, predixy1.Closed = true, true, true
	two.workers, predixy2.workers, reads.reads = 2, 2, true
	before.locate = func() (string, error) { return fromEnv("SLUICE_BENCH_BEFORE") }
	return []Kind{
		one, two, reads, before, predixy1, predixy2,
		{
			Name: Twemproxy, Note: "fnv1a_64, ketama, 1 connection per server", Closed: true,
			locate:  func() (string, error) { return onPath("nutcracker") },
			version: []string{"-V"},
			config:  "nutcracker.yml",
			args: func(s setup) ([]string, error) {
				host, port, _ := strings.Cut(s.Admin, ":")
				return []string{"-c", s.Config, "-a", host, "-s", port, "-o", filepath.Join(s.Dir, "nutcracker.log")}, nil
			},
		},
		{
			Name: Codis, Note: "--ncpu=1, 1024 slots over the servers", Closed: true,
			locate:  func() (string, error) { return fromEnv("SLUICE_BENCH_CODIS_PROXY") },
			version: []string{"--version"},
			config:  "codis.toml",
			args:    codisArgs,
		},
		{
			Name: HAProxy, Note: "TCP mode, 1 thread, one server only, does not read the protocol", Closed: true, Open: true,
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
func shareSlots(all []Server) []server {
	servers := make([]server, len(all))
	for i, s := range all {
		servers[i] = server{
			ID: i + 1, Addr: s.Addr, Replica: s.Replica,
			FirstSlot: i * slots / len(all), LastSlot: (i+1)*slots/len(all) - 1,
		}
	}
	return servers
}

// render writes the configuration of k and sets s.Config to its path.
func (k Kind) render(s *setup) error {
	s.Workers, s.Reads = k.workers, k.reads
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
