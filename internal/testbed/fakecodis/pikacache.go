package fakecodis

import (
	"sync"
	"sync/atomic"
)

// pikaCache is the cache in front of Pika's storage, as far as it shows: a string that was read stays in it when a
// move deletes it from the storage behind its back. GET, EXISTS and TTL are answered from it; TYPE and KEYS are not.
// A write drops the key.
type pikaCache struct {
	s       *Server
	remains atomic.Int32 // len(moved); every GET reads it.

	mu     sync.Mutex
	cached map[string]bool   // Strings that were read since they were written.
	moved  map[string]string // Those of them that are gone from the storage.
}

func (c *pikaCache) init(s *Server) {
	c.s, c.cached, c.moved = s, map[string]bool{}, map[string]string{}
}

// read notes that GET found a key.
func (c *pikaCache) read(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cached[key] && c.s.data.DB(0).Type(key) == "string" {
		c.cached[key] = true
	}
}

// written drops a key.
func (c *pikaCache) written(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cached, key)
	if _, ok := c.moved[key]; ok {
		delete(c.moved, key)
		c.remains.Add(-1)
	}
}

// deleteBehind deletes a key from the storage; the cache keeps what it has of it.
func (c *pikaCache) deleteBehind(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	db := c.s.data.DB(0)
	if text, err := db.Get(key); err == nil && c.cached[key] {
		if _, ok := c.moved[key]; !ok {
			c.remains.Add(1)
		}
		c.moved[key] = text
	}
	db.Del(key)
}

// stale returns what the cache has of a key that the storage lacks.
func (c *pikaCache) stale(key string) (string, bool) {
	if c.remains.Load() == 0 {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	text, ok := c.moved[key]
	return text, ok
}

func (c *pikaCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cached)
	clear(c.moved)
	c.remains.Store(0)
}
