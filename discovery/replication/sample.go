package replication

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"sluice/backend"
	"sluice/internal/control"
)

// sampleBoth picks keys of both ends: what only one of them has is found there alone.
func (w *Watcher) sampleBoth(ctx context.Context, m, r *backend.Control) ([]string, error) {
	var all []string
	for _, c := range []*backend.Control{m, r} {
		keys, err := w.sample(ctx, c)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// sample asks a server for keys of database 0; fewer when there are few.
func (w *Watcher) sample(ctx context.Context, c *backend.Control) ([]string, error) {
	replies, err := c.Do(ctx, slices.Repeat([][]string{{"RANDOMKEY"}}, sampleKeys)...)
	if err != nil {
		return nil, err
	}
	var picked []string
	for _, reply := range replies {
		picked = append(picked, texts(reply)...)
	}
	if replies[0].Kind == control.Error {
		if picked, err = w.scan(ctx, c); err != nil {
			return nil, err
		}
	}
	keys := make(map[string]bool)
	for _, key := range picked {
		// Pika shows keys of its own, which it does not replicate as they are.
		if len(keys) < sampleKeys && !strings.HasPrefix(key, "_internal:") && !strings.HasPrefix(key, "sluice:heartbeat:") {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

// scan asks for keys where there is no RANDOMKEY, which is so on Pika: those of slots at random, if it has an index of its
// slots, and those that come first.
func (w *Watcher) scan(ctx context.Context, c *backend.Control) ([]string, error) {
	var commands [][]string
	for _, slot := range rand.Perm(w.slots())[:min(scanSlots, w.slots())] {
		commands = append(commands, []string{"SLOTSSCAN", strconv.Itoa(slot), "0", "COUNT", strconv.Itoa(sampleKeys / scanSlots)})
	}
	replies, err := c.Do(ctx, append(commands, []string{"SCAN", "0", "COUNT", strconv.Itoa(sampleKeys)})...)
	if err != nil {
		return nil, err
	}
	var keys []string
	for i, reply := range replies {
		found := texts(reply) // The first is the cursor.
		switch {
		case i < len(commands) && len(found) == 0: // No index.
		case i < len(commands):
			for _, member := range found[1:] {
				keys = append(keys, member[min(1, len(member)):]) // Before the key is a letter for its type.
			}
		case len(found) == 0:
			return nil, fmt.Errorf("neither RANDOMKEY nor SCAN: %w", reply.Unexpected())
		default:
			keys = append(keys, found[1:]...)
		}
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys, nil
}

// slots is how many there are.
func (w *Watcher) slots() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table.Model.Slots()
}
