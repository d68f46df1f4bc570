package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/resp"
)

// Sentinel is one redis-server that watches masters. Safe for concurrent use.
type Sentinel struct {
	port    int
	log     tail
	control *control
	proc    *process
}

// Timeouts of a sentinel, short enough for a test: a failover takes some seconds with them, most of which are the fixed
// periods in which sentinels talk to each other.
const (
	sentinelDownAfter       = 500 * time.Millisecond
	sentinelFailoverTimeout = 5 * time.Second
)

// StartSentinel starts a sentinel that watches nothing and returns when it answers. dir is for its configuration, which it
// rewrites. Close ends it.
func StartSentinel(ctx context.Context, dir string) (*Sentinel, error) {
	path, err := FindRedis()
	if err != nil {
		return nil, err
	}
	for range 10 {
		var s *Sentinel
		if s, err = startSentinel(ctx, path, dir); err == nil {
			return s, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, err
}

func startSentinel(ctx context.Context, path, dir string) (*Sentinel, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Sentinel{port: port}
	s.control = &control{addr: s.Addr()}
	file := filepath.Join(dir, fmt.Sprintf("sentinel-%d.conf", port))
	conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %q\ndaemonize no\nlogfile \"\"\n", port, dir)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if s.proc, err = startProcess(path, []string{file, "--sentinel"}, dir, &s.log); err != nil {
		return nil, err
	}
	if err := poll(ctx, func() error { return s.ready(ctx) }); err != nil {
		return nil, errors.Join(fmt.Errorf("start a sentinel on port %d: %w", port, err), s.Close())
	}
	return s, nil
}

// ready returns nil when the process, and nobody else on its port, answers.
func (s *Sentinel) ready(ctx context.Context) error {
	if s.proc.exited() {
		if strings.Contains(s.log.String(), "Address already in use") {
			return fatalError{errPortTaken}
		}
		return fatalError{fmt.Errorf("it ended at once; its output:\n%s", s.log.String())}
	}
	info, err := s.control.do(ctx, "INFO", "server")
	if err != nil {
		return err
	}
	if got := infoField(info, "process_id"); got != strconv.Itoa(s.proc.pid()) {
		return fmt.Errorf("process %q answers, want %d", got, s.proc.pid())
	}
	return nil
}

// Addr is the host:port clients connect to.
func (s *Sentinel) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Do runs a command, see Server.Do.
func (s *Sentinel) Do(args ...string) resp.Value {
	v, err := s.control.do(context.Background(), args...)
	if err != nil {
		return resp.ErrorValue(fmt.Errorf("NOREPLY %w", err))
	}
	return v
}

// Master is the address of the master called name, "" when the sentinel knows none.
func (s *Sentinel) Master(name string) string {
	pair := s.Do("SENTINEL", "get-master-addr-by-name", name).Array()
	if len(pair) != 2 {
		return ""
	}
	return net.JoinHostPort(pair[0].String(), pair[1].String())
}

// Watch makes the sentinel watch the master at addr under name; quorum sentinels must find it dead for a failover.
func (s *Sentinel) Watch(name, addr string, quorum int) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"SENTINEL", "MONITOR", name, host, port, strconv.Itoa(quorum)},
		{"SENTINEL", "SET", name, "down-after-milliseconds", strconv.FormatInt(sentinelDownAfter.Milliseconds(), 10),
			"failover-timeout", strconv.FormatInt(sentinelFailoverTimeout.Milliseconds(), 10)},
	} {
		if err := s.Do(args...).Error(); err != nil {
			return fmt.Errorf("%s: %q: %w", s.Addr(), args, err)
		}
	}
	return nil
}

// knows returns nil when the sentinel has found so many replicas and other sentinels of a master.
func (s *Sentinel) knows(name string, replicas, others int) error {
	got := stringFields(s.Do("SENTINEL", "MASTER", name).Array())
	if got["num-slaves"] != strconv.Itoa(replicas) || got["num-other-sentinels"] != strconv.Itoa(others) {
		return fmt.Errorf("sentinel %s knows %s replicas and %s other sentinels of %s, want %d and %d",
			s.Addr(), got["num-slaves"], got["num-other-sentinels"], name, replicas, others)
	}
	// It promotes no replica that it has not asked yet, whose answer is as old as the epoch.
	for _, r := range s.Do("SENTINEL", "REPLICAS", name).Array() {
		got := stringFields(r.Array())
		if age, err := strconv.ParseInt(got["info-refresh"], 10, 64); err != nil || age > time.Hour.Milliseconds() {
			return fmt.Errorf("sentinel %s has not asked replica %s of %s", s.Addr(), got["name"], name)
		}
	}
	return nil
}

func stringFields(list []resp.Value) map[string]string {
	fields := make(map[string]string)
	for i := 0; i+1 < len(list); i += 2 {
		fields[list[i].String()] = list[i+1].String()
	}
	return fields
}

// Close ends the sentinel with SIGKILL. It may be called again.
func (s *Sentinel) Close() error {
	s.control.close()
	return s.proc.kill()
}

// Sentinels starts n sentinels, and ends them with the test.
func Sentinels(t TB, n int) []*Sentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	all := make([]*Sentinel, n)
	for i := range all {
		s, err := StartSentinel(ctx, t.TempDir())
		if err != nil {
			t.Fatalf("%v", err)
			return nil
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close %s: %v", s.Addr(), err)
			}
			if t.Failed() {
				t.Logf("output of sentinel %s:\n%s", s.Addr(), s.log.String())
			}
		})
		all[i] = s
	}
	return all
}

// WatchMaster makes all sentinels watch the master at addr, and returns when they know of each other and of its replicas.
func WatchMaster(t TB, sentinels []*Sentinel, name, addr string, replicas int) {
	t.Helper()
	for _, s := range sentinels {
		if err := s.Watch(name, addr, len(sentinels)/2+1); err != nil {
			t.Fatalf("%v", err)
		}
	}
	Eventually(t, func() error {
		for _, s := range sentinels {
			if err := s.knows(name, replicas, len(sentinels)-1); err != nil {
				return err
			}
		}
		return nil
	}, startTimeout)
}
