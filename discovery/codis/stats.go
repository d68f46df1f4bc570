package codis

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Counters are what a proxy counts, as the dashboard shows it.
type Counters struct {
	Requests uint64 // answered
	Errors   uint64 // answered with an error
	Clients  uint64 // accepted so far
	Alive    int    // connected now
	Commands []CommandCounters
}

// CommandCounters count one command.
type CommandCounters struct {
	Name   string
	Calls  uint64
	Failed uint64
	Time   time.Duration // sum
}

// Stats is the answer to GET stats (Codis 3.2, pkg/proxy/proxy.go). What Sluice has no use for is left out or 0.
type Stats struct {
	Online    bool `json:"online"`
	Closed    bool `json:"closed"`
	Sentinels struct {
		Servers  []string       `json:"servers,omitempty"`
		Masters  map[int]string `json:"masters,omitempty"`  // by group, as the sentinels name them
		Switched bool           `json:"switched,omitempty"` // they count in place of the dashboard's
	} `json:"sentinels"`
	Ops struct {
		Total uint64 `json:"total"`
		Fails uint64 `json:"fails"`
		Redis struct {
			Errors uint64 `json:"errors"`
		} `json:"redis"`
		QPS uint64    `json:"qps"`
		Cmd []OpStats `json:"cmd,omitempty"`
	} `json:"ops"`
	Sessions struct {
		Total uint64 `json:"total"`
		Alive int    `json:"alive"`
	} `json:"sessions"`
	Rusage struct {
		Now string  `json:"now"`
		CPU float64 `json:"cpu"` // cores in use
		Mem int64   `json:"mem"` // bytes resident
	} `json:"rusage"`
	Backend struct {
		PrimaryOnly bool `json:"primary_only"`
	} `json:"backend"`
}

// OpStats count one command.
type OpStats struct {
	OpStr        string `json:"opstr"`
	Calls        uint64 `json:"calls"`
	Usecs        int64  `json:"usecs"`
	UsecsPercall int64  `json:"usecs_percall"`
	Fails        uint64 `json:"fails"`
	RedisErrType int64  `json:"redis_errtype"`
}

// Bits of the flags in stats/XAUTH/FLAGS.
const statsCommands = 1

// sample is the last look at what only grows, for rates.
type sample struct {
	at       time.Time
	requests uint64
	cpu      time.Duration
	qps      uint64
	cores    float64
}

// sampleGap is the shortest time over which a rate is taken.
const sampleGap = time.Second

// next updates the rates if the last look was long enough ago.
func (s sample) next(now time.Time, requests uint64, cpu time.Duration) sample {
	gap := now.Sub(s.at)
	if gap < sampleGap {
		return s
	}
	n := sample{at: now, requests: requests, cpu: cpu}
	if !s.at.IsZero() && requests >= s.requests {
		n.qps = uint64(float64(requests-s.requests) / gap.Seconds())
		n.cores = float64(cpu-s.cpu) / float64(gap)
	}
	return n
}

// stats makes the answer.
func (s *Source) stats(flags uint64) *Stats {
	counters := s.cfg.Counters()
	st := new(Stats)
	s.mu.Lock()
	s.rates = s.rates.next(time.Now(), counters.Requests, processTime())
	rates := s.rates
	st.Online, st.Closed = s.online, s.closed
	st.Sentinels.Servers, st.Sentinels.Masters = s.sentinels, s.said
	known := s.routes
	s.mu.Unlock()
	_, st.Sentinels.Switched = known.inForce()
	st.Ops.Total, st.Ops.Fails, st.Ops.Redis.Errors, st.Ops.QPS = counters.Requests, counters.Errors, counters.Errors, rates.qps
	st.Sessions.Total, st.Sessions.Alive = counters.Clients, counters.Alive
	st.Rusage.Now = time.Now().Format(time.RFC3339)
	st.Rusage.CPU, st.Rusage.Mem = rates.cores, residentBytes()
	if flags&statsCommands == 0 {
		return st
	}
	for _, c := range counters.Commands {
		op := OpStats{OpStr: strings.ToUpper(c.Name), Calls: c.Calls, Fails: c.Failed, Usecs: c.Time.Microseconds()}
		if c.Calls > 0 {
			op.UsecsPercall = op.Usecs / int64(c.Calls)
		}
		st.Ops.Cmd = append(st.Ops.Cmd, op)
	}
	return st
}

// processTime is the CPU time that the process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentBytes is the memory of the process (proc(5), statm: the second field, in pages), 0 where there is no /proc.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
