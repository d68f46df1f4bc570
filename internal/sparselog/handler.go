// Package sparselog keeps a log readable, and its disk from filling, when others can make a line happen as often as
// they like.
package sparselog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// burst is how many lines with one message are written in a window.
	burst  = 10
	window = time.Second
	// maxMessages bounds the messages that are told apart; ours are constants, and few.
	maxMessages = 1000
)

// Handler passes on the first lines with a message in each second, and counts the others: the first one of the next
// second says how many as "suppressed". Safe for concurrent use; those made of one by WithAttrs and WithGroup count
// together.
type Handler struct {
	next   slog.Handler
	counts *counts
}

// counts are by message.
type counts struct {
	mu sync.Mutex
	of map[string]*count
}

type count struct {
	since      time.Time // of the window
	written    int       // in it
	suppressed int       // since the last line that was written
}

// New returns a Handler in front of next.
func New(next slog.Handler) *Handler {
	return &Handler{next: next, counts: &counts{of: make(map[string]*count)}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	suppressed, ok := h.counts.take(r.Message, r.Time)
	if !ok {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), counts: h.counts}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), counts: h.counts}
}

// take reports whether a line is to be written, and how many were not before it.
func (c *counts) take(message string, now time.Time) (suppressed int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of[message]
	if n == nil {
		if len(c.of) >= maxMessages {
			clear(c.of)
		}
		n = &count{since: now}
		c.of[message] = n
	}
	if now.Sub(n.since) >= window || now.Before(n.since) {
		n.since, n.written = now, 0
	}
	if n.written >= burst {
		n.suppressed++
		return 0, false
	}
	n.written++
	suppressed, n.suppressed = n.suppressed, 0
	return suppressed, true
}
