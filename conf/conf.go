package conf

import "log/slog"

// The struct tags of the types below are read by the decoder, the checks and Diff:
//
//	toml    name of the key or table
//	reload  "live": a reload applies a change; "restart": only a new process does
//	with    keys of the same pool that need a restart and without which a change of this one, or of a key in this
//	        table, means something else: a reload does not take it while one of them has changed as well
//	min,max bounds of a number, size or duration, in the notation of the file
//
// A struct field without a reload tag is a table, and the tags of its own fields count.

// Config is the whole configuration. Immutable after construction.
type Config struct {
	// Proxy is what the process as a whole does.
	Proxy Proxy `toml:"proxy"`
	// Consul is how Consul is reached, for pools whose topology is there.
	Consul Consul `toml:"consul"`
	// Pools are the key spaces served, at least one. Adding or removing a pool needs a restart,
	// since it opens or closes listeners.
	Pools []Pool `toml:"pool" reload:"restart"`

	// origins maps the path of a key ("pool[0].group[1].slots") to where its value was given.
	// Paths that are absent have their default.
	origins map[string]Origin
	// dir is the directory of the configuration file, for Beside; "" for a Config built in code.
	dir string
}

// Proxy is the table [proxy]. Immutable after construction.
type Proxy struct {
	// Loops is the number of event loops; each owns its clients and its backend connections.
	// Default 1, which is what a sidecar needs. Restart.
	Loops int `toml:"loops" reload:"restart" min:"1" max:"256"`
	// MaxClients is the number of client connections over all pools; one more is answered
	// with an error and closed. Default 10000. Reloadable; clients already there stay.
	MaxClients int `toml:"max_clients" reload:"live" min:"1" max:"1000000"`
	// Admin is host:port of the admin HTTP server; empty turns it off, port 0 lets the system
	// pick one. Default 127.0.0.1:6381. Restart.
	Admin string `toml:"admin" reload:"restart"`
	// AdminHosts are the names under which the admin server may be asked, besides addresses, localhost, the host in
	// Admin and the name of this host. Default none. Reloadable.
	AdminHosts []string `toml:"admin_hosts" reload:"live"`
	// DrainTimeout is how long SIGTERM waits for requests in flight. Default 10s. Reloadable.
	DrainTimeout Duration `toml:"drain_timeout" reload:"live" min:"1ms" max:"1h"`
	// LogLevel is the least severe level that is logged. Default info. Reloadable.
	LogLevel LogLevel `toml:"log_level" reload:"live"`
	// LogFormat is the form of a log line. Default auto. Restart.
	LogFormat LogFormat `toml:"log_format" reload:"restart"`
	// SlowlogSlowerThan is how long a request takes at least to be kept in the slow log. Default
	// 10ms. Reloadable.
	SlowlogSlowerThan Duration `toml:"slowlog_slower_than" reload:"live" min:"0s" max:"1h"`
	// SlowlogMaxLen is the number of requests that the slow log keeps; 0 turns it off. Default
	// 128. Reloadable.
	SlowlogMaxLen int `toml:"slowlog_max_len" reload:"live" min:"0" max:"100000"`
	// Limits bound what one client or one backend connection can hold.
	Limits Limits `toml:"limits"`
}

// Limits is the table [proxy.limits]. All are reloadable. Immutable after construction.
type Limits struct {
	// MaxPipeline is the number of requests in flight of one client; the client is not parsed
	// further until replies have gone out. Default 10000.
	MaxPipeline int `toml:"max_pipeline" reload:"live" min:"1" max:"1000000"`
	// MaxUnparsed is the number of bytes of one client that wait unparsed; beyond it the client
	// gets an error and is closed. Greater than MaxBulk. Default 1gb.
	MaxUnparsed Bytes `toml:"max_unparsed" reload:"live" min:"1mb" max:"64gb"`
	// MaxBulk is the size of one argument in bytes. Default 512mb.
	MaxBulk Bytes `toml:"max_bulk" reload:"live" min:"1mb" max:"1gb"`
	// MaxArgs is the number of arguments of one request. Default 1048576.
	MaxArgs int `toml:"max_args" reload:"live" min:"1024" max:"10000000"`
	// ClientOutput is the number of bytes waiting to be read by one client; beyond it the client
	// is closed. Default 1gb.
	ClientOutput Bytes `toml:"client_output" reload:"live" min:"1mb" max:"64gb"`
	// PubSubOutput is the number of bytes waiting to be read by one subscriber; beyond it the
	// client is closed. Default 32mb.
	PubSubOutput Bytes `toml:"pubsub_output" reload:"live" min:"64kb" max:"64gb"`
	// BackendOutput is the number of bytes queued towards one backend connection at which a
	// further request is refused with -ERR. What is queued before the request counts, not the
	// request itself, so one of any size passes on an empty queue. Default 256mb.
	BackendOutput Bytes `toml:"backend_output" reload:"live" min:"1mb" max:"64gb"`
}

// Pool is one element of [[pool]]: one key space with its listeners, its source of topology and
// its backends. Immutable after construction.
type Pool struct {
	// Name identifies the pool in logs, metrics and the admin API. Required, unique.
	Name string `toml:"name" reload:"restart"`
	// Listen are the addresses clients connect to. At least one. Restart.
	Listen []Listen `toml:"listen" reload:"restart"`
	// SlotModel is how a key becomes a slot. Required: a wrong guess would look for every key on
	// the wrong node. Restart.
	SlotModel SlotModel `toml:"slot_model" reload:"restart"`
	// Slots is the number of slots. Default 1024 for codis; always 16384 for cluster. Restart.
	Slots int `toml:"slots" reload:"restart" min:"1" max:"16384"`
	// Databases is the number of databases SELECT accepts. Default 16 for codis; 1 for cluster,
	// because cluster nodes refuse SELECT. Reloadable.
	Databases int `toml:"databases" reload:"live" with:"slot_model" min:"1" max:"16384"`
	// Dialect is the family of the backends. Default redis. Restart.
	Dialect Dialect `toml:"dialect" reload:"restart"`
	// ClusterEmulation answers clients that ask for the nodes of a cluster: one node, at the
	// address the client used. Default false. Reloadable.
	ClusterEmulation bool `toml:"cluster_emulation" reload:"live" with:"slot_model"`
	// MultiKey says which keys a command, a script or a transaction may have together. Default MultiKeyGroup for codis;
	// MultiKeySlot for cluster, whose nodes refuse keys of several slots. Reloadable.
	MultiKey MultiKey `toml:"multi_key" reload:"live" with:"slot_model"`
	// CrossGroup lets BLPOP and its kin, XREAD and XREADGROUP have keys of several groups. Default false. Reloadable.
	CrossGroup bool `toml:"cross_group" reload:"live"`
	// LearnCommands asks the masters for commands that Redis does not have. Default true. Reloadable.
	LearnCommands bool `toml:"learn_commands" reload:"live"`
	// Ping is what PING and ROLE answer while no master serves. Default servers. Reloadable.
	Ping Ping `toml:"ping" reload:"live"`
	// ServerConfig is what CONFIG does with parameters of the backends. Default set. Reloadable.
	ServerConfig ServerConfig `toml:"server_config" reload:"live"`
	// Discovery is where the topology comes from.
	Discovery Discovery `toml:"discovery"`
	// Groups are the masters with their replicas and slots, for static discovery. Reloadable.
	Groups []Group `toml:"group" reload:"live" with:"slot_model slots discovery.kind"`
	// Backend is how connections towards backends behave.
	Backend Backend `toml:"backend"`
	// Hold is how long and how much requests may wait for their slot.
	Hold Hold `toml:"hold"`
	// Reads is which nodes answer reads, and how old what they answer may be.
	Reads Reads `toml:"reads" with:"dialect"`
	// Auth is who may use the pool, and as whom it speaks to its backends.
	Auth Auth `toml:"auth"`
	// Commands are commands of modules, and of other families, that clients may use. Reloadable.
	Commands []Command `toml:"command" reload:"live"`
}

// Command is one element of [[pool.command]]: a command that Redis does not have. Immutable after
// construction.
type Command struct {
	// Name is the command in lower case. Required, unique.
	Name string `toml:"name" reload:"live"`
	// Access says whether it may change something. Required. Reloadable.
	Access Access `toml:"access,omitempty" reload:"live"`
	// Arity is the number of its arguments, the name among them; negative for at least so many.
	// Default -1. Reloadable.
	Arity int `toml:"arity" reload:"live" min:"-1000" max:"1000"`
	// FirstKey is the position of the first key, as COMMAND reports it; 0 for a command without
	// keys. Default 1. Reloadable.
	FirstKey int `toml:"first_key" reload:"live" min:"0" max:"1000"`
	// LastKey is the position of the last key; -1 is the last argument. Default 1. Reloadable.
	LastKey int `toml:"last_key" reload:"live" min:"-1000" max:"1000"`
	// KeyStep is the distance between two keys. Default 1. Reloadable.
	KeyStep int `toml:"key_step" reload:"live" min:"1" max:"1000"`
	// KeyNumAt is the position of the argument that says how many keys follow it, instead of the
	// three above; 0 for none. Default 0. Reloadable.
	KeyNumAt int `toml:"keynum_at" reload:"live" min:"0" max:"1000"`
	// Masters says where a command without keys goes: to any of the masters, always the same, or to all, which have
	// to answer the same. Default any. Reloadable.
	Masters Masters `toml:"masters" reload:"live"`
}

// Discovery is the table [pool.discovery]. Immutable after construction.
type Discovery struct {
	// Kind names the source. Default static. Restart.
	Kind DiscoveryKind `toml:"kind" reload:"restart"`
	// Seeds are host:port of nodes asked for the topology; cluster only, at least one. Reloadable.
	Seeds []string `toml:"seeds,omitempty" reload:"live" with:"discovery.kind"`
	// Refresh is the time between two looks at the topology when nothing forces one; cluster
	// only. Default 10s. Reloadable.
	Refresh Duration `toml:"refresh" reload:"live" with:"discovery.kind" min:"100ms" max:"1h"`
	// Follow lets a server that the configuration does not name become the master of a group, on evidence; static only.
	// Default false. Restart.
	Follow bool `toml:"follow" reload:"restart"`
	// AdminPort is the port on which each node is asked about migrations: "9999", or "+10" for
	// the port of the node plus 10. Empty asks on the port of the node. Reloadable.
	AdminPort string `toml:"admin_port,omitempty" reload:"live" with:"dialect discovery.kind"`
	// Admin is host:port where codis-dashboard reaches this proxy, as it reaches codis-proxy's
	// admin_addr; codis only, required there. Restart.
	Admin string `toml:"admin,omitempty" reload:"restart"`
	// Product is the name of the Codis product; codis only, required there. Restart.
	Product string `toml:"product,omitempty" reload:"restart"`
	// ProductAuth is the product_auth of dashboard and proxies; codis only. Restart.
	ProductAuth Secret `toml:"product_auth,omitempty" reload:"restart"`
	// Replicas says whose replicas the groups have; codis only. Default dashboard. Restart.
	Replicas ReplicaSource `toml:"replicas" reload:"restart"`
	// Root begins the keys of the pool in Consul and ends with a slash; consul only. Default ConsulRoot(Pool.Name),
	// which loading fills in. Restart.
	Root string `toml:"root,omitempty" reload:"restart"`
	// Service is the name under which the nodes are services of Consul, for groups whose nodes are not written down;
	// consul only. Default redis. Restart.
	Service string `toml:"service" reload:"restart"`
	// StateFile names a file that keeps the last good topology for a start without Consul or codis-dashboard;
	// consul and codis. Default none. Config.Beside finds it. Restart.
	StateFile string `toml:"state_file,omitempty" reload:"restart"`
	// MaxStateAge is how old what StateFile keeps may be to start from it; consul and codis. Default 24h. Restart.
	MaxStateAge Duration `toml:"max_state_age" reload:"restart" min:"1s" max:"8760h"`
	// RequireConsul makes a start wait for Consul; consul only. Default false. Restart.
	RequireConsul bool `toml:"require_consul" reload:"restart"`
	// Flap is for how long a node may be gone from the services without being taken out; consul only. Default 3s.
	// Restart.
	Flap Duration `toml:"flap" reload:"restart" min:"100ms" max:"5m"`
}

// Group is one element of [[pool.group]]: a master, its replicas and the slots it serves.
// Immutable after construction.
type Group struct {
	// ID identifies the group in its pool. Required, unique.
	ID string `toml:"id" reload:"live"`
	// Master is host:port of the node that takes writes. Required. Reloadable.
	Master string `toml:"master" reload:"live"`
	// Replicas are host:port of its copies. Reloadable.
	Replicas []string `toml:"replicas" reload:"live"`
	// Slots are the slots it serves; empty for a spare group. Reloadable.
	Slots Slots `toml:"slots" reload:"live"`
	// Zones are the zones of its nodes, for ReadNearest; a node that is not named has none.
	// Reloadable.
	Zones []NodeZone `toml:"zones,omitempty" reload:"live"`
}

// Backend is the table [pool.backend]. All are reloadable. Immutable after construction.
type Backend struct {
	// DialTimeout bounds connecting, AUTH and HELLO together. Default 1s.
	DialTimeout Duration `toml:"dial_timeout" reload:"live" min:"1ms" max:"5m"`
	// RequestTimeout is how long a server may be silent while requests wait. It fails the request, not the connection.
	// Default 1s.
	RequestTimeout Duration `toml:"request_timeout" reload:"live" min:"1ms" max:"1h"`
	// TCPKeepalive is the idle time before the kernel probes a connection. Default 30s.
	TCPKeepalive Duration `toml:"tcp_keepalive" reload:"live" min:"1s" max:"2h"`
	// TCPUserTimeout is how long sent bytes may stay unacknowledged before the kernel ends the
	// connection. Default 10s.
	TCPUserTimeout Duration `toml:"tcp_user_timeout" reload:"live" min:"100ms" max:"1h"`
	// ReconnectMin is the first pause after a failed dial; it doubles from there. Default 50ms.
	ReconnectMin Duration `toml:"reconnect_min" reload:"live" min:"1ms" max:"10m"`
	// ReconnectMax is the longest pause between two dials. Default 2s.
	ReconnectMax Duration `toml:"reconnect_max" reload:"live" min:"1ms" max:"10m"`
	// BreakerFailures is the number of failures in a row that opens the breaker. Default 5.
	BreakerFailures int `toml:"breaker_failures" reload:"live" min:"1" max:"1000000"`
	// BreakerOpen is how long an open breaker refuses requests before it tries one. Default 1s.
	BreakerOpen Duration `toml:"breaker_open" reload:"live" min:"1ms" max:"10m"`
	// ProbeInterval is the time between two health probes of a node; with discovery by Consul at most about a
	// second. Default 1s.
	ProbeInterval Duration `toml:"probe_interval" reload:"live" min:"10ms" max:"1h"`
	// MaxConnectionAge is the age at which connections are replaced, when nothing is in flight on them; 0s is never.
	// Default 0s.
	MaxConnectionAge Duration `toml:"max_connection_age" reload:"live" min:"0s" max:"168h"`
	// MaxDedicated is the number of connections to one node that belong to one client for a while; 0 is a quarter of
	// maxclients of the node. Default 0.
	MaxDedicated int `toml:"max_dedicated" reload:"live" min:"0" max:"100000"`
	// MoveParallel is the number of SLOTSMGRTTAGONE that one source of a moving slot gets at once
	// from this proxy; codis and pika only. Default 4.
	MoveParallel int `toml:"move_parallel" reload:"live" with:"dialect" min:"1" max:"256"`
}

// Hold is the table [pool.hold]. All are reloadable. Immutable after construction.
type Hold struct {
	// MaxWait is how long a request may wait; 0s answers at once what would wait. Default 2s.
	MaxWait Duration `toml:"max_wait" reload:"live" min:"0s" max:"5m"`
	// MaxMoveWait is how long a request may wait for a key of a slot that a codis-server or a Pika moves, while
	// keys go. Default 30s.
	MaxMoveWait Duration `toml:"max_move_wait" reload:"live" min:"0s" max:"1h"`
	// MaxRequests is the number of requests that wait in the pool. Default 50000.
	MaxRequests int `toml:"max_requests" reload:"live" min:"1" max:"10000000"`
	// MaxBytes is their size with what their clients sent behind them. Default 256mb.
	MaxBytes Bytes `toml:"max_bytes" reload:"live" min:"64kb" max:"64gb"`
	// SlotRequests is the number of requests that wait for one slot. Default 20000.
	SlotRequests int `toml:"slot_requests" reload:"live" min:"1" max:"10000000"`
	// SlotBytes is their size. Default 128mb.
	SlotBytes Bytes `toml:"slot_bytes" reload:"live" min:"64kb" max:"64gb"`
	// ClientRequests is the number of requests of one client that wait. Default 10000.
	ClientRequests int `toml:"client_requests" reload:"live" min:"1" max:"1000000"`
	// ClientBytes is their size. Default 64mb.
	ClientBytes Bytes `toml:"client_bytes" reload:"live" min:"64kb" max:"64gb"`
	// DryRun counts what would wait and answers it at once. Default false.
	DryRun bool `toml:"dry_run" reload:"live"`
}

// Reads is the table [pool.reads]. All are reloadable. Immutable after construction.
type Reads struct {
	// Policy is which nodes answer reads. Default master.
	Policy ReadPolicy `toml:"policy" reload:"live"`
	// Consistency is what a connection may rely on when a replica answers. Default eventual.
	Consistency Consistency `toml:"consistency" reload:"live"`
	// MaxLag is how far behind its master a replica may be to be read, in time. Default 10s. It
	// means nothing for a family without offsets while Heartbeat is off, and then is not printed.
	MaxLag Duration `toml:"max_lag,omitempty" reload:"live" min:"1ms" max:"1h"`
	// OnMasterLoss is how old the data of a replica may become while its master does not answer.
	// Default max_lag.
	OnMasterLoss MasterLoss `toml:"on_master_loss" reload:"live"`
	// MaxLagBytes is the same in bytes of the replication stream; 0 is no limit. Default 0.
	MaxLagBytes Bytes `toml:"max_lag_bytes" reload:"live" min:"0" max:"64gb"`
	// ProbeInterval is the time between two questions to each node about its replication, while
	// a policy other than master is in use. Default 100ms.
	ProbeInterval Duration `toml:"probe_interval" reload:"live" min:"10ms" max:"10s"`
	// Zone is the zone of this host, for ReadNearest. Default none.
	Zone string `toml:"zone" reload:"live"`
	// Weights are the shares of nodes among those that may be read; see Weight for the nodes that
	// are not named. Default none.
	Weights []Weight `toml:"weights" reload:"live"`
	// Hedge sends a read that takes longer than 99 of 100 do to a second replica too. Default
	// false.
	Hedge bool `toml:"hedge" reload:"live"`
	// Heartbeat writes a few small keys on the master every ProbeInterval and reads them on the
	// replicas, for families whose offsets prove nothing. Default false.
	Heartbeat bool `toml:"heartbeat" reload:"live"`
	// AcceptExpiryLoss reads replicas of Pika 4.0 although they lack every key that was written by
	// SET with EX or PX, or by SETEX. Default false: they are not read.
	AcceptExpiryLoss bool `toml:"accept_expiry_loss" reload:"live"`
}

// Auth is the table [pool.auth]. All are reloadable. Immutable after construction.
type Auth struct {
	// BackendUser is the ACL user towards backends; empty sends AUTH with a password only.
	BackendUser string `toml:"backend_user" reload:"live"`
	// BackendPassword is the password towards backends; empty sends no AUTH. After loading it
	// also holds what BackendPasswordFile contained.
	BackendPassword Secret `toml:"backend_password,omitempty" reload:"live"`
	// BackendPasswordFile names a file with the password, instead of BackendPassword.
	BackendPasswordFile string `toml:"backend_password_file,omitempty" reload:"live"`
	// Users may use the pool. None means that no AUTH is asked for.
	Users []User `toml:"user" reload:"live"`
}

// User is one element of [[pool.auth.user]]. Immutable after construction.
type User struct {
	// Name is the user of AUTH. Default "default", the user of an AUTH with a password only.
	Name string `toml:"name" reload:"live"`
	// Password is one of the passwords of the user, of which there is at least one, here, in
	// PasswordFile or in PasswordSHA256. After loading it also holds what PasswordFile contained.
	Password Secret `toml:"password,omitempty" reload:"live"`
	// PasswordFile names a file with the password, instead of Password.
	PasswordFile string `toml:"password_file,omitempty" reload:"live"`
	// PasswordSHA256 are further passwords, as hexadecimal SHA-256 digests.
	PasswordSHA256 []Secret `toml:"password_sha256,omitempty" reload:"live"`
	// ReadOnly denies all commands that write. Default false.
	ReadOnly bool `toml:"read_only" reload:"live"`
	// Keys are the key rules of Redis' ACLs. Nil allows all keys.
	Keys []string `toml:"keys,omitempty" reload:"live"`
	// Channels are patterns of the channels to publish and subscribe to. Nil allows all.
	Channels []string `toml:"channels,omitempty" reload:"live"`
	// Commands are the command rules of Redis' ACLs, from no command on. Nil allows all.
	Commands CommandRules `toml:"commands,omitempty" reload:"live"`
	// The reads of this user, where they differ from those of the pool; Reads.For puts the two
	// together. Empty and nil are not set.
	ReadPolicy      ReadPolicy  `toml:"read_policy,omitempty" reload:"live" with:"dialect"`
	ReadConsistency Consistency `toml:"read_consistency,omitempty" reload:"live" with:"dialect"`
	ReadMaxLag      *Duration   `toml:"read_max_lag,omitempty" reload:"live" with:"dialect" min:"1ms" max:"1h"`
	ReadMaxLagBytes *Bytes      `toml:"read_max_lag_bytes,omitempty" reload:"live" with:"dialect" min:"0" max:"64gb"`
}

// SlotModel names how a key becomes a slot.
type SlotModel string

// The slot models.
const (
	SlotCodis   SlotModel = "codis"   // crc32 of the hash tag, modulo Pool.Slots
	SlotCluster SlotModel = "cluster" // crc16 of the hash tag, modulo 16384
)

// DiscoveryKind names a source of topology.
type DiscoveryKind string

// The sources of topology.
const (
	DiscoverStatic  DiscoveryKind = "static"
	DiscoverCluster DiscoveryKind = "cluster"
	DiscoverConsul  DiscoveryKind = "consul"
	DiscoverCodis   DiscoveryKind = "codis"
)

// Dialect names a family of backends.
type Dialect string

// The families of backends.
const (
	DialectRedis     Dialect = "redis"
	DialectCodis     Dialect = "codis"
	DialectPika      Dialect = "pika"
	DialectDragonfly Dialect = "dragonfly"
	DialectKvrocks   Dialect = "kvrocks"
)

// Ping names what PING and ROLE answer while no master serves.
type Ping string

// Values of Ping.
const (
	PingServers Ping = "servers" // MASTERDOWN
	PingProxy   Ping = "proxy"   // as ever
)

// ServerConfig names what CONFIG does with parameters that belong to the backends.
type ServerConfig string

// Values of ServerConfig.
const (
	ServerConfigSet ServerConfig = "set" // they are shown and set
	ServerConfigGet ServerConfig = "get" // they are shown
	ServerConfigOff ServerConfig = "off" // no backend is asked
)

// ReadPolicy names which nodes answer reads.
type ReadPolicy string

// The read policies.
const (
	ReadMaster        ReadPolicy = "master"         // the master, always
	ReadPreferReplica ReadPolicy = "prefer-replica" // a fit replica, else the master
	ReadReplica       ReadPolicy = "replica"        // a fit replica, else an error
	ReadNearest       ReadPolicy = "nearest"        // of fit replicas and the master: own zone first, then latency
)

// MultiKey says which keys may be in one request.
type MultiKey string

// Values of MultiKey.
const (
	MultiKeyGroup MultiKey = "group" // those of one group, whatever their slots are
	MultiKeySlot  MultiKey = "slot"  // those of one slot
)

// ReplicaSource says who names the replicas of a group.
type ReplicaSource string

// The sources of replicas.
const (
	ReplicasDashboard ReplicaSource = "dashboard" // codis-dashboard alone
	ReplicasEvidence  ReplicaSource = "evidence"  // codis-dashboard, and the master, which lists those that follow it
)

// MasterLoss names how long replicas are read while their master does not answer.
type MasterLoss string

// Values of MasterLoss.
const (
	LossMaxLag     MasterLoss = "max_lag"     // until they are MaxLag behind
	LossLastProven MasterLoss = "last_proven" // for as long as it takes
)

// Consistency names what a connection may rely on when replicas answer its reads.
type Consistency string

// The consistencies.
const (
	ConsistencyEventual       Consistency = "eventual"         // no more than MaxLag
	ConsistencyMonotonic      Consistency = "monotonic"        // nothing older than it has read before
	ConsistencyReadYourWrites Consistency = "read-your-writes" // nothing older than its own last write
)

// LogFormat is the form of a log line.
type LogFormat string

// The forms of a log line.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
	LogAuto LogFormat = "auto" // text on a terminal, JSON elsewhere
)

// LogLevel names the least severe level that is logged.
type LogLevel string

// The log levels.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// Slog returns the level for log/slog; info for a name that Validate would refuse.
func (l LogLevel) Slog() slog.Level {
	switch l {
	case LogDebug:
		return slog.LevelDebug
	case LogInfo:
		return slog.LevelInfo
	case LogWarn:
		return slog.LevelWarn
	case LogError:
		return slog.LevelError
	}
	return slog.LevelInfo
}
