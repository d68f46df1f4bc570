package proxy

import (
	"io/fs"
	"log/slog"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/router"
)

// Config is what a Server needs to start. The parts that a reload changes are Settings and PoolSettings.
type Config struct {
	ID      string // names this proxy to the backends and in INFO
	Version string
	Loops   int // event loops, at least 1
	Log     *slog.Logger
	// Level is the level of Log, which CONFIG SET loglevel changes. Optional.
	Level *slog.LevelVar
	// AffordableClients is what the limit on open files allows; CONFIG SET maxclients takes no more. 0 for any number.
	AffordableClients int

	Settings
}

// Settings are the process-wide settings that may change while the Server runs. Immutable.
type Settings struct {
	MaxClients int
	Limits     Limits
	Drain      time.Duration // how long Shutdown waits for requests in flight

	SlowlogSlowerThan time.Duration // requests that take at least so long are kept in the slow log
	SlowlogMaxLen     int           // how many of them; 0 keeps none
}

// Limits bounds what one client or one backend connection may cost. Each has a defined answer.
type Limits struct {
	MaxPipeline  int // requests in flight per client; beyond it the client is not read further
	MaxUnparsed  int // bytes of a client waiting to be parsed; beyond it: an error, then close
	MaxBulk      int // bytes of one argument; beyond it: a protocol error, then close
	MaxArgs      int // arguments of one request; beyond it: a protocol error, then close
	ClientOutput int // bytes waiting for a client to read them; beyond it: close
	PubSubOutput int // the same for a client that is subscribed to channels; 0 is DefaultPubSubOutput
}

// DefaultPubSubOutput is what Redis leaves unread by a subscriber (client-output-buffer-limit pubsub).
const DefaultPubSubOutput = 32 << 20

func (l *Limits) pubSubOutput() int {
	if l.PubSubOutput == 0 {
		return DefaultPubSubOutput
	}
	return l.PubSubOutput
}

// PoolConfig describes a pool for the life of the process.
type PoolConfig struct {
	Name   string
	Model  router.Model
	Family *dialect.Family // of the backends; nil is dialect.Redis
	Listen []Listen

	// Moved is told about every MOVED reply. It is called on an event loop and must not block. May be nil.
	Moved func(slot router.Slot, addr string)

	// Trouble is told when the node at addr fails, so that the topology is looked at again. It is called from any
	// goroutine, event loops too, and must not block. May be nil.
	Trouble func(addr string)

	// Leaving is told that slots leave the node at addr of which SetLeaving has not heard. It is called on an event
	// loop and must not block. May be nil.
	Leaving func(addr string)

	// Observe is told what every probe of a node found. It is called from the goroutine of the probe. May be nil.
	Observe func(addr string, o backend.Observation)

	PoolSettings
}

// PoolSettings are the settings of a pool that may change while it runs. Immutable.
type PoolSettings struct {
	Databases int // SELECT takes 0..Databases-1
	Users     []User
	Backend   backend.Options
	Hold      hold.Settings
	Reads     PoolReads
	// MultiKey says which keys a request may have together.
	MultiKey MultiKey
	// MoveParallel is how many SLOTSMGRTTAGONE one source gets at once from this process.
	MoveParallel int

	// ClusterEmulation answers clients that ask for the nodes of a cluster.
	ClusterEmulation bool
	// Commands are those that Redis does not have, by name in lower case.
	Commands command.Declarations
	// LearnCommands asks the masters for more of them.
	LearnCommands bool
	// CrossGroup lets commands that wait for data have keys of several groups; see crossgroup.go.
	CrossGroup bool
	// Ping says what PING and ROLE answer while no master serves.
	Ping PingAnswer
	// ServerConfig says what CONFIG does with parameters of the servers.
	ServerConfig ServerConfig
}

// Listen is an address to accept clients on.
type Listen struct {
	Network string      // "tcp" or "unix"
	Address string      // host:port or a path
	Mode    fs.FileMode // permissions of a unix socket; 0 leaves what the umask gives
}

// String writes the address as the configuration does.
func (l Listen) String() string { return l.Network + "://" + l.Address }
