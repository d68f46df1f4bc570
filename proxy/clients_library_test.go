package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

// Real clients run one list of scenarios: against Redis itself first, then through Sluice. What fails against Redis
// is a mistake of the scenario or of the client; what fails only behind it is one of Sluice.
//
// A library written in Go is put behind the interface library, whose methods are the calls that users of that library
// make. redis-cli is one of them. A client in another language brings its own program; see clients_ioredis_test.go.

// library is one client of one library, with nothing set but the address. Keys, values and messages are never empty.
type library interface {
	ping(ctx context.Context) error
	get(ctx context.Context, key string) (string, error) // errMissing
	set(ctx context.Context, key, value string) error

	mset(ctx context.Context, values map[string]string) error
	mget(ctx context.Context, keys ...string) ([]string, error) // "" for what is missing
	del(ctx context.Context, keys ...string) error

	// countUp sends, in one pipeline, SET key start and INCR key for every key, and returns what INCR said.
	countUp(ctx context.Context, start int, keys []string) ([]int64, error)

	// transaction sends MULTI, INCR key, INCR key, EXEC and returns the results.
	transaction(ctx context.Context, key string) ([]int64, error)

	// increment adds one to first, which exists, by WATCH, GET and SET, and in the same transaction one to second by
	// INCR. It calls race between GET and MULTI, begins anew when first has changed, and counts the attempts.
	increment(ctx context.Context, first, second string, race func()) (attempts int, err error)

	// subscribe returns when the subscription is confirmed.
	subscribe(ctx context.Context, kind subscribeKind, name string) (librarySubscription, error)
	publish(ctx context.Context, kind subscribeKind, channel, message string) error

	push(ctx context.Context, key, value string) error
	blpop(ctx context.Context, key string, timeout time.Duration) (string, error) // errMissing after the timeout
	blmove(ctx context.Context, from, to string) (string, error)
	xadd(ctx context.Context, stream, value string) error
	xread(ctx context.Context, stream string, block time.Duration) (string, error) // errMissing after the timeout

	// runScript runs source, which returns an integer, through the library's helper for scripts.
	runScript(ctx context.Context, source, key, arg string) (int64, error)
	loadScript(ctx context.Context, source string) (sha string, err error)
	haveScripts(ctx context.Context, shas ...string) ([]bool, error)
	runLoaded(ctx context.Context, sha, key, arg string) (int64, error)

	// scan returns all keys that match pattern, some perhaps twice.
	scan(ctx context.Context, pattern string) ([]string, error)

	close()
}

// cachingLibrary is a library with a cache of its own, which the server keeps up to date.
type cachingLibrary interface {
	library
	cachedGet(ctx context.Context, key string) (string, error)
}

type subscribeKind string

const (
	byChannel subscribeKind = "SUBSCRIBE"
	byPattern subscribeKind = "PSUBSCRIBE"
	byShard   subscribeKind = "SSUBSCRIBE"
)

// librarySubscription is to one channel or pattern.
type librarySubscription interface {
	next(ctx context.Context) (delivery, error)
	// end unsubscribes. Nothing is received any more.
	end(ctx context.Context) error
}

type delivery struct{ channel, message string }

// errMissing stands for every library's own way to say that there is nothing.
var errMissing = errors.New("nothing there")

// delivered is what a subscription reads from when its library calls back. The callback must not wait, because it may
// hold up the connection, so there is room for more than a scenario leaves unread.
type delivered chan delivery

func newDelivered() delivered { return make(delivered, 10) }

func (d delivered) next(ctx context.Context) (delivery, error) {
	select {
	case m := <-d:
		return m, nil
	case <-ctx.Done():
		return delivery{}, ctx.Err()
	}
}

// clusterEmulation lets clients that expect a cluster have one.
func clusterEmulation(_ *Config, pool *PoolConfig) { pool.ClusterEmulation = true }

// realClient is a client under test.
type realClient struct {
	name string
	run  func(t *testing.T, s *site)
}

// site is where a client connects to: a server, a cluster, or a Sluice before them.
type site struct {
	name    string
	addr    string
	nodes   []*testbed.Server // that have the keys
	through *topology         // nil: the client speaks to the servers
}

// reset takes away what the last client has left.
func (s *site) reset(t *testing.T) {
	t.Helper()
	flush(t, s.nodes...)
	for _, node := range s.nodes {
		if err := node.Do("SCRIPT", "FLUSH").Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// oneBlocked is an error unless the servers have one client in a blocking command.
func (s *site) oneBlocked() error {
	blocked := 0
	for _, node := range s.nodes {
		n, err := blockedClients(node)
		if err != nil {
			return err
		}
		blocked += n
	}
	if blocked != 1 {
		return fmt.Errorf("%d blocked clients", blocked)
	}
	return nil
}

func blockedClients(node *testbed.Server) (int, error) {
	info := node.Do("INFO", "clients")
	if err := info.Error(); err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(info.String(), "blocked_clients:")
	n, _, _ := strings.Cut(rest, "\r\n")
	return strconv.Atoi(n)
}

// scenarioWait bounds a scenario; nothing that works takes that long.
const scenarioWait = 2 * time.Minute

func TestRealClients(t *testing.T) {
	t.Parallel()
	clients := []realClient{
		{name: "go-redis", run: scenariosOf(openGoRedis)},
		{name: "go-redis RESP2", run: scenariosOf(openGoRedisRESP2)},
		{name: "rueidis", run: scenariosOf(openRueidis)},
		{name: "rueidis without cache", run: scenariosOf(openRueidisWithoutCache)},
		{name: "valkey-go", run: scenariosOf(openValkey)},
		{name: "redis-cli", run: scenariosOf(openCLI)},
		{name: "redis-cli tools", run: useCLITools},
		{name: "redis-benchmark", run: runBenchmark},
		{name: "ioredis", run: runIORedis},
	}
	server := testbed.Redis(t)
	useEverywhere(t, clients, []*site{
		{name: "direct", addr: server.Addr(), nodes: []*testbed.Server{server}},
		behind("codis", codisTopology(t)), behind("cluster", clusterTopology(t)),
	})
}

// Clients that expect a Redis Cluster get one as reference, and the emulation of one.
func TestRealClusterClients(t *testing.T) {
	t.Parallel()
	clients := []realClient{
		{name: "go-redis", run: scenariosOf(openGoRedisCluster)},
		{name: "rueidis", run: scenariosOf(openRueidis)},
		{name: "valkey-go", run: scenariosOf(openValkey)},
		{name: "ioredis", run: runIORedisCluster},
	}
	codis, cluster := codisTopology(t), clusterTopology(t)
	asCluster := func(top *topology) *topology {
		return &topology{testProxy: startProxy(t, top.model, top.specs(), patient, clusterEmulation), model: top.model, nodes: top.nodes}
	}
	useEverywhere(t, clients, []*site{
		{name: "direct", addr: cluster.nodes[0].Addr(), nodes: cluster.nodes},
		behind("codis", asCluster(codis)), behind("cluster", asCluster(cluster)),
	})
}

func behind(name string, top *topology) *site {
	return &site{name: name, addr: top.addr, nodes: top.nodes, through: top}
}

// useEverywhere runs each client at the first site, which is Redis itself, and then at the others.
func useEverywhere(t *testing.T, clients []realClient, sites []*site) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range sites {
				works := t.Run(s.name, func(t *testing.T) {
					if s.through != nil {
						t.Parallel() // The two have nothing in common.
					}
					s.reset(t)
					c.run(t, s)
					if s.through != nil {
						s.through.checkClient(t)
					}
				})
				if !works && s.through == nil {
					t.Fatal("this fails against Redis itself")
				}
			}
		})
	}
}

// specs describe the groups as they are.
func (top *topology) specs() []router.GroupSpec {
	var specs []router.GroupSpec
	table := top.pool.Table()
	for _, g := range table.Groups {
		specs = append(specs, router.GroupSpec{ID: g.ID, Master: g.Master.Addr, Slots: table.Ranges(g)})
	}
	return specs
}

// checkClient looks for what a client does not notice.
func (top *topology) checkClient(t *testing.T) {
	t.Helper()
	top.checkOwners(t)
	if s := top.Stats(); s.Unknown > 0 || s.ProtocolErrors > 0 {
		t.Errorf("%d unknown commands, %d protocol errors", s.Unknown, s.ProtocolErrors)
	}
}
