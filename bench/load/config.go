package load

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of a run. They are generous for one machine and keep a typing error
// from becoming an endless or memory-hungry run.
const (
	maxLimit      = time.Hour
	maxConns      = 16384
	maxDepth      = 4096
	maxValueBytes = 16 << 20
	maxKeys       = 1 << 31
	maxThreads    = 16
	maxMGetKeys   = 1024
)

// Config describes one run. The zero value is not usable; start with Default.
// It is copied by Run and not changed.
type Config struct {
	// Target is "host:port" or "unix:/path"; only loopback hosts are accepted.
	Target string
	// Conns is the number of connections, shared out over the threads.
	Conns int
	// Depth is the pipeline depth: how many requests of one connection may be
	// without a reply.
	Depth int
	// Threads is the number of event loops; one is enough for one proxy.
	Threads int

	// Keys is the size of the key space.
	Keys uint64
	// Prefix comes before the twelve digits of a key.
	Prefix string
	// Dist says how keys are drawn from the key space.
	Dist Dist
	// ZipfS is the exponent of DistZipf, above 1.
	ZipfS float64
	// ValueBytes is the size of the value of SET.
	ValueBytes int
	// Mix says how often each command is sent.
	Mix Mix
	// MGetKeys is the number of keys of one MGET.
	MGetKeys int
	// Verify writes values that name their key and carry a checksum, and checks
	// every reply against the request it belongs to.
	Verify bool
	// Seed makes the drawn keys and commands repeatable.
	Seed uint64

	// Rate is the number of requests per second of an open loop; 0 is a closed
	// loop, which sends as fast as the replies come.
	Rate float64
	// Warmup is the time before the measured window.
	Warmup time.Duration
	// Duration is the length of the measured window; it is ignored when
	// Requests is set.
	Duration time.Duration
	// Requests ends the run after so many requests. There is no warm-up then.
	Requests uint64
	// Limit ends the run in any case, with the requests still open counted as
	// unanswered.
	Limit time.Duration
	// DrainLimit is how long the replies of the last requests are waited for.
	DrainLimit time.Duration

	// OnBegin and OnEnd are called on a loop's thread at the edges of the measured
	// window. OnEnd still finds the load running. Both may be nil.
	OnBegin, OnEnd func()
}

// Default returns a closed loop of 50 connections without pipelining that
// reads small values for ten seconds.
func Default() Config {
	return Config{
		Target:     "127.0.0.1:6380",
		Conns:      50,
		Depth:      1,
		Threads:    1,
		Keys:       100_000,
		Prefix:     "key:",
		Dist:       DistUniform,
		ZipfS:      1.1,
		ValueBytes: 3,
		Mix:        Mix{Get: 1},
		MGetKeys:   10,
		Seed:       1,
		Warmup:     200 * time.Millisecond,
		Duration:   10 * time.Second,
		Limit:      2 * time.Minute,
		DrainLimit: 5 * time.Second,
	}
}

// Validate reports every setting that is out of bounds.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Conns >= 1 && c.Conns <= maxConns, "connections: %d is not in 1..%d", c.Conns, maxConns)
	check(c.Depth >= 1 && c.Depth <= maxDepth, "pipeline depth: %d is not in 1..%d", c.Depth, maxDepth)
	check(c.Threads >= 1 && c.Threads <= maxThreads && c.Threads <= c.Conns,
		"threads: %d is not in 1..%d or above the number of connections", c.Threads, maxThreads)
	check(c.Keys >= 1 && c.Keys <= maxKeys, "keys: %d is not in 1..%d", c.Keys, uint64(maxKeys))
	check(len(c.Prefix) <= 64, "key prefix: longer than 64 bytes")
	check(c.ValueBytes >= 0 && c.ValueBytes <= maxValueBytes, "value size: %d is not in 0..%d", c.ValueBytes, maxValueBytes)
	check(c.MGetKeys >= 1 && c.MGetKeys <= maxMGetKeys, "keys of one MGET: %d is not in 1..%d", c.MGetKeys, maxMGetKeys)
	check(c.Mix.total() > 0, "mix: no command has a weight")
	check(c.Dist != DistZipf || c.ZipfS > 1, "zipf exponent: %g is not above 1", c.ZipfS)
	check(c.Rate >= 0 && c.Rate <= 1e8, "rate: %g is not in 0..1e8", c.Rate)
	check(c.Requests > 0 || c.Duration > 0, "neither a duration nor a number of requests is given")
	check(c.Warmup >= 0 && c.DrainLimit > 0, "warm-up must not be negative and the drain limit must be positive")
	check(c.Limit > 0 && c.Limit <= maxLimit, "time limit: %s is not in 0..%s", c.Limit, maxLimit)
	check(c.Requests > 0 || c.Warmup+c.Duration <= c.Limit,
		"warm-up and duration (%s) are longer than the time limit (%s)", c.Warmup+c.Duration, c.Limit)
	if c.Verify {
		check(c.ValueBytes >= minVerifiedBytes(len(c.Prefix)),
			"value size: verification needs at least %d bytes", minVerifiedBytes(len(c.Prefix)))
	}
	if _, _, err := parseTarget(c.Target); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
