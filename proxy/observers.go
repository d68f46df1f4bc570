package proxy

import (
	"bytes"

	"sluice/proxy/command"
)

// Work is handed from one connection to another by a write of the second: it takes an element out of a queue, gets
// a lock, counts itself in, and then reads what the first had written before. Its own write says nothing of the
// slots of that, so a replica that has all of the connection's own writes may lack it: a worker of RQ that takes
// the name of a job would find no such job, and drop it. So under ReadYourWrites everything that was acknowledged
// before such a write was answered counts as written by the connection.
//
// What a script or a transaction does is not seen, so each counts as one. So does whatever waits at a master for
// data, XREAD too. Plain writes don't, nor do those that tell how long or large something has become (LPUSH, HSET,
// ZADD, APPEND), or set a time to live: a connection that writes ten times a second would hardly ever read from a
// replica.

// observers has the flag observesOthers for commands that show in their reply what others wrote. Immutable after
// construction.
var observers = makeObservers()

func makeObservers() (table [command.Declared + 1]pendingFlags) {
	for _, name := range []string{
		"lpop", "rpop", "lmpop", "blpop", "brpop", "blmpop", "lmove", "blmove", "rpoplpush", "brpoplpush",
		"spop", "zpopmin", "zpopmax", "zmpop", "bzpopmin", "bzpopmax", "bzmpop",
		"xreadgroup", "xclaim", "xautoclaim",
		"getdel", "getset", "getex", "setnx", "msetnx", "hsetnx", "renamenx", "copy", "smove",
		"incr", "incrby", "incrbyfloat", "decr", "decrby", "hincrby", "hincrbyfloat", "zincrby",
		"zrem", "srem", "lrem", "hdel", "del", "unlink", "sadd", "rename", "persist", "setbit", "bitfield",
		"hgetdel", "hgetex", "delex", "delifeq", "msetex", "hsetex", "saddex", "xackdel", "xdelex", "lmovem", "blmovem", "zmove", "bzmove", "increx",
		"exec", "eval", "evalsha", "fcall",
	} {
		table[command.Lookup([]byte(name)).ID] = observesOthers
	}
	table[command.Declared] = observesOthers // Who knows.
	return table
}

// isLock reports whether a SET may tell what others wrote: by NX, XX or GET. A value may look like one of them;
// then reads are stricter than they have to be.
func isLock(cmd *command.Command, raw []byte) bool {
	if cmd.ID != setID || raw[1] == '3' && raw[2] == '\r' {
		return false
	}
	rest := raw[max(0, len(raw)-longestOptions):]
	for {
		at := bytes.IndexByte(rest, '$')
		if at < 0 {
			return false
		}
		rest = rest[at:]
		for _, word := range lockWords {
			if len(rest) >= len(word) && bytes.EqualFold(rest[:len(word)], word) {
				return true
			}
		}
		rest = rest[1:]
	}
}

// lockWords are the options in wire form. Immutable.
var lockWords = [...][]byte{[]byte("$2\r\nnx\r\n"), []byte("$2\r\nxx\r\n"), []byte("$3\r\nget\r\n")}

var setID = command.Lookup([]byte("set")).ID

// longestOptions is how much of the end of a SET the options NX, XX and GET are looked for in. EX, PX and so on may
// stand behind them.
const longestOptions = 128
