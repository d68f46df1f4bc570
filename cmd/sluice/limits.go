package main

import (
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// reservedFiles are the descriptors that are not clients: backend connections, listeners, the admin server,
// control connections, and the second descriptor that a client needs for a moment while it is taken over.
const reservedFiles = 256

// raiseFileLimit raises the soft limit on descriptors to the hard one and says so when that is not enough.
func raiseFileLimit(maxClients int, log *slog.Logger) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		log.Warn("cannot read the limit on open files", "err", err)
		return
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			log.Warn("cannot raise the limit on open files", "err", err)
		}
	}
	if can := affordableClients(); can < maxClients {
		log.Warn("the limit on open files allows fewer clients than max_clients; raise it with ulimit -n or LimitNOFILE",
			"max_clients", maxClients, "clients_allowed", can)
	}
}

// affordableClients is how many clients the limit on open files allows.
func affordableClients() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return max(int(limit.Cur)-min(reservedFiles, int(limit.Cur)/2), 1)
}

// tuneCollector lets the heap grow by half instead of doubling before it is collected. The hot path allocates
// nothing, so collections are rare either way, and a sidecar's memory is its host's.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// tuneScheduler gives each loop a processor of the Go scheduler, which it keeps while there is traffic
// (proxy/turn.go), and one more to everything else: the kernel shares the cores among them.
func tuneScheduler(loops int) { runtime.GOMAXPROCS(loops + 1) }
