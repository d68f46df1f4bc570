package fakecodis

import "sync"

// pikaTypes are the types that Pika 4.0 goes on telling of keys that are gone: TYPE reads the type byte of the meta
// value and looks neither at its count nor at its expiry, and the meta value of a hash, list, set or sorted set stays
// for a while when it is emptied, moved away or deleted (4.0.1, measured). Strings go at once, and 3.5 is right.
type pikaTypes struct {
	s *Server

	mu   sync.Mutex
	last map[string]string // By key; no strings.
}

func (t *pikaTypes) init(s *Server) { t.s, t.last = s, map[string]string{} }

// note remembers the type that a key has now.
func (t *pikaTypes) note(key string) {
	if t.s.kind == Pika35 {
		return
	}
	db := t.s.data.DB(0)
	if !db.Exists(key) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if kind := db.Type(key); kind == "string" {
		delete(t.last, key)
	} else {
		t.last[key] = kind
	}
}

// of is the type that TYPE says of a key that is gone, "" for none.
func (t *pikaTypes) of(key string) string {
	if t.s.kind == Pika35 || t.s.data.DB(0).Exists(key) {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[key]
}

func (t *pikaTypes) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.last)
}
