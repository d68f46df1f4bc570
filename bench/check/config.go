package check

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of a run. They are generous for one machine and keep a typing error from
// becoming an endless or memory-hungry run.
const (
	maxClients  = 1024
	maxPipeline = 1024
	maxKeys     = 1_000_000
	maxFiller   = 1_000_000
	maxDuration = time.Hour
	// maxHistory is in operations of about 200 bytes.
	maxHistory = 1_000_000
	// maxWindows is in versions of 24 bytes, of which there may be twice as many.
	maxWindows = 16_000_000
)

// Profile names a load. Its settings are those of Defaults.
type Profile string

const (
	// Baseline is the load codis-proxy was measured with: 16 connections without
	// pipelining, 4000 requests a second, 20000 own keys, half of them with
	// capitals, a tenth not preloaded, 70 % writes.
	Baseline Profile = "baseline"
	// Hard is the same keys and commands from 64 connections in pipelines of 8, as
	// fast as the replies come.
	Hard Profile = "hard"
	// Mixed is for correctness: every operation, own and shared keys.
	Mixed Profile = "mixed"
	// Reads is for reads that replicas may serve: few keys, nine reads for a write,
	// a third of all on keys that another connection writes.
	Reads Profile = "reads"
	// Full is Mixed with scripts among the operations, and sessions of every kind beside them.
	Full Profile = "full"
)

// Config describes one run. Start with Defaults. It is copied by Start and not
// changed.
type Config struct {
	// Addr is host:port (or unix:/path) on this machine.
	Addr string
	// Profile is only a name in the report here; Defaults fills in what it means.
	Profile Profile
	// Clients is the number of connections.
	Clients int
	// Rate is the number of requests per second of all clients together; a client
	// that waits sends nothing and does not catch up. 0: as fast as replies come.
	Rate float64
	// Pipeline is how many requests a client sends before it reads their replies.
	Pipeline int
	// Seed makes keys, operations and values of each client repeatable.
	Seed uint64
	// Duration ends the load; 0 waits for Stop, at most an hour.
	Duration time.Duration
	// Requests ends the load after so many requests of each client; 0: no limit.
	Requests int

	// Keys is the number of own keys of all clients together.
	Keys int
	// Mix says how often each operation is sent.
	Mix Mix
	// Sessions is what runs beside the mix.
	Sessions Sessions
	// SharedPercent of the operations that have a model go to shared keys.
	SharedPercent int
	// SharedKeys is the number of shared keys of each class.
	SharedKeys int
	// WriteShare makes this share (0..1) of the requests be writes of the mix, the
	// others be its reads; negative takes the mix as it is.
	WriteShare float64
	// ObservedPercent of GET, MGET and SET go to keys that one client writes and the
	// others read.
	ObservedPercent int
	// ObservedKeys is the number of these keys.
	ObservedKeys int
	// Consistency is what reads are judged by. Other than Linearizable it needs a mix of
	// get, set, getset, mget, mset, strlen, incr, count, hset and hget, and no shared
	// keys. The keys then have names that no other run has used.
	Consistency Consistency
	// MaxAge makes it a violation when a read had been out of date for longer when it
	// was sent. 0: ages are only reported.
	MaxAge time.Duration
	// Window is the number of versions of a key whose ages are known.
	Window int
	// TagGroup is how many values have the same hash tag; 1 uses no tags for values.
	TagGroup int
	// Undone lets a write with an unknown outcome be seen and then be lost, while nothing else was written to its key: a
	// Dragonfly loses what a transaction or a script has written to a slot that migrates, when the slot is handed over.
	Undone bool
	// Tagged keeps every multi-key command within one hash tag; otherwise half of
	// them go across.
	Tagged bool
	// ValueBytes pads values to at least this length.
	ValueBytes int
	// Prefix begins every key.
	Prefix string

	// Slot returns the slot of a key for findings; it must not keep the key. May be
	// nil.
	Slot func(key []byte) int
	// Watch reports whether a key is in one of the slots whose latency is shown by
	// itself; it must not keep the key. May be nil: none is.
	Watch func(key []byte) bool
	// WatchShare makes this share (0..1) of the own and shared keys be in watched
	// slots by choosing their names; negative takes names as they come.
	WatchShare float64
	// Filler is the number of further keys in watched slots (anywhere without
	// Watch) that are written before the load and read after it.
	Filler int

	// ReplyTimeout is how long a reply is waited for before the connection is given
	// up, and how long a lost connection is dialled again.
	ReplyTimeout time.Duration
	// EndLimit bounds each part of Stop: the last replies, the final reads, the
	// search for linearizations.
	EndLimit time.Duration
	// KeyHistory is the number of operations after which a shared key (or an own
	// list or text) is put away and a new one with the same hash tag taken.
	KeyHistory int
	// History is the number of operations kept on shared keys in all; after that
	// shared operations go to own keys.
	History int
	// Tolerate says which error texts are expected: they are counted, but are no
	// violation. "connection lost: …", "no reply within …" and "connect: …" are the
	// texts of errors without a reply. May be nil.
	Tolerate func(text string) bool
}

// Defaults returns the settings of a profile for an address on this machine.
func Defaults(p Profile) Config {
	c := Config{
		Addr: "127.0.0.1:6380", Profile: p, Clients: 16, Rate: 4000, Pipeline: 1, Seed: 1,
		Keys: 20_000, Mix: mustMix("incr=35,set=35,get=15,count=15"), TagGroup: 1, Prefix: "k", WatchShare: -1,
		WriteShare: -1, Window: 256,
		Sessions:     Sessions{Rate: 25, Moves: true, BlockTime: time.Second, Slack: 150 * time.Second},
		ReplyTimeout: time.Minute, EndLimit: 10 * time.Second, KeyHistory: 160, History: 200_000,
	}
	switch p {
	case Baseline:
	case Reads:
		c.Rate, c.Pipeline, c.Keys, c.TagGroup = 10_000, 8, 400, 4
		c.WriteShare, c.ObservedPercent, c.ObservedKeys = 0.1, 33, 64
		c.Mix = mustMix("get=45,mget=10,strlen=5,count=20,set=15,incr=5")
	case Hard:
		c.Clients, c.Rate, c.Pipeline = 64, 0, 8
	case Mixed, Full:
		c.Pipeline, c.Keys, c.TagGroup = 4, 4000, 4
		c.SharedPercent, c.SharedKeys = 30, 4
		c.Mix = mustMix("get=15,set=15,getset=4,setnx=3,del=3,mget=4,mset=4,mdel=1,incr=15,count=6,hset=6,hget=4,push=6,range=3,append=6,text=3")
	}
	if p == Full {
		c.Mix = mustMix(c.Mix.String() + ",script=6")
		c.Sessions.Transactions, c.Sessions.Scripts, c.Sessions.Pops, c.Sessions.Streams = 4, 4, 3, 2
	}
	return c
}

// Validate reports every setting that is out of bounds.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(slices.Contains([]Profile{Baseline, Hard, Mixed, Reads, Full}, c.Profile), "profile %q: known are baseline, hard, mixed, reads, full", c.Profile)
	check(c.Clients >= 1 && c.Clients <= maxClients, "clients: %d is not in 1..%d", c.Clients, maxClients)
	check(c.Pipeline >= 1 && c.Pipeline <= maxPipeline, "pipeline: %d is not in 1..%d", c.Pipeline, maxPipeline)
	check(c.Rate >= 0 && c.Rate <= 1e7, "rate: %g is not in 0..1e7", c.Rate)
	check(c.Duration >= 0 && c.Duration <= maxDuration, "duration: %s is not in 0..%s", c.Duration, maxDuration)
	check(c.Requests >= 0, "requests: %d is negative", c.Requests)
	check(c.Keys >= c.Clients && c.Keys <= maxKeys, "keys: %d is not in %d (clients)..%d", c.Keys, c.Clients, maxKeys)
	check(c.Filler >= 0 && c.Filler <= maxFiller, "filler: %d is not in 0..%d", c.Filler, maxFiller)
	check(c.Mix.total() > 0, "mix: no operation has a weight")
	c.Sessions.validate(check)
	check(c.Clients+c.Sessions.connections() <= maxClients, "clients: %d with the sessions are above %d", c.Clients+c.Sessions.connections(), maxClients)
	check(c.SharedPercent >= 0 && c.SharedPercent <= 100, "shared: %d is not in 0..100 percent", c.SharedPercent)
	check(c.SharedPercent == 0 || c.SharedKeys >= 1 && c.SharedKeys <= 1000, "shared keys: %d is not in 1..1000", c.SharedKeys)
	check(c.TagGroup >= 1 && c.TagGroup <= 64, "tag group: %d is not in 1..64", c.TagGroup)
	check(c.ValueBytes >= 0 && c.ValueBytes <= 1<<20, "value size: %d is not in 0..%d bytes", c.ValueBytes, 1<<20)
	check(c.Prefix != "" && len(c.Prefix) <= 32, "prefix: %q has not 1..32 bytes", c.Prefix)
	check(c.WatchShare <= 1, "watched share: %g is above 1", c.WatchShare)
	check(c.WatchShare < 0 || c.Watch != nil, "watched share: there are no watched slots")
	check(c.ReplyTimeout > 0 && c.EndLimit > 0, "reply timeout and end limit must be positive")
	check(c.KeyHistory >= 8 && c.KeyHistory <= 2000, "key history: %d is not in 8..2000", c.KeyHistory)
	check(c.History >= 0 && c.History <= maxHistory, "history: %d is not in 0..%d", c.History, maxHistory)
	check(c.WriteShare <= 1, "write share: %g is above 1", c.WriteShare)
	if c.WriteShare >= 0 {
		check(c.WriteShare == 0 || c.Mix.only(true).total() > 0, "write share: the mix has no write")
		check(c.WriteShare == 1 || c.Mix.only(false).total() > 0, "write share: the mix has no read")
	}
	check(c.ObservedPercent >= 0 && c.ObservedPercent <= 100, "observed: %d is not in 0..100 percent", c.ObservedPercent)
	if c.ObservedPercent > 0 {
		check(c.Clients >= 2, "observed: one connection has nobody to read its keys")
		check(c.ObservedKeys >= 2 && c.ObservedKeys <= maxKeys, "observed keys: %d is not in 2..%d", c.ObservedKeys, maxKeys)
	}
	check(c.Consistency < consistencies, "consistency: %s", c.Consistency)
	if c.Consistency != Linearizable {
		check(c.SharedPercent == 0, "consistency: shared keys are only judged as %s", Linearizable)
		check(!c.Sessions.any(), "consistency: sessions are only judged as %s", Linearizable)
		for _, o := range []op{opSetNX, opDel, opMDel, opPush, opRange, opAppend, opText} {
			check(c.Mix.weights[o] == 0, "consistency: %s in the mix is only judged as %s", o, Linearizable)
		}
	}
	check(c.MaxAge >= 0, "max age: %s is negative", c.MaxAge)
	if c.dates() {
		check(c.Window >= 2 && c.Window*(c.Keys+c.ObservedKeys) <= maxWindows, "window: %d is not in 2..%d (for %d keys)",
			c.Window, maxWindows/max(c.Keys+c.ObservedKeys, 1), c.Keys+c.ObservedKeys)
	}
	return errors.Join(errs...)
}

// dates reports whether the ages of reads are to be known.
func (c *Config) dates() bool {
	return c.Consistency != Linearizable || c.MaxAge > 0 || c.ObservedPercent > 0 || c.Profile == Reads
}
