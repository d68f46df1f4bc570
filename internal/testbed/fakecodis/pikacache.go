package fakecodis

import (
	"sync"
	"sync/atomic"
)

// pikaCache is the cache in front of Pika's storage, as far as it shows: what was read stays in it when a move deletes
// it from the storage behind its back. Strings do, but for the background move of 4.0, and of 4.0 the other types, too:
// it drops the key with the letter of its type in front (4.0.1, src/pika_slot_command.cc DeleteKey; measured with sets
// and lists). Reads of the key are answered from it, and EXISTS, TTL and PTTL of that key alone; TYPE, KEYS and EXISTS
// of several keys, be they the same, are not (4.0.1, src/pika_kv.cc ExistsCmd::ReadCache).
//
// A write drops a string. Of the others the old elements stay, also when the key comes back with others, until DEL
// or CLEARCACHE.
type pikaCache struct {
	s       *Server
	remains atomic.Int32 // len(moved); every read looks at it.

	mu     sync.Mutex
	cached map[string]bool   // Keys that were read since they were written.
	moved  map[string]string // Those of them that are gone from the storage, and their types; they stand in ghostDB.
}

// ghostDB is the database of miniredis that has what only the cache has. No client of a Pika gets there.
const ghostDB = 15

// cacheReads are the commands that fill the cache, and are answered from it, by the type of their key.
var cacheReads = map[string]string{
	"GET": "string", "STRLEN": "string", "GETRANGE": "string",
	"SMEMBERS": "set", "SCARD": "set", "SISMEMBER": "set", "SRANDMEMBER": "set",
	"LRANGE": "list", "LLEN": "list", "LINDEX": "list",
	"HGET": "hash", "HGETALL": "hash", "HLEN": "hash", "HMGET": "hash", "HEXISTS": "hash", "HKEYS": "hash", "HVALS": "hash",
	"ZCARD": "zset", "ZRANGE": "zset", "ZSCORE": "zset", "ZRANK": "zset", "ZCOUNT": "zset", "ZRANGEBYSCORE": "zset",
}

func (c *pikaCache) init(s *Server) {
	c.s, c.cached, c.moved = s, map[string]bool{}, map[string]string{}
}

// caches reports whether keys of a type stay in the cache when they are moved.
func (c *pikaCache) caches(kind string) bool {
	return kind == "string" || c.s.kind != Pika35 && kind != "stream"
}

// read notes that a command has read a key.
func (c *pikaCache) read(command, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kind := c.s.data.DB(0).Type(key); !c.cached[key] && kind == cacheReads[command] && c.caches(kind) {
		c.cached[key] = true
	}
}

// written notes that a key was written.
func (c *pikaCache) written(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cached, key)
	if kind, ok := c.moved[key]; ok && (kind == "string" || !c.s.data.DB(0).Exists(key)) {
		c.drop(key)
	}
}

func (c *pikaCache) drop(key string) {
	delete(c.moved, key)
	c.s.data.DB(ghostDB).Del(key)
	c.remains.Add(-1)
}

// deleteBehind deletes a key from the storage; the cache keeps what it has of it.
func (c *pikaCache) deleteBehind(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	db := c.s.data.DB(0)
	if kind := db.Type(key); c.cached[key] && db.Exists(key) {
		if _, ok := c.moved[key]; !ok {
			c.s.exec(0, "COPY", key, key, "DB", "15", "REPLACE")
			c.moved[key] = kind
			c.remains.Add(1)
		}
	}
	delete(c.cached, key)
	db.Del(key)
}

// stale returns the type of what the cache has of a key and the storage has not, or had otherwise.
func (c *pikaCache) stale(key string) (kind string, ok bool) {
	if c.remains.Load() == 0 {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kind, ok = c.moved[key]
	return kind, ok
}

// clear is CLEARCACHE.
func (c *pikaCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cached)
	for key := range c.moved {
		c.drop(key)
	}
}
