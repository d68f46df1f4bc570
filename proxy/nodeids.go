package proxy

import "sync"

// nodeIDs are the numbers of nodes, by which loops keep their connections in slices. A node that was retired gives its
// number back, so there are no more than nodes at one time. Safe for concurrent use.
type nodeIDs struct {
	mu    sync.Mutex
	next  int
	freed []int
}

func (ids *nodeIDs) take() int {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if n := len(ids.freed); n > 0 {
		id := ids.freed[n-1]
		ids.freed = ids.freed[:n-1]
		return id
	}
	ids.next++
	return ids.next - 1
}

func (ids *nodeIDs) giveBack(id int) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.freed = append(ids.freed, id)
}
