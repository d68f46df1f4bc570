package migration

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"sluice/internal/control"
	"sluice/router"
)

// A Pika writes the scores of a sorted set with six decimals when it moves it, and can't move a stream at all: its
// slot never gets empty. Neither is announced. So a sample of each slot that begins to move is looked at, and said
// aloud. It is a sample: finding nothing proves nothing.
const (
	// inspectedSlots bounds the slots of one look, sampledKeys the members of a slot, sampledZsets and sampledScores
	// the sorted sets among them and the scores of each.
	inspectedSlots = 4
	sampledKeys    = 100
	sampledZsets   = 10
	sampledScores  = 50
)

// moveKey names the move of a slot.
type moveKey struct {
	slot router.Slot
	from string
}

// inspection is what was looked at. Owned by Run's goroutine.
type inspection struct {
	seen  map[moveKey]bool
	found map[string]uint64
}

// inspect looks at slots that have begun to move. It reports whether any is on its way.
func (w *Watcher) inspect(ctx context.Context, table *router.Table) (moving bool) {
	current := make(map[moveKey]bool)
	left, down := inspectedSlots, make(map[string]bool)
	for _, m := range table.Moves() {
		if m.From == nil {
			continue
		}
		moving = true
		key := moveKey{m.Slot, m.From.Addr}
		switch {
		case w.cfg.Family != "pika":
			continue
		case w.lossy.seen[key]:
			current[key] = true
			continue
		case left == 0 || down[m.From.Addr]:
			continue // Next time.
		}
		left--
		zsets, streams, err := w.sample(ctx, m)
		if tooMuch := new(control.LimitError); errors.As(err, &tooMuch) {
			w.cfg.Log.Warn("a slot that moves was not looked at", "slot", m.Slot, "err", err)
			current[key] = true // It would be the same the next time.
			continue
		}
		if err != nil {
			down[m.From.Addr] = true
			continue
		}
		current[key] = true
		w.lossy.found["zset"] += uint64(zsets)
		w.lossy.found["stream"] += uint64(streams)
		if zsets+streams > 0 {
			w.cfg.Log.Warn("a slot that moves has keys that Pika changes or can't move", "slot", m.Slot, "source", m.From.Addr,
				"zsets_with_more_than_6_decimals", zsets, "streams", streams, "sampled_keys", sampledKeys)
		}
	}
	w.lossy.seen = current
	return moving
}

// sample looks at some keys of a slot on the source: those of its sorted sets that lose digits, and its streams.
func (w *Watcher) sample(ctx context.Context, m *router.Move) (zsets, streams int, err error) {
	s, err := w.open(ctx, m.From.Addr, false)
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	replies, err := s.ask([]string{"SLOTSSCAN", strconv.Itoa(int(m.Slot)), "0", "COUNT", strconv.Itoa(sampledKeys)})
	if err != nil {
		return 0, 0, err
	}
	if err := replies[0].Err(); err != nil {
		return 0, 0, fmt.Errorf("SLOTSSCAN: %w", err)
	}
	var cmds [][]string
	for _, member := range replies[0].At(1).Elems {
		if member.Text == "" {
			continue
		}
		switch letter, key := member.Text[0], member.Text[1:]; {
		case letter == 'm':
			streams++
		case letter == 'z' && len(cmds) < sampledZsets:
			cmds = append(cmds, []string{"ZRANGE", key, "0", strconv.Itoa(sampledScores - 1), "WITHSCORES"})
		}
	}
	if len(cmds) == 0 {
		return 0, streams, nil
	}
	if replies, err = s.ask(cmds...); err != nil {
		return 0, 0, err
	}
	for _, reply := range replies {
		if losesDigits(reply.Elems) {
			zsets++
		}
	}
	return zsets, streams, nil
}

// losesDigits reports whether a score, every second element, is another number once it has six decimals.
func losesDigits(list []control.Value) bool {
	for i := 1; i < len(list); i += 2 {
		score, err := strconv.ParseFloat(list[i].Text, 64)
		if err != nil {
			continue
		}
		if kept, _ := strconv.ParseFloat(strconv.FormatFloat(score, 'f', 6, 64), 64); kept != score {
			return true
		}
	}
	return false
}
