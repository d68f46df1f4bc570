package proxy

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"sluice/proxy/local"
)

// configuration is what CONFIG GET shows and CONFIG SET changes: the settings of the process and of the client's pool.
type configuration struct {
	Settings
	pool   PoolSettings
	level  slog.Level
	client *client
}

// param is a parameter of CONFIG that is Sluice's own.
type param = local.Param[configuration]

// configParams are those that are Sluice's own: Redis' parameters about clients and about what Sluice answers itself,
// and those keys of Sluice's configuration that a reload can change and that are single values: of [proxy] with its
// name in front, of the pool without. All others belong to the servers. What is right for a key of the configuration is
// said by conf, and a test sees to it that the same is right here. Immutable.
var configParams = slices.Concat(redisParams, processParams, poolParams)

var redisParams = local.Params[configuration]{
	local.Fixed[configuration]("latency-monitor-threshold", "0"),
	local.Fixed[configuration]("timeout", "0"),
	local.Shown("client-output-buffer-limit", func(f *configuration) string {
		return fmt.Sprintf("normal %d 0 0 slave 0 0 0 pubsub %d 0 0", f.Limits.ClientOutput, f.Limits.pubSubOutput())
	}),
	local.Shown("cluster-enabled", func(f *configuration) string { return local.YesNo(f.client.emulatesCluster()) }),
	local.Shown("databases", func(f *configuration) string { return strconv.Itoa(f.client.databases()) }),
	local.Shown("port", func(f *configuration) string { return strconv.Itoa(f.client.pool.tcpPort()) }),
	levelParam(),
	maxClientsParam("maxclients"),
	local.Bytes("proto-max-bulk-len", func(f *configuration) *int { return &f.Limits.MaxBulk }, 1<<20, 1<<30),
	{
		Name: "slowlog-log-slower-than",
		Get: func(f *configuration) string {
			return strconv.FormatInt(max(f.SlowlogSlowerThan.Microseconds(), -1), 10)
		},
		Set: func(f *configuration, value string) string {
			n, wrong := local.IntegerIn(value, -1, math.MaxInt64/int64(time.Microsecond))
			f.SlowlogSlowerThan = time.Duration(n) * time.Microsecond
			return wrong
		},
	},
	local.Int("slowlog-max-len", func(f *configuration) *int { return &f.SlowlogMaxLen }, 0, 100000),
}

var processParams = local.Params[configuration]{
	maxClientsParam("proxy.max_clients"),
	local.Duration("proxy.drain_timeout", func(f *configuration) *time.Duration { return &f.Drain },
		time.Millisecond, time.Hour),
	local.Int("proxy.limits.max_pipeline", func(f *configuration) *int { return &f.Limits.MaxPipeline }, 1, 1000000),
	local.Bytes("proxy.limits.max_unparsed", func(f *configuration) *int { return &f.Limits.MaxUnparsed },
		1<<20, 64<<30),
	local.Bytes("proxy.limits.max_bulk", func(f *configuration) *int { return &f.Limits.MaxBulk }, 1<<20, 1<<30),
	local.Int("proxy.limits.max_args", func(f *configuration) *int { return &f.Limits.MaxArgs }, 1024, 10000000),
	local.Bytes("proxy.limits.client_output", func(f *configuration) *int { return &f.Limits.ClientOutput },
		1<<20, 64<<30),
	local.Bytes("proxy.limits.pubsub_output", func(f *configuration) *int { return &f.Limits.PubSubOutput },
		64<<10, 64<<30),
}

var poolParams = ofPool(
	local.Bool("cluster_emulation", func(f *configuration) *bool { return &f.pool.ClusterEmulation }),
	local.Duration("backend.dial_timeout", func(f *configuration) *time.Duration { return &f.pool.Backend.DialTimeout },
		time.Millisecond, 5*time.Minute),
	local.Duration("backend.request_timeout",
		func(f *configuration) *time.Duration { return &f.pool.Backend.RequestTimeout }, time.Millisecond, time.Hour),
	local.Int("backend.breaker_failures", func(f *configuration) *int { return &f.pool.Backend.BreakerFailures },
		1, 1000000),
	local.Duration("backend.breaker_open", func(f *configuration) *time.Duration { return &f.pool.Backend.BreakerOpen },
		time.Millisecond, 10*time.Minute),
	local.Int("backend.max_dedicated", func(f *configuration) *int { return &f.pool.Backend.MaxDedicated }, 0, 100000),
	local.Int("backend.move_parallel", func(f *configuration) *int { return &f.pool.MoveParallel }, 1, 256),
	local.Duration("hold.max_wait", func(f *configuration) *time.Duration { return &f.pool.Hold.MaxWait },
		0, 5*time.Minute),
	local.Duration("hold.max_move_wait", func(f *configuration) *time.Duration { return &f.pool.Hold.MaxMoveWait },
		0, time.Hour),
	local.Bool("hold.dry_run", func(f *configuration) *bool { return &f.pool.Hold.DryRun }),
	local.Int("hold.max_requests", func(f *configuration) *int { return &f.pool.Hold.MaxRequests }, 1, 10000000),
	local.Bytes("hold.max_bytes", func(f *configuration) *int { return &f.pool.Hold.MaxBytes }, 64<<10, 64<<30),
	local.Int("hold.slot_requests", func(f *configuration) *int { return &f.pool.Hold.SlotRequests }, 1, 10000000),
	local.Bytes("hold.slot_bytes", func(f *configuration) *int { return &f.pool.Hold.SlotBytes }, 64<<10, 64<<30),
	local.Int("hold.client_requests", func(f *configuration) *int { return &f.pool.Hold.ClientRequests }, 1, 1000000),
	local.Bytes("hold.client_bytes", func(f *configuration) *int { return &f.pool.Hold.ClientBytes }, 64<<10, 64<<30),
)

func ofPool(params ...param) local.Params[configuration] {
	for i := range params {
		params[i].OfPool = true
	}
	return params
}

// maxClientsParam is the number of clients, by either of its names.
func maxClientsParam(name string) param {
	p := local.Int(name, func(f *configuration) *int { return &f.MaxClients }, 1, 1000000)
	set := p.Set
	p.Set = func(f *configuration, value string) string {
		wrong := set(f, value)
		if can := f.client.loop.server.affordable; wrong == "" && can > 0 && f.MaxClients > can {
			return fmt.Sprintf("The operating system is not able to handle the specified number of clients, try with %d", can)
		}
		return wrong
	}
	return p
}

// levelParam is the level of the log, where it can be changed.
func levelParam() param {
	p := local.Level("loglevel", func(f *configuration) *slog.Level { return &f.level })
	set := p.Set
	p.Set = func(f *configuration, value string) string {
		if f.client.loop.server.level == nil {
			return "the level of this log can't be changed"
		}
		return set(f, value)
	}
	return p
}

// tcpPort is the first port that the pool listens on, 0 when there is none.
func (p *Pool) tcpPort() int {
	for _, addr := range p.Addrs() {
		if tcp, ok := addr.(*net.TCPAddr); ok {
			return tcp.Port
		}
	}
	return 0
}
