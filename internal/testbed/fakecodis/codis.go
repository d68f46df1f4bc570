package fakecodis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"sluice/internal/testbed/fake"
)

// What codis-server answers when a key can't be moved; complete replies.
const (
	CodisWriteError       = "-IOERR error or timeout writing to target\r\n"
	CodisReadError        = "-IOERR error or timeout reading from target\r\n"
	CodisRestoreError     = "-ERR error on slotsrestore, migration failed\r\n"
	CodisTimeout          = "-ERR interrupted: migration timeout\r\n"
	CodisConnectionClosed = "-ERR interrupted: connection closed\r\n"
	CodisCanceled         = "-ERR interrupted: canceled\r\n"
	CodisBusy             = "-ERR the specified DB is being migrated\r\n"
)

// codis is what a codis-server has besides its data. It runs one command at a time (Server.turns), so that a key that
// moves synchronously stops everything; a batch gives up its turn while it waits for the target.
type codis struct {
	s     *Server
	index codisIndex

	syncTarget map[string]*target // By address. Owned by who has the turn.

	mu      sync.Mutex
	batches map[int]*batch // Those that run, by database.
}

func newCodis(s *Server) *codis {
	return &codis{
		s:          s,
		index:      codisIndex{s: s, dbs: map[int]*codisDB{}},
		syncTarget: map[string]*target{},
		batches:    map[int]*batch{},
	}
}

// forget is what a restart does.
func (k *codis) forget() { k.syncTarget = map[string]*target{} }

// codisUnknown are the commands of miniredis that Redis 3.2 does not have.
var codisUnknown = set(append(noPubSub, "HELLO", "UNLINK", "SWAPDB", "COPY", "GETEX", "GETDEL", "DELEX", "LMOVE", "BLMOVE", "LMPOP", "BLMPOP",
	"LPOS", "SMISMEMBER", "SINTERCARD", "ZPOPMIN", "ZPOPMAX", "BZPOPMIN", "BZPOPMAX", "ZMPOP", "BZMPOP", "ZMSCORE",
	"ZRANDMEMBER", "ZINTER", "ZUNION", "HRANDFIELD", "HEXPIRE", "HPERSIST", "HPTTL", "HTTL", "HSETEX", "EXPIRETIME",
	"PEXPIRETIME", "EVAL_RO", "EVALSHA_RO", "GEOSEARCH", "GEORADIUS_RO", "GEORADIUSBYMEMBER_RO", "MEMORY", "XACK",
	"XADD", "XAUTOCLAIM", "XCLAIM", "XDEL", "XGROUP", "XINFO", "XLEN", "XPENDING", "XRANGE", "XREAD", "XREADGROUP",
	"XREVRANGE", "XTRIM")...)

// codisArity has the arities the wrapper checks before it looks at the key, and that of HSET, which took one pair.
var codisArity = map[string]int{
	"GET": 2, "SET": -3, "SETNX": 3, "SETEX": 4, "PSETEX": 4, "APPEND": 3, "STRLEN": 2, "DEL": -2, "EXISTS": -2, "INCR": 2,
	"DECR": 2, "INCRBY": 3, "DECRBY": 3, "GETSET": 3, "MGET": -2, "MSET": -3, "RPUSH": -3, "LPUSH": -3, "RPOP": 2,
	"LPOP": 2, "LLEN": 2, "LINDEX": 3, "LSET": 4, "LRANGE": 4, "LTRIM": 4, "LREM": 4, "SADD": -3, "SREM": -3,
	"SISMEMBER": 3, "SCARD": 2, "SMEMBERS": 2, "ZADD": -4, "ZREM": -3, "ZSCORE": 3, "ZCARD": 2, "ZRANGE": -4, "HSET": 4,
	"HMSET": -4, "HGET": 3, "HMGET": -3, "HDEL": -3, "HLEN": 2, "HGETALL": 2, "HEXISTS": 3, "HINCRBY": 4, "EXPIRE": 3,
	"PEXPIRE": 3, "TTL": 2, "PTTL": 2, "PERSIST": 2, "TYPE": 2,
}

func (k *codis) commands() map[string]*command {
	return map[string]*command{
		"AUTH":     {arity: 2, run: auth},
		"INFO":     {arity: -1, run: k.info},
		"CONFIG":   {arity: -2, run: config(map[string]string{"maxmemory": "0", "databases": "16"})},
		"SLAVEOF":  {arity: 3, run: say(fake.OK)},
		"READONLY": {arity: 1, run: say("-ERR This instance has cluster support disabled\r\n")},
		"ASKING":   {arity: 1, run: say("-ERR This instance has cluster support disabled\r\n")},
		"ROLE":     {arity: 1, run: say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")},

		"SLOTSINFO":    {arity: -1, run: k.slotsInfo},
		"SLOTSSCAN":    {arity: -3, run: k.slotsScan},
		"SLOTSDEL":     {arity: -2, writes: true, run: k.slotsDel},
		"SLOTSHASHKEY": {arity: -1, run: slotsHashKey},
		"SLOTSCHECK":   {arity: 1, run: say(fake.OK)},

		"SLOTSMGRTONE":     {arity: 5, writes: true, run: k.moveOne(false)},
		"SLOTSMGRTTAGONE":  {arity: 5, writes: true, run: k.moveOne(true)},
		"SLOTSMGRTSLOT":    {arity: 5, writes: true, run: k.moveSlot(false)},
		"SLOTSMGRTTAGSLOT": {arity: 5, writes: true, run: k.moveSlot(true)},

		"SLOTSMGRTSLOT-ASYNC":    {arity: 8, writes: true, run: k.batchSlot(false)},
		"SLOTSMGRTTAGSLOT-ASYNC": {arity: 8, writes: true, run: k.batchSlot(true)},
		"SLOTSMGRTONE-ASYNC":     {arity: -7, writes: true, run: k.batchKeys(false)},
		"SLOTSMGRTTAGONE-ASYNC":  {arity: -7, writes: true, run: k.batchKeys(true)},
		"SLOTSMGRT-ASYNC-FENCE":  {arity: 1, run: k.fence},
		"SLOTSMGRT-ASYNC-CANCEL": {arity: 1, run: k.cancel},
		"SLOTSMGRT-ASYNC-STATUS": {arity: 1, run: k.status},
		"SLOTSMGRT-EXEC-WRAPPER": {arity: -3, writes: true, run: k.wrapper},

		"SLOTSRESTORE":              {arity: -4, writes: true, run: k.restore},
		"SLOTSRESTORE-ASYNC":        {arity: -2, writes: true, run: k.restoreAsync},
		"SLOTSRESTORE-ASYNC-AUTH":   {arity: 2, run: k.restoreAuth},
		"SLOTSRESTORE-ASYNC-SELECT": {arity: 2, run: k.restoreSelect},
	}
}

// wrapper runs a command on a key that may be moving: [2, its reply] when it has run, [0, error] when the key is
// not here, [1, error] when it is on its way and the command is none that only reads, [-1, error] when it is no
// command.
func (k *codis) wrapper(_ context.Context, c *client, args []string) error {
	key, inner := args[0], args[1:]
	e := k.s.names.entry(k.s, strings.ToUpper(inner[0]))
	arity := codisArity[e.name]
	if e.own != nil {
		arity = e.own.arity
	}
	switch {
	case !e.known:
		c.Write("*2\r\n:-1\r\n" + fake.Error("ERR invalid command specified ("+inner[0]+")"))
	case !fits(arity, len(inner)):
		c.Write("*2\r\n:-1\r\n" + fake.Error("ERR wrong number of arguments for command ("+inner[0]+")"))
	case !k.index.exists(c.db, key):
		c.Write("*2\r\n:0\r\n-ERR the specified key doesn't exist\r\n")
	case !e.reads && k.moving(c.db, key):
		c.Write("*2\r\n:1\r\n-ERR the specified key is being migrated\r\n")
	default:
		c.Write("*2\r\n:2\r\n")
		if e.own != nil {
			c.Write("-ERR the fake wraps commands of Redis only\r\n")
			return nil
		}
		return c.redis(e, inner)
	}
	return nil
}

// restore refuses every payload: those of real servers can't be read here, and fakes send none.
func (k *codis) restore(_ context.Context, c *client, args []string) error {
	if len(args)%3 != 0 {
		c.Write(wrongArity("slotsrestore"))
		return nil
	}
	for i := 1; i < len(args); i += 3 {
		ttl, ok := integer(args[i])
		if !ok {
			c.Write(replyNotInteger)
			return nil
		}
		if ttl < 0 {
			c.Write("-ERR invalid ttl value, must be >= 0\r\n")
			return nil
		}
	}
	c.Write("-ERR dump payload version or checksum are wrong\r\n")
	return nil
}

// restoreAsync knows the messages of small keys: delete key, and string key ttlms value.
func (k *codis) restoreAsync(_ context.Context, c *client, args []string) error {
	if k.running(c.db) != nil {
		return restoreFailed(c, "the specified DB is being migrated")
	}
	switch {
	case strings.EqualFold(args[0], "delete") && len(args) == 2:
		k.s.run(c.db, "DEL", args[1])
	case strings.EqualFold(args[0], "string") && len(args) == 4:
		ttl, ok := integer(args[2])
		if !ok || ttl < 0 {
			return restoreFailed(c, "invalid ttl value ("+args[2]+")")
		}
		k.s.run(c.db, "SET", args[1], args[3])
		if ttl > 0 {
			k.s.run(c.db, "PEXPIRE", args[1], args[2])
		}
	default:
		return restoreFailed(c, "the fake has no such message")
	}
	c.Write(restoreAck("0", "1"))
	return nil
}

func (k *codis) restoreAuth(_ context.Context, c *client, args []string) error {
	password := *k.s.password.Load()
	if password == "" {
		return restoreFailed(c, "Client sent AUTH, but no password is set")
	}
	if args[0] != password {
		return restoreFailed(c, "invalid password")
	}
	c.authed = true
	c.Write(restoreAck("0", "OK"))
	return nil
}

func (k *codis) restoreSelect(_ context.Context, c *client, args []string) error {
	db, err := strconv.Atoi(args[0])
	if err != nil || db < 0 || db >= 16 {
		return restoreFailed(c, fmt.Sprintf("invalid DB index (%s)", args[0]))
	}
	k.s.srv.Dispatch(c.Peer, []string{"SELECT", args[0]})
	c.db = db
	return nil
}

func restoreAck(code, text string) string {
	return fake.Bulks("SLOTSRESTORE-ASYNC-ACK", code, text)
}

func restoreFailed(c *client, text string) error {
	c.Write(restoreAck("-1", text))
	return fake.ErrHangUp
}

// run runs a command of Redis and keeps the index true.
func (s *Server) run(db int, args ...string) {
	s.exec(db, args...)
	s.indexWrite(db, s.names.entry(s, strings.ToUpper(args[0])), args)
}

// say makes a command that has one answer.
func say(reply string) func(context.Context, *client, []string) error {
	return func(_ context.Context, c *client, _ []string) error {
		c.Write(reply)
		return nil
	}
}
