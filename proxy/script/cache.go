// Package script keeps the scripts that clients have sent, so that a server that lacks one can be given it.
package script

import (
	"container/list"
	"crypto/sha1" //nolint:gosec // The protocol names scripts by it.
	"encoding/hex"
	"sync"
	"sync/atomic"
)

// Cache has the scripts that clients have sent through a pool, so that one that a server lacks can be loaded
// there: a server that was restarted, the new master after a failover, a group that has come later. It is bounded; what
// was used longest ago goes first, and what came with EVAL before what came with SCRIPT LOAD, since there are
// clients that make a new script for every EVAL.
//
// Safe for concurrent use. A loop remembers what it has put here (Seen), so that a script costs its SHA-1 and the
// lock once per loop.
type Cache struct {
	generation atomic.Uint64 // written under mu when scripts are forgotten; read by the loops

	mu     sync.Mutex // guards what follows
	bytes  int
	byID   map[ID]*list.Element // of *known, in loaded or in seen
	loaded list.List            // by SCRIPT LOAD, the last used first
	seen   list.List            // by EVAL, the last used first
}

// ID is the SHA-1 of a script in lower case hex.
type ID [2 * sha1.Size]byte

type known struct {
	id   ID
	body string
	by   *list.List
}

// Bounds of what is kept.
const (
	MaxBytes  = 16 << 20 // of all scripts
	MaxScript = 1 << 20  // of one: a longer one is not kept
	overhead  = 256      // of each, beside its body
)

// IDOf is the name of a script.
func IDOf(body []byte) (id ID) {
	sum := sha1.Sum(body) //nolint:gosec // As above.
	hex.Encode(id[:], sum[:])
	return id
}

// Add keeps a script and returns the body that is kept, for others to share.
func (s *Cache) Add(id ID, body string, loaded bool) string {
	if len(body) > MaxScript {
		return body
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[ID]*list.Element)
	}
	if e := s.byID[id]; e != nil {
		k := e.Value.(*known)
		k.by.MoveToFront(e)
		if loaded && k.by == &s.seen {
			s.seen.Remove(e)
			k.by = &s.loaded
			s.byID[id] = s.loaded.PushFront(k)
		}
		return k.body
	}
	k := &known{id: id, body: body, by: &s.seen}
	if loaded {
		k.by = &s.loaded
	}
	s.byID[id] = k.by.PushFront(k)
	s.bytes += len(body) + overhead
	s.evict()
	return body
}

// evict makes room for more than the next script when there is too little, because every loop looks its scripts up anew
// afterwards.
func (s *Cache) evict() {
	if s.bytes <= MaxBytes {
		return
	}
	for s.bytes > MaxBytes/8*7 {
		e := s.seen.Back()
		if e == nil {
			e = s.loaded.Back()
		}
		k := e.Value.(*known)
		k.by.Remove(e)
		delete(s.byID, k.id)
		s.bytes -= len(k.body) + overhead
	}
	s.generation.Add(1)
}

// Clear forgets all scripts.
func (s *Cache) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded.Init()
	s.seen.Init()
	s.byID, s.bytes = nil, 0
	s.generation.Add(1)
}

// Body finds a script.
func (s *Cache) Body(id ID) (body string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return "", false
	}
	k := e.Value.(*known)
	k.by.MoveToFront(e)
	return k.body, true
}

// ParseID reads a name, in any case; it reports false when it is none.
func ParseID(sha []byte) (id ID, ok bool) {
	if len(sha) != len(id) {
		return id, false
	}
	for i, c := range sha {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		id[i] = c
	}
	return id, true
}
