package fakecodis

import (
	"context"
	"sync"
)

// command is one that miniredis does not have, or not as the server has it. arity is as in Redis: with the name,
// negative for "at least". run gets the arguments without the name; an error of it ends the connection.
type command struct {
	arity  int
	writes bool
	run    func(ctx context.Context, c *client, args []string) error
	misfit func(c *client, args []string) error // nil: the usual error. args has the name.
}

// fits reports whether n words satisfy an arity; 0 is satisfied by all.
func fits(arity, n int) bool {
	return arity == 0 || arity > 0 && n == arity || arity < 0 && n >= -arity
}

// keyPlaces says which arguments of a command may be keys.
type keyPlaces int

const (
	firstKey keyPlaces = iota
	allArgs
	wholeDB
)

// entry is what a server knows of a command. Immutable.
type entry struct {
	name   string
	own    *command // nil: miniredis runs it.
	known  bool
	writes bool
	reads  bool // Flagged readonly in Redis.
	blocks bool // Waits for others, so it must not have the turn meanwhile.
	keys   keyPlaces
}

// commandTable finds entries. own and unknown are set before the first use; safe for concurrent use after.
type commandTable struct {
	own     map[string]*command
	unknown map[string]bool // Those that miniredis knows and the server does not.
	entries sync.Map        // string to *entry, filled when a command is first seen.
}

func (t *commandTable) entry(s *Server, name string) *entry {
	if v, ok := t.entries.Load(name); ok {
		return v.(*entry)
	}
	e := &entry{name: name, own: t.own[name], blocks: blocking[name], keys: manyKeys[name]}
	if e.own != nil {
		e.known, e.writes = true, e.own.writes
	} else if s.srv.IsRegisteredCommand(name) && !t.unknown[name] {
		e.known = true
		e.reads = s.srv.IsReadOnlyCommand(name)
		e.writes = !e.reads && !neverWrites[name]
	}
	v, _ := t.entries.LoadOrStore(name, e)
	return v.(*entry)
}

var blocking = set("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BZPOPMIN", "BZPOPMAX", "BLMPOP", "BZMPOP", "XREAD", "XREADGROUP")

var manyKeys = map[string]keyPlaces{
	"FLUSHALL": wholeDB, "FLUSHDB": wholeDB,
	"DEL": allArgs, "UNLINK": allArgs, "MSET": allArgs, "MSETNX": allArgs, "RENAME": allArgs, "RENAMENX": allArgs,
	"COPY": allArgs, "RPOPLPUSH": allArgs, "BRPOPLPUSH": allArgs, "LMOVE": allArgs, "BLMOVE": allArgs, "SMOVE": allArgs,
	"BLPOP": allArgs, "BRPOP": allArgs, "BZPOPMIN": allArgs, "BZPOPMAX": allArgs, "LMPOP": allArgs, "ZMPOP": allArgs,
	"SDIFFSTORE": allArgs, "SINTERSTORE": allArgs, "SUNIONSTORE": allArgs, "ZINTERSTORE": allArgs, "ZUNIONSTORE": allArgs,
	"BITOP": allArgs, "PFMERGE": allArgs, "GEORADIUS": allArgs, "GEORADIUSBYMEMBER": allArgs, "EVAL": allArgs, "EVALSHA": allArgs,
}

// neverWrites are those that miniredis does not flag readonly.
var neverWrites = set("AUTH", "CLIENT", "CLUSTER", "COMMAND", "DBSIZE", "DISCARD", "DUMP", "ECHO", "EXEC", "HELLO", "INFO", "KEYS", "MEMORY",
	"MULTI", "OBJECT", "PING", "PUBLISH", "PUBSUB", "QUIT", "RANDOMKEY", "SCAN", "SCRIPT", "SELECT", "TIME", "TOUCH", "UNWATCH",
	"WAIT", "WATCH", "XINFO", "XPENDING", "XREAD", "ZINTER", "ZUNION")

// noPubSub are commands that need a connection miniredis itself serves.
var noPubSub = []string{"SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE"}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
