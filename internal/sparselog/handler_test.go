package sparselog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHandler(t *testing.T) {
	var out bytes.Buffer
	h := New(slog.NewTextHandler(&out, nil))
	other := h.WithAttrs([]slog.Attr{slog.String("pool", "b")})
	now := time.Now()
	say := func(h slog.Handler, message string, times int) {
		t.Helper()
		for range times {
			if err := h.Handle(context.Background(), slog.NewRecord(now, slog.LevelWarn, message, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	wants := func(lines int, part string) {
		t.Helper()
		text := out.String()
		if n := strings.Count(text, "\n"); n != lines || !strings.Contains(text, part) {
			t.Errorf("%d lines, want %d, and %q in them:\n%s", n, lines, part, text)
		}
		out.Reset()
	}
	say(h, "often", burst-1)
	say(other, "often", 3) // They count together.
	wants(burst, "pool=b")
	say(h, "often", 5)
	wants(0, "")
	say(h, "seldom", 1)
	wants(1, "msg=seldom")
	now = now.Add(window)
	say(h, "often", 2)
	wants(2, "suppressed=7")
	now = now.Add(-time.Hour) // The clock is set back.
	say(h, "often", burst+1)
	wants(burst, "msg=often")
	now = now.Add(window)
	say(h, "often", 1)
	wants(1, "suppressed=1\n")
	for i := range 2 * maxMessages {
		say(h, fmt.Sprint(i), 1)
	}
	if n := len(h.counts.of); n > maxMessages {
		t.Errorf("%d messages are kept", n)
	}
	if h.Enabled(context.Background(), slog.LevelDebug) || !h.Enabled(context.Background(), slog.LevelInfo) {
		t.Error("the level is not that of what is behind it")
	}
}

func TestConcurrent(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(New(slog.NewTextHandler(&out, nil)))
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 1000 {
				log.WithGroup("g").Info("often", "a", 1)
			}
		})
	}
	work.Wait()
	if n := strings.Count(out.String(), "\n"); n < burst {
		t.Errorf("%d lines", n)
	}
}
