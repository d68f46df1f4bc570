package proxy

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/command"
)

// configuration is what CONFIG GET shows and CONFIG SET changes: the settings of the process and of the client's pool.
type configuration struct {
	Settings
	pool   PoolSettings
	level  slog.Level
	client *client
}

// configParam is a parameter of CONFIG.
type configParam struct {
	name string
	get  func(f *configuration) string
	// set puts a value in, or says what is wrong with it in Redis' words. nil: it can't be changed while the process
	// runs.
	set    func(f *configuration, value string) string
	ofPool bool // set changes settings of the pool
}

// configParams are those that are Sluice's own: Redis' parameters about clients and about what Sluice answers itself,
// and those keys of Sluice's configuration that a reload can change and that are single values: of [proxy] with its
// name in front, of the pool without. All others belong to the servers. What is right for a key of the configuration is
// said by conf, and a test sees to it that the same is right here. Immutable.
var configParams = slices.Concat(redisParams, processParams, poolParams)

var redisParams = []configParam{
	fixed("latency-monitor-threshold", "0"),
	fixed("timeout", "0"),
	shown("client-output-buffer-limit", func(f *configuration) string {
		return fmt.Sprintf("normal %d 0 0 slave 0 0 0 pubsub %d 0 0", f.Limits.ClientOutput, f.Limits.pubSubOutput())
	}),
	shown("cluster-enabled", func(f *configuration) string { return yesNo(f.client.emulatesCluster()) }),
	shown("databases", func(f *configuration) string { return strconv.Itoa(f.client.databases()) }),
	shown("port", func(f *configuration) string { return strconv.Itoa(f.client.pool.tcpPort()) }),
	{name: "loglevel", get: func(f *configuration) string { return redisLevel(f.level) }, set: setLevel},
	maxClientsParam("maxclients"),
	bytesParam("proto-max-bulk-len", func(f *configuration) *int { return &f.Limits.MaxBulk }, 1<<20, 1<<30),
	{
		name: "slowlog-log-slower-than",
		get: func(f *configuration) string {
			return strconv.FormatInt(max(f.SlowlogSlowerThan.Microseconds(), -1), 10)
		},
		set: func(f *configuration, value string) string {
			n, wrong := integerIn(value, -1, math.MaxInt64/int64(time.Microsecond))
			f.SlowlogSlowerThan = time.Duration(n) * time.Microsecond
			return wrong
		},
	},
	intParam("slowlog-max-len", func(f *configuration) *int { return &f.SlowlogMaxLen }, 0, 100000),
}

var processParams = []configParam{
	maxClientsParam("proxy.max_clients"),
	durationParam("proxy.drain_timeout", func(f *configuration) *time.Duration { return &f.Drain }, time.Millisecond, time.Hour),
	intParam("proxy.limits.max_pipeline", func(f *configuration) *int { return &f.Limits.MaxPipeline }, 1, 1000000),
	bytesParam("proxy.limits.max_unparsed", func(f *configuration) *int { return &f.Limits.MaxUnparsed }, 1<<20, 64<<30),
	bytesParam("proxy.limits.max_bulk", func(f *configuration) *int { return &f.Limits.MaxBulk }, 1<<20, 1<<30),
	intParam("proxy.limits.max_args", func(f *configuration) *int { return &f.Limits.MaxArgs }, 1024, 10000000),
	bytesParam("proxy.limits.client_output", func(f *configuration) *int { return &f.Limits.ClientOutput }, 1<<20, 64<<30),
	bytesParam("proxy.limits.pubsub_output", func(f *configuration) *int { return &f.Limits.PubSubOutput }, 64<<10, 64<<30),
}

var poolParams = ofPool(
	boolParam("cluster_emulation", func(f *configuration) *bool { return &f.pool.ClusterEmulation }),
	durationParam("backend.dial_timeout", func(f *configuration) *time.Duration { return &f.pool.Backend.DialTimeout }, time.Millisecond, 5*time.Minute),
	durationParam("backend.request_timeout", func(f *configuration) *time.Duration { return &f.pool.Backend.RequestTimeout }, time.Millisecond, time.Hour),
	intParam("backend.breaker_failures", func(f *configuration) *int { return &f.pool.Backend.BreakerFailures }, 1, 1000000),
	durationParam("backend.breaker_open", func(f *configuration) *time.Duration { return &f.pool.Backend.BreakerOpen }, time.Millisecond, 10*time.Minute),
	intParam("backend.max_dedicated", func(f *configuration) *int { return &f.pool.Backend.MaxDedicated }, 0, 100000),
	intParam("backend.move_parallel", func(f *configuration) *int { return &f.pool.MoveParallel }, 1, 256),
	durationParam("hold.max_wait", func(f *configuration) *time.Duration { return &f.pool.Hold.MaxWait }, 0, 5*time.Minute),
	durationParam("hold.max_move_wait", func(f *configuration) *time.Duration { return &f.pool.Hold.MaxMoveWait }, 0, time.Hour),
	boolParam("hold.dry_run", func(f *configuration) *bool { return &f.pool.Hold.DryRun }),
	intParam("hold.max_requests", func(f *configuration) *int { return &f.pool.Hold.MaxRequests }, 1, 10000000),
	bytesParam("hold.max_bytes", func(f *configuration) *int { return &f.pool.Hold.MaxBytes }, 64<<10, 64<<30),
	intParam("hold.slot_requests", func(f *configuration) *int { return &f.pool.Hold.SlotRequests }, 1, 10000000),
	bytesParam("hold.slot_bytes", func(f *configuration) *int { return &f.pool.Hold.SlotBytes }, 64<<10, 64<<30),
	intParam("hold.client_requests", func(f *configuration) *int { return &f.pool.Hold.ClientRequests }, 1, 1000000),
	bytesParam("hold.client_bytes", func(f *configuration) *int { return &f.pool.Hold.ClientBytes }, 64<<10, 64<<30),
)

func ofPool(params ...configParam) []configParam {
	for i := range params {
		params[i].ofPool = true
	}
	return params
}

func fixed(name, value string) configParam {
	return shown(name, func(*configuration) string { return value })
}

func shown(name string, get func(f *configuration) string) configParam {
	return configParam{name: name, get: get}
}

func intParam(name string, at func(f *configuration) *int, low, high int64) configParam {
	return configParam{
		name: name,
		get:  func(f *configuration) string { return strconv.Itoa(*at(f)) },
		set: func(f *configuration, value string) string {
			n, wrong := integerIn(value, low, high)
			*at(f) = int(n)
			return wrong
		},
	}
}

func integerIn(value string, low, high int64) (n int64, wrong string) {
	n, ok := command.Integer([]byte(value))
	if !ok {
		return 0, "argument couldn't be parsed into an integer"
	}
	return n, outside(n, low, high)
}

func outside(n, low, high int64) string {
	if n < low || n > high {
		return fmt.Sprintf("argument must be between %d and %d inclusive", low, high)
	}
	return ""
}

// maxClientsParam is the number of clients, by either of its names.
func maxClientsParam(name string) configParam {
	p := intParam(name, func(f *configuration) *int { return &f.MaxClients }, 1, 1000000)
	set := p.set
	p.set = func(f *configuration, value string) string {
		wrong := set(f, value)
		if can := f.client.loop.server.affordable; wrong == "" && can > 0 && f.MaxClients > can {
			return fmt.Sprintf("The operating system is not able to handle the specified number of clients, try with %d", can)
		}
		return wrong
	}
	return p
}

// bytesParam is a size. It is shown in bytes, as Redis shows sizes.
func bytesParam(name string, at func(f *configuration) *int, low, high int64) configParam {
	p := intParam(name, at, low, high)
	p.set = func(f *configuration, value string) string {
		n, ok := parseBytes(value)
		if !ok {
			return "argument must be a memory value"
		}
		*at(f) = int(min(n, math.MaxInt)) // More than there can be is no limit.
		return outside(n, low, high)
	}
	return p
}

// parseBytes reads "64mb" as Redis and Sluice's configuration read it.
func parseBytes(text string) (int64, bool) {
	units := []struct {
		name string
		size int64
	}{{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}, {"g", 1e9}, {"m", 1e6}, {"k", 1e3}, {"b", 1}, {"", 1}}
	digits := strings.TrimRight(text, "bkmgBKMG")
	for _, u := range units {
		if strings.ToLower(text[len(digits):]) == u.name {
			n, err := strconv.ParseUint(digits, 10, 63)
			return int64(n) * u.size, err == nil && int64(n) <= math.MaxInt64/u.size
		}
	}
	return 0, false
}

// durationParam is a time, written as in the configuration: "500ms".
func durationParam(name string, at func(f *configuration) *time.Duration, low, high time.Duration) configParam {
	return configParam{
		name: name,
		get:  func(f *configuration) string { return durationText(*at(f)) },
		set: func(f *configuration, value string) string {
			d, err := time.ParseDuration(value)
			switch {
			case err != nil:
				return `argument must be a duration with a unit, such as "500ms"`
			case d < low || d > high:
				return fmt.Sprintf("argument must be between %s and %s inclusive", durationText(low), durationText(high))
			}
			*at(f) = d
			return ""
		},
	}
}

// durationText is "1m" and not "1m0s".
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func boolParam(name string, at func(f *configuration) *bool) configParam {
	return configParam{
		name: name,
		get:  func(f *configuration) string { return yesNo(*at(f)) },
		set: func(f *configuration, value string) string {
			switch strings.ToLower(value) {
			case "yes":
				*at(f) = true
			case "no":
				*at(f) = false
			default:
				return "argument must be 'yes' or 'no'"
			}
			return ""
		},
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// redisLevels are Redis' names of log levels and what they set.
var redisLevels = []struct {
	name  string
	level slog.Level
}{{"debug", slog.LevelDebug}, {"verbose", slog.LevelDebug}, {"notice", slog.LevelInfo}, {"warning", slog.LevelWarn}}

func redisLevel(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "notice"
	}
	return "warning"
}

func setLevel(f *configuration, value string) string {
	if f.client.loop.server.level == nil {
		return "the level of this log can't be changed"
	}
	for _, l := range redisLevels {
		if strings.EqualFold(value, l.name) {
			f.level = l.level
			return ""
		}
	}
	return "argument(s) must be one of the following: debug, verbose, notice, warning"
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
