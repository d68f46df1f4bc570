package replication

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// A server that answers a comparison with anything at all is an error of that comparison.
func TestHostileServersAreNotCompared(t *testing.T) {
	w := &Watcher{cfg: Config{Log: slog.New(slog.DiscardHandler)}, table: &router.Table{Model: router.CodisModel(16)}}
	f := func(command string, answers map[string]string, ask func(context.Context, *backend.Control) error) {
		t.Run(command, func(t *testing.T) {
			testbed.Survive(t, command, answers, func(ctx context.Context, addr string) error {
				n := backend.NewNode(0, addr, &backend.Options{DialTimeout: 5 * time.Minute})
				defer n.Retire()
				c, err := n.OpenControl(ctx, false, compareLimits)
				if err != nil {
					return err
				}
				defer c.Close()
				return ask(ctx, c)
			})
		})
	}
	sample := func(ctx context.Context, c *backend.Control) error {
		_, err := w.sample(ctx, c)
		return err
	}
	describe := func(ctx context.Context, c *backend.Control) error {
		_, err := describeKeys(ctx, c, []string{"k"})
		return err
	}
	none := map[string]string{"RANDOMKEY": "-ERR unknown command\r\n", "TYPE": "+string\r\n"}
	f("RANDOMKEY", nil, sample)
	f("SLOTSSCAN", none, sample)
	f("SCAN", none, sample)
	f("TYPE", none, describe)
	f("GETRANGE", none, describe)
}
