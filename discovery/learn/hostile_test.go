package learn

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/command"
)

// What was learned before a server turned hostile stays known, and the log says what it does.
func TestNothingIsLearnedFromHostileServers(t *testing.T) {
	testbed.Survive(t, "COMMAND", nil, func(ctx context.Context, addr string) error {
		n := backend.NewNode(0, addr, &backend.Options{DialTimeout: 5 * time.Minute})
		defer n.Retire()
		var log bytes.Buffer
		l := New(Config{
			Log: slog.New(slog.NewTextHandler(&log, nil)), Publish: func(command.Declarations, map[string]bool) { t.Error("published") },
			Servers: func() []Server { return []Server{{Addr: addr, Up: true, Ask: n.Ask}} },
		})
		l.Enable(true)
		found := map[string]command.Declaration{"m.x": {Name: "m.x"}}
		l.known[addr], l.published = &told{commands: commands{names: map[string]bool{"m.x": true}, found: found}}, true
		if l.look(ctx, time.Unix(1000, 0)); len(l.known[addr].found) != 1 {
			t.Errorf("known %v", l.known[addr])
		}
		if ctx.Err() != nil { // Nothing is logged at the end of the process.
			return errors.New(addr)
		}
		if log.Len() == 0 {
			return nil
		}
		return errors.New(log.String())
	})
}
