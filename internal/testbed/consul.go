package testbed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// One Consul server agent with a Raft of its own on disk, so that `kill -9` loses nothing: sessions, indexes and keys are
// there after a restart. The price is a real election at every start, 1 to 2 s of silence that Raft prescribes. A test
// that restarts nothing takes InMemory, which is Consul's -dev: it leads after a tenth of that.

// ConsulToken is the token that may do everything on a server with ACLs.
const ConsulToken = "51c1ce00-0000-4000-8000-000000000001"

// ConsulOptions says how a Consul server is started. The zero value answers HTTP and asks for no token.
type ConsulOptions struct {
	// Dir is for its configuration and data. Empty: a new temporary one, which Close removes.
	Dir string
	// HCL is configuration that is read after ours and wins, for example `performance { rpc_hold_timeout = "7s" }`.
	HCL string
	// InMemory keeps nothing on disk and starts fast. A restart loses everything then.
	InMemory bool
	// ACL denies everything to requests without a token. ConsulToken is allowed everything.
	ACL bool
	// TLS makes Addr speak HTTPS only, with a certificate of a CA of this server's own.
	TLS bool
	// VerifyClients refuses, with TLS, clients that show no certificate of that CA.
	VerifyClients bool
	// MaxConnsPerClient is Consul's limit of connections from one address, above which it answers 429. 0 means 2000: its
	// default of 200 is met by tests with many watchers.
	MaxConnsPerClient int
}

// ConsulServer is one Consul server agent that is its own leader. It keeps its ports when it is killed and restarted. Safe
// for concurrent use.
type ConsulServer struct {
	path   string
	minor  int // of its version
	dir    string
	ownDir bool
	opts   ConsulOptions
	nodeID string
	tls    consulTLS
	client *http.Client
	log    tail
	ports  consulPorts // Written by StartConsul only.

	mu         sync.Mutex
	proc       *process // The last one started, perhaps killed.
	leaderless bool     // The data says that there is a second server, which there is not.
}

// consulPorts are where a server listens on 127.0.0.1.
type consulPorts struct{ http, rpc, serf int }

// StartConsul starts a Consul server and returns when it leads and has its own node in the catalog, so that sessions can
// be made. ctx bounds the start, not the life of the server; Close ends it.
func StartConsul(ctx context.Context, opts ConsulOptions) (*ConsulServer, error) {
	path, err := FindConsul()
	if err != nil {
		return nil, err
	}
	minor, err := consulMinor(ctx, path)
	if err != nil {
		return nil, err
	}
	if opts.MaxConnsPerClient == 0 {
		opts.MaxConnsPerClient = 2000
	}
	c := &ConsulServer{path: path, minor: minor, dir: opts.Dir, opts: opts, nodeID: newUUID()}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "sluice-consul-"); err != nil {
			return nil, err
		}
		c.ownDir = true
	}
	if err = c.prepareClient(); err == nil {
		err = c.startOnFreePorts(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Consul starts a Consul server and ends it with the test. The test fails when there is no consul. There is at most one
// ConsulOptions; its Dir is the test's when it is empty.
func Consul(t TB, opts ...ConsulOptions) *ConsulServer {
	t.Helper()
	if len(opts) > 1 {
		t.Fatalf("%d ConsulOptions for one server", len(opts))
	}
	var o ConsulOptions
	if len(opts) == 1 {
		o = opts[0]
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := StartConsul(ctx, o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	endWithTest(t, c)
	return c
}

// Addr is the host:port of the HTTP API, of HTTPS with TLS.
func (c *ConsulServer) Addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.ports.http))
}

// URL is Addr with its scheme, without a slash at the end.
func (c *ConsulServer) URL() string {
	if c.opts.TLS {
		return "https://" + c.Addr()
	}
	return "http://" + c.Addr()
}

// Token is ConsulToken with ACLs and "" without.
func (c *ConsulServer) Token() string {
	if c.opts.ACL {
		return ConsulToken
	}
	return ""
}

// PID is the id of the process started last.
func (c *ConsulServer) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc.pid()
}

// Log is the end of what the server has printed, over all its restarts.
func (c *ConsulServer) Log() string { return c.log.String() }

// Do sends one request with Token, path being "/v1/…", and returns the status and the body of the answer. A server that
// is down, or stopped for longer than five seconds, is an error.
func (c *ConsulServer) Do(method, path, body string) (int, string, error) {
	status, answer, err := c.do(context.Background(), method, path, []byte(body))
	return status, string(answer), err
}

// Stop freezes the server with SIGSTOP: its connections stay open and nothing answers.
func (c *ConsulServer) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc.freeze()
}

// Cont lets a stopped server run again.
func (c *ConsulServer) Cont() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc.signal(syscall.SIGCONT)
}

// Kill ends the server with SIGKILL and waits until it is gone. A killed server may be killed again.
func (c *ConsulServer) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kill()
}

// Close ends the server and removes its directory if it is a temporary one of its own.
func (c *ConsulServer) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.kill()
	if c.ownDir {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// kill is Kill with c.mu held.
func (c *ConsulServer) kill() error {
	if c.proc == nil {
		return nil
	}
	return c.proc.kill()
}

// startOnFreePorts starts the server for the first time.
func (c *ConsulServer) startOnFreePorts(ctx context.Context) error {
	var err error
	for range 10 { // As in StartRedis.
		for _, port := range []*int{&c.ports.http, &c.ports.rpc, &c.ports.serf} {
			if *port, err = freePort(); err != nil {
				return err
			}
		}
		c.log.reset()
		c.mu.Lock()
		err = c.start(ctx, c.leads)
		c.mu.Unlock()
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return err
}

// start runs the process and waits until ready returns nil. On an error nothing runs. c.mu is held.
func (c *ConsulServer) start(ctx context.Context, ready func(context.Context) error) error {
	args := []string{"agent"}
	if c.opts.InMemory {
		args = append(args, "-dev")
	}
	if c.minor >= 14 {
		args = append(args, "-grpc-tls-port=-1") // Unknown before, and on a fixed port since.
	}
	for _, f := range []struct{ name, hcl string }{{"agent.hcl", c.config()}, {"extra.hcl", c.opts.HCL}} {
		file := filepath.Join(c.dir, f.name)
		if err := os.WriteFile(file, []byte(f.hcl), 0o600); err != nil {
			return err
		}
		args = append(args, "-config-file="+file)
	}
	proc, err := startProcess(c.path, args, c.dir, &c.log)
	if err != nil {
		return err
	}
	c.proc = proc
	err = poll(ctx, func() error {
		if proc.exited() {
			if strings.Contains(c.log.String(), "address already in use") {
				return fatalError{errPortTaken}
			}
			return fatalError{fmt.Errorf("it ended at once; its output:\n%s", c.log.String())}
		}
		return ready(ctx)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start consul on port %d: %w", c.ports.http, err), c.kill())
	}
	return nil
}

// config is the agent's configuration file. What it makes shorter than Consul's defaults are waits: an election
// (raft_multiplier), a session's smallest TTL, and how long a request waits for a leader before "No cluster leader".
func (c *ConsulServer) config() string {
	plain, secure := c.ports.http, -1
	if c.opts.TLS {
		plain, secure = secure, plain
	}
	var b strings.Builder
	fmt.Fprintf(&b, `node_name = "testbed"
node_id = %q
bind_addr = "127.0.0.1"
client_addr = "127.0.0.1"
disable_update_check = true
log_level = "INFO"
session_ttl_min = "1s"
performance { raft_multiplier = 1, rpc_hold_timeout = "1s" }
limits { http_max_conns_per_client = %d }
ports { dns = -1, grpc = -1, serf_wan = -1, http = %d, https = %d, server = %d, serf_lan = %d }
`, c.nodeID, c.opts.MaxConnsPerClient, plain, secure, c.ports.rpc, c.ports.serf)
	if !c.opts.InMemory {
		fmt.Fprintf(&b, "server = true\nbootstrap_expect = 1\ndata_dir = %q\n", c.dataDir())
	}
	if c.opts.ACL {
		fmt.Fprintf(&b, "acl { enabled = true, default_policy = \"deny\", tokens { master = %q, agent = %[1]q } }\n", ConsulToken)
	}
	if c.opts.TLS {
		fmt.Fprintf(&b, "ca_file = %q\ncert_file = %q\nkey_file = %q\nverify_incoming_https = %t\n",
			c.tls.caFile, c.tls.certFile, c.tls.keyFile, c.opts.VerifyClients)
	}
	return b.String()
}

func (c *ConsulServer) dataDir() string { return filepath.Join(c.dir, "data") }

// answers returns nil when this server, and nobody else on its port, answers.
func (c *ConsulServer) answers(ctx context.Context) error {
	var self struct{ Config struct{ NodeID string } }
	if err := c.get(ctx, "/v1/agent/self", &self); err != nil {
		return err
	}
	if self.Config.NodeID != c.nodeID {
		return fmt.Errorf("node %q answers, want %s", self.Config.NodeID, c.nodeID)
	}
	return nil
}

// leads returns nil when the server is the leader, has done what a new leader has to do, and sees its own node alive.
func (c *ConsulServer) leads(ctx context.Context) error {
	if err := c.answers(ctx); err != nil {
		return err
	}
	var leader string
	if err := c.get(ctx, "/v1/status/leader", &leader); err != nil {
		return err
	}
	if leader == "" {
		return errors.New("no leader yet")
	}
	// A consistent read is refused until the new leader has set up ACLs and the rest.
	var checks []struct{ CheckID, Status string }
	if err := c.get(ctx, "/v1/health/node/testbed?consistent", &checks); err != nil {
		return err
	}
	for _, check := range checks {
		if check.CheckID == "serfHealth" && check.Status == "passing" {
			return nil
		}
	}
	return fmt.Errorf("its node is not in the catalog yet: %v", checks)
}

// get reads the JSON at path into v.
func (c *ConsulServer) get(ctx context.Context, path string, v any) error {
	status, body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: status %d: %s", path, status, body)
	}
	return json.Unmarshal(body, v)
}

func (c *ConsulServer) do(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.URL()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if token := c.Token(); token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// prepareClient makes the client, and with TLS the certificates first. The client keeps no connections: they would only
// be in the way of a server that goes down and comes back, and of a search for leaked goroutines.
func (c *ConsulServer) prepareClient() error {
	transport := &http.Transport{DisableKeepAlives: true}
	if c.opts.TLS {
		var err error
		if c.tls, err = writeConsulTLS(c.dir, time.Now()); err != nil {
			return fmt.Errorf("certificates for consul: %w", err)
		}
		transport.TLSClientConfig = c.tls.clientConfig
	}
	c.client = &http.Client{Transport: transport}
	return nil
}

// newUUID is a random UUID, as Consul wants one for a node.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
