package mover

import (
	"context"
	"fmt"
	"strconv"

	"sluice/internal/control"
	"sluice/router"
)

// Server is a master that is asked what its slots weigh.
type Server struct {
	Addr   string // host:port
	Model  router.Model
	Access control.Options
}

// samplesPerSlot is how many keys of a slot are asked for their memory: enough for a mean, and of 16384 slots together
// no more than a second or two of the server's time.
const samplesPerSlot = 16

// Keys counts the keys that a server has of each slot, over all databases: a codis-server and a Pika know, of the others
// one SCAN tells.
func (m *Movers) Keys(ctx context.Context, s Server) ([]int64, error) {
	if m.family == "codis" || m.family == "pika" {
		return s.slotsInfo(ctx)
	}
	w, err := s.weigh(ctx, false)
	if err != nil {
		return nil, err
	}
	return w.keys, nil
}

// Memory estimates the bytes that the keys of each slot take at a server: the number of its keys times the mean of some
// of them. A few keys that are much larger than the rest may be missed.
func (m *Movers) Memory(ctx context.Context, s Server) ([]int64, error) {
	if err := m.CanWeighMemory(); err != nil {
		return nil, err
	}
	w, err := s.weigh(ctx, true)
	if err != nil {
		return nil, err
	}
	bytes := make([]int64, len(w.keys))
	for slot, n := range w.samples {
		if n > 0 {
			bytes[slot] = w.bytes[slot] / n * w.keys[slot]
		}
	}
	return bytes, nil
}

// CanWeighMemory says why servers of the family can't tell how much memory a key takes, nil if they can.
func (m *Movers) CanWeighMemory() error {
	if m.family == "redis" {
		return nil
	}
	return fmt.Errorf("servers of dialect %q do not tell how much memory a key takes: go by keys or by slots", m.family)
}

// weighing is one SCAN of a server; all by slot.
type weighing struct {
	c      *control.Conn
	model  router.Model
	memory bool // ask some keys

	keys    []int64
	samples []int64 // keys that were asked
	bytes   []int64 // that they take
}

// weigh scans a server.
func (s *Server) weigh(ctx context.Context, memory bool) (*weighing, error) {
	slots := s.Model.Slots()
	w := &weighing{
		model: s.Model, memory: memory,
		keys: make([]int64, slots), samples: make([]int64, slots), bytes: make([]int64, slots),
	}
	b := s.batch()
	var err error
	if w.c, err = b.dial(ctx, s.Addr); err != nil {
		return nil, err
	}
	defer w.c.Close()
	return w, b.scan(ctx, w.c, w.add)
}

// batch is all slots of the server.
func (s *Server) batch() *Batch {
	b := &Batch{Model: s.Model, Source: s.Addr, Access: s.Access}
	for slot := range s.Model.Slots() {
		b.Slots = append(b.Slots, router.Slot(slot))
	}
	return b
}

// add counts some keys, and asks for the memory of those that are samples.
func (w *weighing) add(ctx context.Context, _ int, keys []string) error {
	var questions [][]string
	var slots []router.Slot
	for _, key := range keys {
		slot := w.model.Slot([]byte(key))
		w.keys[slot]++
		if w.memory && w.samples[slot] < samplesPerSlot {
			w.samples[slot]++
			questions, slots = append(questions, []string{"MEMORY", "USAGE", key}), append(slots, slot)
		}
	}
	if len(questions) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers, err := w.c.Pipe(ctx, questions...)
	if err != nil {
		return err
	}
	for i, v := range answers {
		if err := v.Err(); err != nil {
			return fmt.Errorf("%s answers MEMORY USAGE with: %w; go by keys, or let backend_user run it", w.c.Addr(), err)
		}
		n, ok := number(v)
		if !ok { // The key is gone.
			w.samples[slots[i]]--
			continue
		}
		w.bytes[slots[i]] += n
	}
	return nil
}

// slotsInfo asks a server that knows slots: SLOTSINFO 0 slots --> [[slot, keys], ...], in each database.
func (s *Server) slotsInfo(ctx context.Context) ([]int64, error) {
	b := s.batch()
	c, err := b.dial(ctx, s.Addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	dbs, err := databases(ctx, c)
	if err != nil {
		return nil, err
	}
	keys := make([]int64, s.Model.Slots())
	for _, db := range dbs {
		if err := choose(ctx, c, db); err != nil {
			return nil, err
		}
		v, err := ask(ctx, c, "SLOTSINFO", "0", strconv.Itoa(len(keys)))
		if err != nil {
			return nil, err
		}
		for _, pair := range v.Elems {
			slot, ok := number(pair.At(0))
			n, also := number(pair.At(1))
			if !ok || !also || slot < 0 || int(slot) >= len(keys) {
				return nil, fmt.Errorf("%s answers SLOTSINFO with %.100q, which names no slot below %d and its keys",
					s.Addr, fmt.Sprint(pair), len(keys))
			}
			keys[slot] += n
		}
	}
	return keys, nil
}
