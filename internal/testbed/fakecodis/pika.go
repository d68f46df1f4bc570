package fakecodis

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"

	"sluice/internal/testbed/fake"
)

// What Pika answers when keys can't be moved; complete replies.
const (
	// PikaBusy refuses a batch while another slot is under way.
	PikaBusy = "-ERR Slot batch migrating keys error, may be currently migrating\r\n"
	// PikaConnectError is that of a synchronous move whose target refuses connections.
	PikaConnectError = "-ERR IOERR error or timeout connecting to the client\r\n"
	// PikaTimeout is that of a synchronous move whose target does not answer.
	PikaTimeout = "-ERR Connect slots target, Recv error: Timeout: \r\n"
	// PikaTypeError is that of SLOTSMGRTTAGONE for a key that vanished while it waited for its turn.
	PikaTypeError = "-ERR cont get the key type.\r\n"
)

// pika is what a Pika has besides its data. It runs Options.Threads commands at once. Synchronous moves run one
// after the other behind one lock, each holding its thread. The background thread that moves a slot does not take
// that lock, so both may handle one key at the same time.
type pika struct {
	s       *Server
	version Kind

	slotmigrate atomic.Bool
	index       pikaIndex
	cache       pikaCache
	types       pikaTypes
	mover       mover
	repl        replication

	syncLock chan struct{}      // Holds one while a synchronous move runs.
	targets  map[string]*target // By address. Owned by who has syncLock.
}

func newPika(s *Server, slotmigrate bool) *pika {
	p := &pika{s: s, version: s.kind, syncLock: make(chan struct{}, 1), targets: map[string]*target{}}
	p.index.init(p)
	p.cache.init(s)
	p.types.init(s)
	p.mover.p = p
	p.repl.init(p)
	p.slotmigrate.Store(slotmigrate)
	return p
}

// forget is what a restart does.
func (p *pika) forget() {
	p.targets = map[string]*target{}
	p.cache.clear()
	p.mover.reset()
}

// pikaUnknown are the commands of miniredis that Pika does not have.
var pikaUnknown = set(append(noPubSub, "BLMOVE", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "CLUSTER", "COMMAND", "COPY", "DELEX", "DUMP",
	"EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "EXPIRETIME", "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO", "GEOSEARCH",
	"GETDEL", "GETEX", "HEXPIRE", "HPERSIST", "HPTTL", "HRANDFIELD", "HSETEX", "HTTL", "LMOVE", "LMPOP", "LPOS",
	"MEMORY", "MOVE", "OBJECT", "PEXPIRETIME", "RANDOMKEY", "RENAME", "RENAMENX", "RESTORE", "SCRIPT",
	"SINTERCARD", "SMISMEMBER", "SWAPDB", "TOUCH", "WAIT", "XACK", "XAUTOCLAIM", "XCLAIM", "XGROUP", "XPENDING",
	"XREADGROUP", "ZINTER", "ZMPOP", "ZMSCORE", "ZRANDMEMBER", "ZUNION")...)

func (p *pika) commands() map[string]*command {
	one := &command{arity: 5, run: p.moveOne, misfit: misfitAs("slotsmgrttagslot")}
	slot := &command{arity: 5, run: p.moveSlot, misfit: misfitAs("slotsmgrttagslot")}
	return map[string]*command{
		"AUTH":    {arity: -2, run: auth},
		"HELLO":   {arity: -1, run: p.hello},
		"PING":    {arity: 1, run: say("+PONG\r\n")},
		"SELECT":  {arity: 2, run: p.selectDB},
		"INFO":    {arity: -1, run: p.info},
		"DBSIZE":  {arity: 1, run: p.dbsize},
		"CONFIG":  {arity: -2, run: p.config},
		"SLAVEOF": {arity: -3, run: p.slaveof},

		"CLEARCACHE": {arity: 1, run: p.clearCache},

		"SLOTSINFO":       {arity: -1, run: p.slotsInfo},
		"SLOTSSCAN":       {arity: -3, run: p.slotsScan},
		"SLOTSDEL":        {arity: -2, run: p.slotsDel},
		"SLOTSHASHKEY":    {arity: -2, run: slotsHashKey},
		"SLOTSRELOAD":     {arity: 1, run: p.slotsReload},
		"SLOTSRELOADOFF":  {arity: 1, run: say(fake.OK)},
		"SLOTSCLEANUP":    {arity: -2, run: p.slotsCleanup},
		"SLOTSCLEANUPOFF": {arity: 1, run: say(fake.OK)},

		"SLOTSMGRTONE":     one,
		"SLOTSMGRTTAGONE":  one,
		"SLOTSMGRTSLOT":    slot,
		"SLOTSMGRTTAGSLOT": slot,

		"SLOTSMGRTTAGSLOT-ASYNC": {arity: 8, run: p.batchSlot, misfit: misfitBatch},
		"SLOTSMGRT-ASYNC-CANCEL": {arity: 1, run: p.cancel},
		"SLOTSMGRT-ASYNC-STATUS": {arity: 1, run: p.status},
		"SLOTSMGRT-EXEC-WRAPPER": {arity: -3, writes: true, run: p.wrapper, misfit: misfitWrapper},
	}
}

func misfitAs(name string) func(*client, []string) error {
	return func(c *client, _ []string) error {
		c.Write(wrongArity(name))
		return nil
	}
}

// misfitBatch: without any argument the server dies.
func misfitBatch(c *client, args []string) error {
	if len(args) == 1 {
		c.s.host.Die()
		return fake.ErrDead
	}
	c.Write(replyNotInteger)
	return nil
}

// misfitWrapper: without any argument the server dies.
func misfitWrapper(c *client, args []string) error {
	if len(args) == 1 {
		c.s.host.Die()
		return fake.ErrDead
	}
	c.Write(wrongArity(args[0]))
	return nil
}

// wrapper is SLOTSMGRT-EXEC-WRAPPER key command args... It looks at the key in lower case only, has the background
// thread move it, and answers [0,0], [1,1] or [-1,-1]; see mover.moveKey. Only the fixed one runs the command.
func (p *pika) wrapper(ctx context.Context, c *client, args []string) error {
	n, made := p.s.Faults.wrapper(args[0])
	if !made {
		var err error
		if n, err = p.mover.moveKey(ctx, strings.ToLower(args[0])); err != nil {
			return err
		}
		if n == queued && p.version == PikaFixed {
			return p.wrapped(c, args[1:])
		}
	}
	if n == queued {
		n = 1
	}
	c.Write(pairReply(n, n))
	return nil
}

// wrapped runs the command of a wrapper on this server and answers [2, its reply].
func (p *pika) wrapped(c *client, inner []string) error {
	e := p.s.names.entry(p.s, strings.ToUpper(inner[0]))
	c.Write("*2\r\n:2\r\n")
	if !e.known || e.own != nil {
		c.Write(fake.Error(`ERR unknown command "` + strings.ToLower(inner[0]) + `"`))
		return nil
	}
	return c.redis(e, inner)
}

// answer answers those commands of Redis that Pika answers in another way, and reports whether it did.
func (p *pika) answer(c *client, e *entry, args []string) bool {
	if c.queued != nil {
		return false
	}
	switch e.name {
	case "MSET":
		if len(args)%2 == 0 {
			c.Write(wrongArity(e.name))
		}
		return len(args)%2 == 0
	case "SET":
		if p.version == Pika35 && shortLived(args) {
			c.Write("-ERR Invalid argument: invalid expire time\r\n")
			return true
		}
		return false
	case "EXISTS", "TTL", "PTTL":
		return len(args) == 2 && p.answerExists(c, e, args[1])
	case "XLEN": // miniredis gives two replies to that of another type.
		if len(args) != 2 || p.s.data.DB(0).Type(args[1]) == "stream" {
			return false
		}
		if p.version == Pika35 || !p.s.data.DB(0).Exists(args[1]) { // 3.5 lets one key have several types.
			c.Write(fake.Int(0))
		} else {
			c.Write("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n")
		}
		return true
	case "TYPE":
		if len(args) == 2 {
			if kind := p.types.of(args[1]); kind != "" {
				c.Write("+" + kind + "\r\n")
				return true
			}
		}
		return false
	}
	return cacheReads[e.name] != "" && len(args) > 1 && p.answerRead(c, e, args)
}

func (p *pika) clearCache(_ context.Context, c *client, _ []string) error {
	p.cache.clear()
	c.Write(fake.OK)
	return nil
}

// shortLived reports whether SET has a PX below a second, which 3.5 refuses.
func shortLived(args []string) bool {
	for i := 3; i+1 < len(args); i++ {
		if ms, err := strconv.Atoi(args[i+1]); strings.EqualFold(args[i], "px") && err == nil {
			return ms < 1000
		}
	}
	return false
}

// answerRead answers from the cache what the storage lacks.
func (p *pika) answerRead(c *client, e *entry, args []string) bool {
	if kind, ok := p.cache.stale(args[1]); !ok || kind != cacheReads[e.name] {
		return false
	}
	reply, err := p.s.exec(ghostDB, args...).MarshalRESP()
	if err != nil {
		panic(err) // It was just parsed.
	}
	c.Write(string(reply))
	return true
}

// answerExists is answerRead for EXISTS, TTL and PTTL; it answers also the time to live of an absent key.
func (p *pika) answerExists(c *client, e *entry, key string) bool {
	if _, ok := p.cache.stale(key); ok {
		if e.name == "EXISTS" {
			c.Write(fake.Int(1))
		} else {
			c.Write(fake.Int(-1))
		}
		return true
	}
	absent := (e.name == "TTL" || e.name == "PTTL") && p.version != Pika35 && !p.s.data.DB(0).Exists(key)
	if absent {
		c.Write(fake.Int(0)) // 3.5 says -2, as Redis does.
	}
	return absent
}

// batchSlot is SLOTSMGRTTAGSLOT-ASYNC host port timeoutms maxbulks maxbytes slot numkeys. It asks for one round of
// numkeys keys and answers at once [0, how many keys the slot has].
func (p *pika) batchSlot(_ context.Context, c *client, args []string) error {
	lowest := []int64{1, 1, 1, 1, 0, 0} // Of port, timeout, maxbulks, maxbytes, slot and numkeys.
	var n [6]int64
	for i, arg := range args[1:] {
		var ok bool
		n[i], ok = integer(arg)
		if !ok || n[i] < lowest[i] || i == 4 && n[i] >= int64(p.s.slots) {
			c.Write(replyNotInteger)
			return nil
		}
		if i == 0 && p.isSelf(args[0], n[0]) {
			c.Write("-ERR destination address error\r\n")
			return nil
		}
	}
	if !p.slotmigrate.Load() {
		c.Write("-ERR please open slotmigrate and reload slot\r\n")
		return nil
	}
	slot := int(n[4])
	left := p.index.size(slot)
	asked := round{host: strings.ToLower(args[0]), port: int(n[0]), timeoutMS: n[1], slot: slot, keys: int(n[5])}
	if left > 0 && !p.mover.moveSlot(asked) {
		c.Write(PikaBusy)
		return nil
	}
	c.Write(pairReply(0, left))
	return nil
}

func (p *pika) isSelf(host string, port int64) bool {
	return strings.EqualFold(host, "127.0.0.1") && port == int64(p.s.Port())
}

// cancel waits for the keys that are on their way.
func (p *pika) cancel(ctx context.Context, c *client, _ []string) error {
	if err := p.mover.stop(ctx); err != nil {
		return err
	}
	c.Write(fake.OK)
	return nil
}

func (p *pika) status(ctx context.Context, c *client, _ []string) error {
	st, err := p.mover.status(ctx)
	if err != nil {
		return err
	}
	migrating := "no"
	if st.migrating {
		migrating = "yes"
	}
	c.Write(fake.Bulks(
		"dest server: "+st.host+":"+strconv.Itoa(st.port),
		"slot number: "+strconv.Itoa(st.slot),
		"migrating  : "+migrating,
		"moved keys : "+strconv.Itoa(st.moved),
		"remain keys: "+strconv.Itoa(st.left),
	))
	return nil
}
