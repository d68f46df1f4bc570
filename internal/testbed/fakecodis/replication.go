package fakecodis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sluice/internal/testbed/fake"
)

// replication is that of a Pika. A fake follows another one of the same process; what goes between them is handed over
// and not sent. In INFO it looks as it was recorded of Pika 4.0.1; see replicainfo.go.
//
//	SLAVEOF -> no_connect -> try_to_full_sync -> syncing_full -> try_to_incr_sync -> connecting -> connected
//	            ^   |                                               ^          |       |    |
//	            |   '---- has the master's id, and no force --------'          |       |    '-> error
//	            '------------------- the master dies --------------------------'-------'
//
// A step stands in front of every arrow (SlaveConnect and the following), so that a test can keep a replica in any state.
//
// A write goes through two places. A replica receives the records of its master's log, and that is what its offsets and
// the master's lag count; it applies them later, in their order. In between INFO says that it is up to date and it is
// not: so does Pika, which acknowledges before it writes to the database. What a killed replica has received and not
// applied is lost for good.
//
// Not modelled: several databases, masters whose binlog was purged on disk, and the 20 s after which a silent peer is
// given up; DropLink does that.
type replication struct {
	p        *pika
	slave    atomic.Bool // Follows a master; every write reads it.
	turnover sync.Mutex  // Held while the master is changed.

	// order is held while a write is run and logged, while a record is applied and while all data is copied or replaced.
	// It is taken before mu, and never together with that of another server.
	order  sync.Mutex
	gen    int // Counts what has replaced all data: records received before are not applied any more.
	closed bool

	mu       sync.Mutex
	id       string // ReplicationID.
	begin    int64  // The offset before the first record.
	end      int64  // The offset of the server: of a replica, what it has received.
	records  []record
	kept     bool // Writes are put into records: not before somebody follows.
	eligible bool
	master   string // host:port; "" for none.
	link     *link  // nil for a master.
	slaves   []*link
	attached int // How many have followed, for their numbers in INFO.
	queue    []received
	applying bool          // In this life there is a goroutine that applies.
	changed  chan struct{} // Closed, and replaced, when any of this changes.
}

// record is a write in the log. Immutable.
type record struct {
	end  int64 // The offset behind it.
	args []string
}

// received is a record that a replica has and has not applied. Immutable.
type received struct {
	record
	gen int
}

// recordHeader is what a record takes besides its command in RESP: SET own 1, 29 bytes, was recorded to take 71.
const recordHeader = 42

func (r *replication) init(p *pika) { r.p, r.eligible, r.changed = p, true, make(chan struct{}) }

// change tells those who wait. r.mu is held.
func (r *replication) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// around runs a command of Redis on the data, and puts it into the log if it writes. One whose effect is not in its
// words, because it is a transaction, has waited or chooses at random, is logged as what its keys hold then.
func (r *replication) around(c *client, e *entry, args []string, run func()) {
	if e.name == "EXEC" && len(c.queued) > 0 {
		queued := c.queued
		r.order.Lock()
		defer r.order.Unlock()
		run()
		for _, q := range queued {
			if e := c.s.names.entry(c.s, strings.ToUpper(q[0])); e.writes {
				r.log(r.effect(e, q, true)...)
			}
		}
		return
	}
	if c.queued != nil || !e.writes {
		run()
		return
	}
	if e.blocks {
		run()
		run = func() {}
	}
	r.order.Lock()
	defer r.order.Unlock()
	run()
	r.log(r.effect(e, args, e.blocks)...)
}

// logged is around for what is not a command: run has the effect of args.
func (r *replication) logged(run func(), args ...string) {
	r.order.Lock()
	defer r.order.Unlock()
	run()
	r.log(args)
}

// effect returns the commands that have the effect of one that was run. r.order is held.
func (r *replication) effect(e *entry, args []string, indirect bool) [][]string {
	if r.p.s.kind != Pika35 && setsWithExpiry(e, args) {
		return [][]string{{"DEL", args[1]}}
	}
	indirect = indirect || e.name == "SPOP" || e.name == "XADD"
	if !indirect || e.keys == wholeDB || len(args) < 2 || !r.keeps() {
		return [][]string{args}
	}
	keys := args[1:2]
	if e.keys == allArgs {
		keys = args[1:] // What is no key does no harm.
	}
	var commands [][]string
	for _, key := range keys {
		commands = append(commands, r.fill(key)...)
	}
	return commands
}

// setsWithExpiry reports whether a command writes a string and its expiry in one. Pika 4.0.1 logs it as PKSETEXAT, with
// milliseconds that do not fit into 32 bits: its replicas store an expiry in 1970, and have no such key.
func setsWithExpiry(e *entry, args []string) bool {
	switch e.name {
	case "SETEX", "PSETEX":
		return true
	case "SET":
		return len(args) == 5 && (strings.EqualFold(args[3], "EX") || strings.EqualFold(args[3], "PX"))
	}
	return false
}

// fill returns what makes another server's key like ours.
func (r *replication) fill(key string) [][]string {
	commands := r.p.s.copyCommands(0, key)
	for _, e := range r.p.s.exec(0, "XRANGE", key, "-", "+").Array() { // An error, without elements, if it is no stream.
		commands = append(commands, append([]string{"XADD", key, e.Array()[0].String()}, words(e.Array()[1])...))
	}
	return commands
}

func (r *replication) keeps() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept
}

// log puts writes behind the log. r.order is held.
func (r *replication) log(commands ...[]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, args := range commands {
		r.end += recordHeader + respBytes(args)
		if r.kept {
			r.records = append(r.records, record{r.end, args})
		}
	}
	if r.kept {
		r.change()
	} else {
		r.begin = r.end
	}
}

// respBytes is the length of a request: "*1\r\n$4\r\nPING\r\n". Every write passes here, so it makes no copy.
func respBytes(args []string) int64 {
	n := len("*\r\n") + digits(len(args))
	for _, arg := range args {
		n += len("$\r\n\r\n") + digits(len(arg)) + len(arg)
	}
	return int64(n)
}

func digits(n int) int {
	d := 1
	for ; n > 9; n /= 10 {
		d++
	}
	return d
}

// snapshot is all data of a server at an offset.
type snapshot struct {
	end      int64
	commands [][]string
}

// snapshot copies the data; it reports false when there is none any more.
func (r *replication) snapshot() (snapshot, bool) {
	r.order.Lock()
	defer r.order.Unlock()
	if r.closed {
		return snapshot{}, false
	}
	var s snapshot
	for _, key := range r.p.s.data.DB(0).Keys() { // With those of the index.
		s.commands = append(s.commands, r.fill(key)...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.end = r.end
	return s, true
}

// load replaces all data at once, as Pika does at the end of a full sync.
func (r *replication) load(s snapshot) {
	r.order.Lock()
	defer r.order.Unlock()
	fake.Ask(func(c *fake.Client) error {
		for _, args := range slices.Concat([][]string{{"MULTI"}, {"FLUSHALL"}}, s.commands, [][]string{{"EXEC"}}) {
			r.p.s.srv.Dispatch(c.Peer, args)
		}
		return nil
	})
	r.p.cache.clear()
	r.p.types.clear()
	r.restart(s.end)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.eligible = true
	r.change()
}

// restart begins a new log at an offset. r.order is held.
func (r *replication) restart(at int64) {
	r.gen++
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin, r.end, r.records, r.queue = at, at, nil, nil
	r.change()
}

// after returns the records behind an offset, and a channel that is closed when there may be more.
func (r *replication) after(at int64) ([]record, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.records, at+1, func(rec record, at int64) int { return int(rec.end - at) })
	return r.records[i:len(r.records):len(r.records)], r.changed
}

// receive takes a record from the master.
func (r *replication) receive(rec record) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = rec.end
	r.records = append(r.records, rec)
	r.queue = append(r.queue, received{rec, r.gen})
	if !r.applying {
		r.applying = r.p.s.host.Go(r.applyAll)
	}
	r.change()
}

// applyAll applies what is received until the life ends, also when the server has become a master meanwhile.
func (r *replication) applyAll(ctx context.Context) {
	for {
		r.mu.Lock()
		queue, changed := r.queue, r.changed
		r.mu.Unlock()
		if len(queue) == 0 {
			if err := fake.Wait(ctx, changed); err != nil {
				return
			}
			continue
		}
		if err := r.p.s.Faults.Pass(ctx, SlaveApply, ""); err != nil {
			return
		}
		r.apply(queue[0])
	}
}

// apply runs the first record of the queue, unless it has lost its meaning.
func (r *replication) apply(rec received) {
	r.order.Lock()
	defer r.order.Unlock()
	if rec.gen != r.gen {
		return
	}
	s := r.p.s
	fake.Ask(func(conn *fake.Client) error {
		c := &client{Client: conn, s: s, authed: true, applies: true}
		return c.redis(s.names.entry(s, strings.ToUpper(rec.args[0])), rec.args)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = r.queue[1:]
	r.change()
}

func newReplicationID() string {
	id := make([]byte, 25)
	_, _ = rand.Read(id) // Never fails.
	return hex.EncodeToString(id)
}
