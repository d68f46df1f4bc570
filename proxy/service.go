package proxy

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sluice/internal/clock"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// served counts, on one loop, what became of the requests of one pool. Owned by the loop.
type served struct {
	requests uint64
	failed   uint64 // answered with an error of a server, or of Sluice, that has nothing to do with the request
	last     []byte // the last such error, cut
	before   struct{ requests, failed uint64 }

	multiSlot map[*command.Command]uint64 // requests with keys in several slots since the last sample
}

// noteMultiSlot counts a request with keys in several slots.
func (s *served) noteMultiSlot(cmd *command.Command) {
	if s.multiSlot == nil {
		s.multiSlot = make(map[*command.Command]uint64)
	}
	s.multiSlot[cmd]++
}

// maxErrorShown is how much of an error reply is kept to be shown.
const maxErrorShown = 200

// serviceErrors begin the error replies that say that a request was not served. All others, such as -WRONGTYPE, are
// answers.
var serviceErrors = [][]byte{
	// Sluice's own.
	[]byte("ERR backend "), []byte("ERR timeout: "), []byte("ERR outcome unknown: "),
	[]byte("ERR no replica "), []byte("TRYAGAIN "), []byte("CLUSTERDOWN "),
	// Servers'.
	[]byte("READONLY "), []byte("ERR READONLY "), []byte("LOADING "), []byte("MASTERDOWN "), []byte("MOVED "), []byte("ASK "),
	[]byte("OOM "), []byte("MISCONF "), []byte("NOREPLICAS "), []byte("IOERR "), []byte("BUSY "),
	[]byte("ERR max number of clients reached"), []byte("ERR Cluster is not yet configured"),
	[]byte("ERR Cannot process command before new leader sync finished"),
}

// failure looks at an error reply.
func (s *served) failure(reply []byte) {
	text := bytes.TrimPrefix(reply[1:], abortedBecause)
	begins := func(start []byte) bool { return bytes.HasPrefix(text, start) }
	if slices.ContainsFunc(serviceErrors, begins) || bytes.Contains(text, toBackend) {
		s.failed++
		s.last = append(s.last[:0], resp.TrimLine(reply[1:min(len(reply), maxErrorShown)])...)
	}
}

// abortedBecause is in front of an error that a server had for EXEC.
var abortedBecause = []byte("EXECABORT Transaction discarded because of: ")

// toBackend is in what Sluice says of its connections.
var toBackend = []byte(" to backend ")

// service says whether the requests of a pool are served, second by second. Safe for concurrent use.
type service struct {
	mu   sync.Mutex
	ring [serviceSeconds]servedSecond
	last string // the last error

	multiSlot map[string]uint64 // see Pool.MultiSlot
}

// servedSecond is what became of the requests that were answered in a second of the loop clock.
type servedSecond struct {
	at               int64
	requests, failed uint64
}

const (
	serviceSeconds = 64
	// tolerated is the share of requests that may fail, 1 in tolerated.
	tolerated = 100
)

// add notes what was answered in the second before now, on one loop.
func (s *service) add(now int64, requests, failed uint64, last []byte) {
	if requests == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now / 1e9
	second := &s.ring[at%serviceSeconds]
	if second.at != at {
		*second = servedSecond{at: at}
	}
	second.requests += requests
	second.failed += failed
	if failed > 0 {
		s.last = string(last)
	}
}

// addMultiSlot takes what a loop has counted.
func (s *service) addMultiSlot(counts map[*command.Command]uint64) {
	if len(counts) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.multiSlot == nil {
		s.multiSlot = make(map[string]uint64)
	}
	for cmd, n := range counts {
		s.multiSlot[cmd.Name] += n
	}
}

func (s *service) multiSlots() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.multiSlot)
}

func (s servedSecond) bad() bool { return s.failed*tolerated > s.requests }

// trouble says what is wrong, "" when nothing is: the last two seconds in which there were requests, of the last
// minute, had more errors than is tolerated. The second of now is not over and does not count.
func (s *service) trouble(now int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum servedSecond
	seen := 0
	for back := int64(1); back < serviceSeconds-1 && seen < 2; back++ {
		at := now/1e9 - back
		second := s.ring[(at%serviceSeconds+serviceSeconds)%serviceSeconds]
		if second.at != at || second.requests == 0 {
			continue
		}
		if !second.bad() {
			return ""
		}
		seen++
		sum.requests += second.requests
		sum.failed += second.failed
	}
	if seen < 2 {
		return ""
	}
	return fmt.Sprintf("%d of %d requests were not served in two seconds, such as: %s", sum.failed, sum.requests, strings.ToValidUTF8(s.last, "?"))
}

// Trouble says that requests of the pool get errors that have nothing to do with them, and with an example why; ""
// while at least 99 % are served.
func (p *Pool) Trouble() string { return p.service.trouble(clock.Now()) }

// sampleService tells the pools what became of their requests since the last call.
func (l *loop) sampleService() {
	for p, s := range l.served {
		p.service.add(l.now, s.requests-s.before.requests, s.failed-s.before.failed, s.last)
		s.before.requests, s.before.failed = s.requests, s.failed
	}
}

// sampleMultiSlot tells the pools which requests had keys in several slots since the last call.
func (l *loop) sampleMultiSlot() {
	for p, s := range l.served {
		p.service.addMultiSlot(s.multiSlot)
		clear(s.multiSlot)
	}
}

// servedOf is the loop's count of a pool.
func (l *loop) servedOf(p *Pool) *served {
	s := l.served[p]
	if s == nil {
		if l.served == nil {
			l.served = make(map[*Pool]*served)
		}
		s = new(served)
		l.served[p] = s
	}
	return s
}

// MultiSlot counts the requests whose keys were in several slots, by the name of the command: those that would be
// refused if the slots had several owners. A transaction counts as its EXEC. Not to be called on a loop.
func (p *Pool) MultiSlot() map[string]uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), loopWait)
	defer cancel()
	p.server.onEachLoop(ctx, (*loop).sampleMultiSlot)
	return p.service.multiSlots()
}
