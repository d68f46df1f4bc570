package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestHostileNodes(t *testing.T) {
	ask := func(ctx context.Context, addr string) error {
		_, err := New(Config{Timeout: 5 * time.Minute, Password: "pw"}).ask(ctx, addr)
		return err
	}
	for _, command := range []string{"AUTH", "CLUSTER INFO", "CLUSTER SHARDS", "CLUSTER SLOTS"} {
		t.Run(command, func(t *testing.T) {
			testbed.Survive(t, command, map[string]string{
				"CLUSTER INFO": bulk("cluster_state:ok\r\n"), "CLUSTER SHARDS": "-ERR unknown subcommand\r\n",
			}, ask)
		})
	}
}

func TestTopologyStaysWhenANodeTurnsHostile(t *testing.T) {
	node := startFake(t, map[string]string{"CLUSTER SHARDS": shardsReply(shardOf(0, 16383, "10.0.0.1:7000"))})
	w := watch(t, Config{Seeds: []string{node.addr}, Timeout: 5 * time.Minute, Interval: time.Hour})
	w.sees(t, "0-16383 10.0.0.1:7000")
	nested := strings.Repeat("*1\r\n", 2_000_000)
	node.set("CLUSTER SHARDS", nested)
	w.src.Refresh()
	w.fails(t, node.addr+": CLUSTER SHARDS: the answer has more than 16 levels, which is the limit")
	node.set("CLUSTER SHARDS", shardsReply(shardOf(0, 16383, "10.0.0.2:7000")))
	w.src.Refresh()
	w.sees(t, "0-16383 10.0.0.2:7000")
	if got := w.snapshots(); got[0] != "0-16383 10.0.0.1:7000" || len(got) < 2 {
		t.Errorf("published %q", got)
	}
}
