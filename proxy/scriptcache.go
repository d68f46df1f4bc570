package proxy

import (
	"container/list"
	"crypto/sha1" //nolint:gosec // The protocol names scripts by it.
	"encoding/hex"
	"sync"
	"sync/atomic"

	"sluice/proxy/resp"
)

// scriptCache has the scripts that clients have sent through a pool, so that one that a server lacks can be loaded
// there: a server that was restarted, the new master after a failover, a group that has come later. It is bounded; what
// was used longest ago goes first, and what came with EVAL before what came with SCRIPT LOAD, since there are clients that
// make a new script for every EVAL.
//
// Safe for concurrent use. A loop remembers what it has put here (seenScripts), so that a script costs its SHA-1 and the
// lock once per loop.
type scriptCache struct {
	generation atomic.Uint64 // written under mu when scripts are forgotten; read by the loops

	mu     sync.Mutex // guards what follows
	bytes  int
	byID   map[scriptID]*list.Element // of *knownScript, in loaded or in seen
	loaded list.List                  // by SCRIPT LOAD, the last used first
	seen   list.List                  // by EVAL, the last used first
}

// scriptID is the SHA-1 of a script in lower case hex.
type scriptID [2 * sha1.Size]byte

type knownScript struct {
	id   scriptID
	body string
	by   *list.List
}

const (
	maxScriptBytes = 16 << 20 // of all scripts
	maxScript      = 1 << 20  // of one: a longer one is not kept
	scriptOverhead = 256      // of each, beside its body
)

func scriptIDOf(body []byte) (id scriptID) {
	sum := sha1.Sum(body) //nolint:gosec // As above.
	hex.Encode(id[:], sum[:])
	return id
}

// add keeps a script and returns the body that is kept, for others to share.
func (s *scriptCache) add(id scriptID, body string, loaded bool) string {
	if len(body) > maxScript {
		return body
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[scriptID]*list.Element)
	}
	if e := s.byID[id]; e != nil {
		known := e.Value.(*knownScript)
		known.by.MoveToFront(e)
		if loaded && known.by == &s.seen {
			s.seen.Remove(e)
			known.by = &s.loaded
			s.byID[id] = s.loaded.PushFront(known)
		}
		return known.body
	}
	known := &knownScript{id: id, body: body, by: &s.seen}
	if loaded {
		known.by = &s.loaded
	}
	s.byID[id] = known.by.PushFront(known)
	s.bytes += len(body) + scriptOverhead
	s.evict()
	return body
}

// evict makes room for more than the next script when there is too little, because every loop looks its scripts up anew
// afterwards.
func (s *scriptCache) evict() {
	if s.bytes <= maxScriptBytes {
		return
	}
	for s.bytes > maxScriptBytes/8*7 {
		e := s.seen.Back()
		if e == nil {
			e = s.loaded.Back()
		}
		known := e.Value.(*knownScript)
		known.by.Remove(e)
		delete(s.byID, known.id)
		s.bytes -= len(known.body) + scriptOverhead
	}
	s.generation.Add(1)
}

// clear forgets all scripts.
func (s *scriptCache) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded.Init()
	s.seen.Init()
	s.byID, s.bytes = nil, 0
	s.generation.Add(1)
}

// body finds a script.
func (s *scriptCache) body(id scriptID) (body string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return "", false
	}
	known := e.Value.(*knownScript)
	known.by.MoveToFront(e)
	return known.body, true
}

// scriptBody is the script with a SHA-1 in hex, in any case; nil when it is not known. The caller may keep it.
func (p *Pool) scriptBody(sha []byte) []byte {
	id, ok := parseScriptID(sha)
	if !ok {
		return nil
	}
	body, ok := p.scripts.body(id)
	if !ok {
		return nil
	}
	return []byte(body)
}

// loadRequests are the SCRIPT LOADs of those of the scripts that are known, one for each.
func (c *client) loadRequests(shas [][]byte) (requests [][]byte) {
	seen := make(map[scriptID]bool)
	for _, sha := range shas {
		id, ok := parseScriptID(sha)
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		if body := c.pool.scriptBody(id[:]); body != nil {
			requests = append(requests, resp.AppendCommand(nil, "SCRIPT", "LOAD", string(body)))
		}
	}
	return requests
}

func parseScriptID(sha []byte) (id scriptID, ok bool) {
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

// seenScripts are the scripts that a loop has put into a pool's cache, all of one generation: what the cache has
// forgotten is forgotten here too. Owned by the loop.
type seenScripts struct {
	generation uint64
	ids        map[string]scriptID // by body
}

// seenScripts are those of a pool.
func (l *loop) seenScripts(p *Pool) *seenScripts {
	seen := l.scripts[p]
	if generation := p.scripts.generation.Load(); seen == nil || seen.generation != generation {
		if l.scripts == nil {
			l.scripts = make(map[*Pool]*seenScripts)
		}
		seen = &seenScripts{generation: generation, ids: make(map[string]scriptID)}
		l.scripts[p] = seen
	}
	return seen
}

// scriptID is the name of a script that has come with EVAL, and whether that is kept.
func (l *loop) scriptID(p *Pool, body []byte) (id scriptID, kept bool) {
	if id, ok := l.seenScripts(p).ids[string(body)]; ok {
		return id, true
	}
	return scriptIDOf(body), false
}

// keepScript keeps a script that has come with EVAL.
func (l *loop) keepScript(p *Pool, id scriptID, body []byte) {
	shared := p.scripts.add(id, string(body), false)
	l.seenScripts(p).ids[shared] = id // What adding it has pushed out is forgotten here too.
}
