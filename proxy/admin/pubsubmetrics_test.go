package admin

import (
	"strings"
	"testing"
)

// Every pool has its gauges of channels, and the counters are there before anything has happened.
func TestPubSubMetrics(t *testing.T) {
	_, body := newFixture(t, nil).get("/metrics")
	for _, want := range []string{
		`sluice_pubsub_channels{pool="main"} 0`, `sluice_pubsub_patterns{pool="spare"} 0`, `sluice_pubsub_shard_channels{pool="main"} 0`,
		`sluice_pubsub_subscribers{pool="main"} 0`, "sluice_pubsub_resubscriptions_total 0", "sluice_pubsub_messages_total 0",
		`sluice_client_rejected_total{reason="pubsub_output"} 0`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}
