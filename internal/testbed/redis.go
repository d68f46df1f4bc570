package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tidwall/resp"
)

// ErrNoRedis is returned by FindRedis and StartRedis when there is no redis-server on PATH.
var ErrNoRedis = errors.New("no redis-server on PATH; install it with `apt-get install redis-server` or `brew install redis`")

// FindRedis returns the path of redis-server.
func FindRedis() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", ErrNoRedis
	}
	return path, nil
}

// Options says how a redis-server is started. The zero value is a standalone master on a free port.
type Options struct {
	// Port is where it listens on 127.0.0.1; 0 takes a free one.
	Port int
	// Dir is its working directory. Empty: a new temporary one, which Close removes.
	Dir string
	// Args are appended to the command line, for example "--maxmemory", "64mb".
	Args []string
}

// Server is one redis-server. It keeps its port when it is killed and restarted. Safe for concurrent use.
type Server struct {
	path    string
	port    int
	dir     string
	ownDir  bool
	args    []string
	log     tail
	control *control

	mu      sync.Mutex
	proc    *process // The last one started, perhaps killed.
	frozen  bool
	running bool
}

// errPortTaken is returned by Server.start when somebody else has the port.
var errPortTaken = errors.New("port is taken")

// StartRedis starts a redis-server without persistence and returns when it answers. ctx bounds the start,
// not the life of the server; Close ends it.
func StartRedis(ctx context.Context, opts Options) (*Server, error) {
	path, err := FindRedis()
	if err != nil {
		return nil, err
	}
	s := &Server{path: path, dir: opts.Dir, args: slices.Clone(opts.Args)}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "sluice-redis-"); err != nil {
			return nil, err
		}
		s.ownDir = true
	}
	// Another process may take a free port before the server does. Ten in a row is no accident.
	for range 10 {
		if s.port = opts.Port; s.port == 0 {
			if s.port, err = freePort(); err != nil {
				break
			}
		}
		s.control = &control{addr: s.Addr(), password: passwordOf(s.args)}
		s.log.reset() // The last try's "Address already in use" must not stand for this one.
		if err = s.start(ctx); opts.Port != 0 || !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// StartReplica starts a replica of master and returns when its link is up and the first sync is done.
func StartReplica(ctx context.Context, master *Server, opts Options) (*Server, error) {
	opts.Args = append(slices.Clone(opts.Args), "--replicaof", "127.0.0.1", strconv.Itoa(master.port))
	if password := passwordOf(master.args); password != "" {
		opts.Args = append(opts.Args, "--masterauth", password)
	}
	s, err := StartRedis(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := s.waitForMaster(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Addr is the host:port clients connect to.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Port is the port of Addr.
func (s *Server) Port() int { return s.port }

// PID is the id of the process started last.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.pid()
}

// Log is the end of what the server has printed, over all its restarts.
func (s *Server) Log() string { return s.log.String() }

// Do runs a command on the server's control connection. When there is no reply (the server is down, or
// stopped for longer than five seconds) it returns an error Value that begins with "NOREPLY".
func (s *Server) Do(args ...string) resp.Value {
	v, err := s.control.do(context.Background(), args...)
	if err != nil {
		return resp.ErrorValue(fmt.Errorf("NOREPLY %w", err))
	}
	return v
}

// Stop freezes the server with SIGSTOP: its connections stay open and nothing answers.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.freeze(); err != nil {
		return err
	}
	s.frozen = true
	return nil
}

// Cont lets a stopped server run again.
func (s *Server) Cont() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.signal(syscall.SIGCONT); err != nil {
		return err
	}
	s.frozen = false
	return nil
}

// Kill ends the server with SIGKILL and waits until it is gone. A killed server may be killed again.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

// Restart starts the server again on its port, after killing it if it runs, and returns when it answers.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return s.start(ctx)
}

// Close ends the server and removes its directory if it is a temporary one of its own.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.kill()
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// answers reports whether the server is expected to answer: neither killed nor stopped.
func (s *Server) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running && !s.frozen
}

// kill is Kill with s.mu held.
func (s *Server) kill() error {
	if s.control != nil {
		s.control.close()
	}
	if s.proc == nil {
		return nil
	}
	if err := s.proc.kill(); err != nil {
		return err
	}
	s.running, s.frozen = false, false
	return nil
}

// start runs the process and waits until it answers. On an error nothing runs.
func (s *Server) start(ctx context.Context) error {
	args := append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no",
		"--save", "", "--appendonly", "no", "--logfile", "",
		"--repl-diskless-sync-delay", "0", // The default of 5 s waits for more replicas.
		"--repl-ping-replica-period", "1", // A replica without an offset, 10 s by default, counts as loading.
	}, s.args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	proc, err := startProcess(s.path, args, s.dir, &s.log)
	if err != nil {
		return err
	}
	s.proc, s.running = proc, true
	if err := poll(ctx, func() error { return s.ready(ctx, proc) }); err != nil {
		err = fmt.Errorf("start redis-server on port %d: %w", s.port, err)
		return errors.Join(err, s.kill())
	}
	return nil
}

// ready returns nil when the process proc, and nobody else on its port, answers PING.
func (s *Server) ready(ctx context.Context, proc *process) error {
	if proc.exited() {
		if strings.Contains(s.log.String(), "Address already in use") {
			return fatalError{errPortTaken}
		}
		return fatalError{fmt.Errorf("it ended at once; its output:\n%s", s.log.String())}
	}
	// Short, so that a stranger who has the port and says nothing does not hide that proc has given up.
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	v, err := s.control.do(ctx, "PING")
	if err != nil {
		return err
	}
	if strings.HasPrefix(v.String(), "LOADING") {
		return v.Error()
	}
	info, err := s.control.do(ctx, "INFO", "server")
	if err != nil {
		return err
	}
	if got := infoField(info, "process_id"); got != strconv.Itoa(proc.pid()) {
		return fmt.Errorf("process %q answers, want %d: %s", got, proc.pid(), v)
	}
	return nil
}

func (s *Server) waitForMaster(ctx context.Context) error {
	err := poll(ctx, func() error {
		v, err := s.control.do(ctx, "INFO", "replication")
		if err != nil {
			return err
		}
		if link := infoField(v, "master_link_status"); link != "up" {
			return fmt.Errorf("master_link_status:%s", link)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("replica %s: %w", s.Addr(), err)
	}
	return nil
}

// infoField finds one line of an INFO reply.
func infoField(info resp.Value, name string) string {
	for line := range strings.Lines(info.String()) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// passwordOf finds the password that a command line gives the default user.
func passwordOf(args []string) string {
	if i := slices.Index(args, "--requirepass"); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// Waiting begins at a pace of its own, since most of what is waited for comes at once, and ends at one that is long against a
// PING and short against what takes a while.
const (
	pollFirst = time.Millisecond
	pollEvery = 10 * time.Millisecond
)

// startTimeout is how long one server may take to start; seconds are normal under the race detector on a
// loaded machine.
const startTimeout = 2 * time.Minute

// fatalError ends poll at once: waiting longer would not help.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// poll calls cond until it returns nil or ctx ends, and then returns the last error of cond.
func poll(ctx context.Context, cond func() error) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for wait := pollFirst; ; wait = min(wait*3/2, pollEvery) {
		err := cond()
		if err == nil {
			return nil
		}
		if _, fatal := errors.AsType[fatalError](err); fatal {
			return err
		}
		pause.Reset(wait)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-pause.C:
		}
	}
}
