package conf

import (
	_ "embed"
	"time"
)

// Documented is the text of the documented configuration file. Its values are the defaults,
// around a working example with two groups on this host.
//
//go:embed sluice.toml
var Documented []byte

const (
	// clusterSlots is fixed by the Redis Cluster specification.
	clusterSlots = 16384
	// codisSlots is what Codis was built with, and what existing sites therefore have.
	codisSlots = 1024
	// codisDatabases is the default of a Redis server.
	codisDatabases = 16
	// clusterDatabases: a cluster node answers SELECT of any other database with an error.
	clusterDatabases = 1
)

// Default returns the configuration of an empty file. It has no pool, so it does not validate
// until one is added; DefaultPool gives one to start from.
func Default() Config {
	return Config{
		Proxy: Proxy{
			// One loop carries more than one application host sends, and a second one doubles
			// the connections every backend sees.
			Loops:      1,
			MaxClients: 10000,
			// Loopback, because the admin server asks for no password.
			Admin: "127.0.0.1:6381",
			// Well inside the 30 s that Kubernetes and the 90 s that systemd give a process.
			DrainTimeout: Duration(10 * time.Second),
			LogLevel:     LogInfo,
			LogFormat:    LogAuto,
			// As a Redis server: 10 ms, 128 entries.
			SlowlogSlowerThan: Duration(10 * time.Millisecond),
			SlowlogMaxLen:     128,
			Limits: Limits{
				MaxPipeline: 10000,
				// As a Redis server: 1 GiB of query buffer, 512 MiB for a string, 2^20 arguments.
				MaxUnparsed: 1 << 30,
				MaxBulk:     512 << 20,
				MaxArgs:     1 << 20,
				// Twice MaxBulk: with the same value, a reader of the largest legal string would
				// be closed for the few bytes of framing around it.
				ClientOutput: 1 << 30,
				// As a Redis server's client-output-buffer-limit for subscribers.
				PubSubOutput: 32 << 20,
				// A second of a full 2 Gbit/s link; a backend that is further behind is not
				// going to answer within any request timeout in use.
				BackendOutput: 256 << 20,
			},
		},
		Consul: Consul{
			Register:    true,
			ServiceName: "sluice",
			// Consul takes no less than 10 s, and itself waits for up to twice as long.
			SessionTTL: Duration(15 * time.Second),
			CheckTTL:   Duration(10 * time.Second),
			// Longer than any outage from which the process comes back by itself.
			DeregisterAfter: Duration(30 * time.Minute),
			// Stopping every proxy because Consul is away would turn its outage into one of the applications.
			OnLoss: OnLossServe,
		},
	}
}

// DefaultPool returns what a [[pool]] has before the file fills it in. Name, Listen and SlotModel
// are empty and have to be set. Slots, Databases and MultiKey are those of SlotCodis; with SlotCluster they
// have to be 16384, normally 1, and MultiKeySlot, which loading from a file does by itself.
func DefaultPool() Pool {
	return Pool{
		Slots:     codisSlots,
		Databases: codisDatabases,
		Dialect:   DialectRedis,
		MultiKey:  MultiKeyGroup,
		// An application that uses a module works as it does at one server.
		LearnCommands: true,
		// A health check that pings asks whether the application can work.
		Ping: PingServers,
		// What an application does at its start at one server it does here, too; who must not can be denied the
		// command.
		ServerConfig: ServerConfigSet,
		Discovery: Discovery{
			Kind: DiscoverStatic,
			// A move that matters shows itself earlier, through MOVED.
			Refresh: Duration(10 * time.Second),
			Service: "redis",
			// A day without Consul is somebody's incident; what was true before it may be so no more.
			MaxStateAge: Duration(24 * time.Hour),
			Replicas:    ReplicasDashboard,
			// Longer than a check that failed once, shorter than the patience of applications.
			Flap: Duration(3 * time.Second),
		},
		Backend: Backend{
			DialTimeout: Duration(time.Second),
			// Below the socket timeouts of common clients (2 to 5 s), so that an application
			// gets an answer that says what happened and not a dead connection.
			RequestTimeout: Duration(time.Second),
			TCPKeepalive:   Duration(30 * time.Second),
			// Several retransmissions on a slow path, and far less than the kernel's 15 minutes.
			TCPUserTimeout: Duration(10 * time.Second),
			ReconnectMin:   Duration(50 * time.Millisecond),
			// Bounds how long a node that is back stays unused.
			ReconnectMax:    Duration(2 * time.Second),
			BreakerFailures: 5,
			BreakerOpen:     Duration(time.Second),
			ProbeInterval:   Duration(time.Second),
			// A blocking reader each: far more than a sidecar's host runs, far fewer than a server takes.
			MaxDedicated: 0,
			// A stock Pika has 12 threads; each of these can be stuck for as long as the target is.
			MoveParallel: 4,
		},
		Hold: Hold{
			// Longer than a failover takes, and together with the request timeout below the socket
			// timeouts of most clients.
			MaxWait:        Duration(2 * time.Second),
			MaxMoveWait:    Duration(30 * time.Second),
			MaxRequests:    50000,
			MaxBytes:       256 << 20,
			SlotRequests:   20000,
			SlotBytes:      128 << 20,
			ClientRequests: 10000, // As many as max_pipeline lets a client send at once.
			ClientBytes:    64 << 20,
		},
		Reads: Reads{
			// A site has to ask for it: what a replica answers can be old.
			Policy:      ReadMaster,
			Consistency: ConsistencyEventual, OnMasterLoss: LossMaxLag,
			// Long enough for a replica under load, short enough that one which is cut off is noticed.
			MaxLag: Duration(10 * time.Second),
			// What is not asked is not known: a replica is out of use for no longer than it takes a
			// write to reach it and this.
			ProbeInterval: Duration(100 * time.Millisecond),
		},
	}
}

// defaultUser returns what a [[pool.auth.user]] has before the file fills it in: the user that
// clients mean when they send AUTH with a password only.
func defaultUser() User {
	return User{Name: "default"}
}

// defaultCommand returns what a [[pool.command]] has before the file fills it in: one key, right
// behind the name, as most commands of modules have it.
func defaultCommand() Command {
	return Command{Arity: -1, FirstKey: 1, LastKey: 1, KeyStep: 1, Masters: MastersAny}
}
