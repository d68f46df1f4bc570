package keymove

import (
	"sync"
	"time"
)

// Moves says which keys SLOTSMGRTTAGONE is moving for a pool, and of which a move has failed. A Pika sends a
// key as commands, such as DEL and RPUSH of 512 elements each, and gives up when the answer to one of them does not
// come in time; the target goes on with what it has received. A second move meanwhile mixes with the first (a list of
// 1,000,642 elements arrived with 1,660,447), and what is left of a first one undoes what clients have written since.
// So:
//
//   - the source waits long for its target (patientLimit), and the pool asks for a key once at a time;
//   - after a move that has failed the key is not moved again until the target has shown the same size of it quietLooks
//     times, quietPause apart: then nothing of the first move is still being run.
//
// That the target is quiet can't be proven if it stands still for longer than that with the rest of a move in its
// memory. Safe for concurrent use; only requests for keys of moving slots come here.
// The zero value is empty.
type Moves struct {
	mu    sync.Mutex
	moves map[Key]*keyMove
}

// Key is a key of one database. The zero value is none.
type Key struct {
	db  int
	key string
}

type keyMove struct {
	running bool
	// Of a move that has failed: what the target showed, how often, and when, on the loop clock.
	size   string
	looks  int
	looked int64
}

const (
	quietLooks = 3
	quietPause = int64(200 * time.Millisecond)
	// maxFailedMoves bounds the keys that are remembered because their move has failed. Of more than that the first
	// to be found are forgotten.
	maxFailedMoves = 10000
)

// moveStart is what begin says.
type moveStart uint8

const (
	moveBegun   moveStart = iota // the caller moves it
	moveRunning                  // somebody moves it
	moveFailed                   // the target has to be looked at first
)

// begin asks to move a key. end follows if it says moveBegun.
func (k *Moves) begin(key Key) moveStart {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.moves[key]
	switch {
	case m == nil:
	case m.running:
		return moveRunning
	case m.looks < quietLooks:
		return moveFailed
	}
	if k.moves == nil {
		k.moves = make(map[Key]*keyMove)
	}
	k.moves[key] = &keyMove{running: true}
	return moveBegun
}

// end is called once for each begin that said moveBegun. With ok the source was answered by its target.
func (k *Moves) end(key Key, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ok {
		delete(k.moves, key)
		return
	}
	for old, m := range k.moves {
		if len(k.moves) <= maxFailedMoves {
			break
		}
		if !m.running {
			delete(k.moves, old)
		}
	}
	k.moves[key] = &keyMove{}
}

// look notes the size of a key that the target has shown.
func (k *Moves) look(key Key, size string, now int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.moves[key]
	if m == nil || m.running || m.looks > 0 && now-m.looked < quietPause {
		return
	}
	if size != m.size {
		m.looks = 0
	}
	m.size, m.looked = size, now
	m.looks++
}
