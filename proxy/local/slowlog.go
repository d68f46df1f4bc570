package local

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// SlowRequest is a request that took at least as long as the slow log is for. Immutable.
type SlowRequest struct {
	ID      int64
	Time    time.Time     // when it was answered
	Total   time.Duration // from its arrival, or the begin of its hold, to the reply of the server
	Held    time.Duration // of it, inside holds
	Backend time.Duration // of it, from the last time that it was given to a connection; 0 when it was not
	Args    []string      // cut as Redis cuts them
	Pool    string
	Client  string   // address
	Name    string   // CLIENT SETNAME
	Node    string   // that it was sent to last; of a command that was divided, the slowest
	Part    []string // of a command that was divided: what Node was asked
}

// SlowLog keeps the newest slow requests of all loops. The zero value is empty. Safe for concurrent use; its mutex is
// taken for slow requests only.
type SlowLog struct {
	mu      sync.Mutex
	next    int64
	entries []*SlowRequest // oldest first
}

// Add gives r its id, keeps it, and forgets what is older than the newest limit.
func (g *SlowLog) Add(r *SlowRequest, limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.ID = g.next
	g.next++
	g.entries = append(g.entries, r)
	if more := len(g.entries) - limit; more > 0 {
		g.entries = slices.Delete(g.entries, 0, more)
	}
}

// Newest lists at most n requests of a pool, newest first. The pool "" stands for all.
func (g *SlowLog) Newest(pool string, n int) []*SlowRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*SlowRequest
	for _, r := range slices.Backward(g.entries) {
		if len(list) >= n {
			break
		}
		if pool == "" || r.Pool == pool {
			list = append(list, r)
		}
	}
	return list
}

// reset forgets the requests of a pool. Ids go on, as in Redis.
func (g *SlowLog) reset(pool string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries = slices.DeleteFunc(g.entries, func(r *SlowRequest) bool { return r.Pool == pool })
}

// Bounds of the arguments in the slow log, those of Redis.
const (
	SlowArgs   = 32
	slowMaxArg = 128 // bytes
)

// CutArgs reads the arguments of a request in wire form, of which raw may be no more than the beginning, and cuts them
// as Redis does for its slow log.
func CutArgs(raw []byte) []string {
	n, raw, _ := resp.CutHeader(raw, '*')
	var args []string
	for i := range n {
		size, rest, ok := resp.CutHeader(raw, '$')
		if !ok || n > SlowArgs && i == SlowArgs-1 {
			return append(args, fmt.Sprintf("... (%d more arguments)", n-i))
		}
		shown := min(size, slowMaxArg, len(rest))
		arg := string(rest[:shown])
		if size > shown {
			arg += fmt.Sprintf("... (%d more bytes)", size-shown)
		}
		args = append(args, arg)
		raw = rest[min(size+len("\r\n"), len(rest)):]
	}
	return args
}

const slowlogDefault = 10 // entries of SLOWLOG GET

// slowlogGet lists the slow requests of the client's pool, in the six fields of Redis that clients know how to read.
// What Sluice knows beyond them is shown by the admin server.
func slowlogGet(dst []byte, c Client, args [][]byte) []byte {
	n := int64(slowlogDefault)
	if len(args) > 3 {
		return resp.AppendError(dst, wrongNumber(args[1], "SLOWLOG"))
	}
	if len(args) == 3 {
		given, ok := command.Integer(args[2])
		if !ok || given < -1 {
			return resp.AppendError(dst, "ERR count should be greater than or equal to -1")
		}
		if n = given; n == -1 {
			n = math.MaxInt
		}
	}
	list := c.Proxy().Slow.Newest(c.Pool().Name(), int(min(n, math.MaxInt)))
	dst = resp.AppendArray(dst, len(list))
	for _, r := range list {
		dst = resp.AppendArray(dst, 6)
		dst = resp.AppendInt(dst, r.ID)
		dst = resp.AppendInt(dst, r.Time.Unix())
		dst = resp.AppendInt(dst, r.Total.Microseconds())
		dst = appendTexts(dst, r.Args)
		dst = resp.AppendBulk(resp.AppendBulk(dst, r.Client), r.Name)
	}
	return dst
}

func slowlogLen(dst []byte, c Client, _ [][]byte) []byte {
	return resp.AppendInt(dst, int64(len(c.Proxy().Slow.Newest(c.Pool().Name(), math.MaxInt))))
}

func slowlogReset(dst []byte, c Client, _ [][]byte) []byte {
	c.Proxy().Slow.reset(c.Pool().Name())
	return appendOK(dst)
}
