package admin

import (
	"sluice/proxy"
	"sluice/proxy/pubsub"
)

// pubSub writes what clients are subscribed to, and what came of it.
func (e *exposition) pubSub(pools []*proxy.Pool, st *proxy.Stats) {
	counts := make([]pubsub.Counts, len(pools))
	for i, p := range pools {
		counts[i] = p.PubSub()
	}
	gauge := func(name, help string, of func(c pubsub.Counts) int) {
		e.family(name, "gauge", help)
		for i, p := range pools {
			e.value(name, float64(of(counts[i])), "pool", p.Name)
		}
	}
	gauge("sluice_pubsub_channels", "Channels with subscribers.", func(c pubsub.Counts) int { return c.Channels })
	gauge("sluice_pubsub_patterns", "Patterns with subscribers.", func(c pubsub.Counts) int { return c.Patterns })
	gauge("sluice_pubsub_shard_channels", "Shard channels with subscribers.", func(c pubsub.Counts) int { return c.ShardChannels })
	gauge("sluice_pubsub_subscribers", "Clients that are subscribed to anything.", func(c pubsub.Counts) int { return c.Subscribers })
	e.counter("sluice_pubsub_messages_total", "Messages written to subscribers.", st.Messages)
	e.counter("sluice_pubsub_resubscriptions_total",
		"Channels and patterns with subscribers that were subscribed again: a connection was lost, or the topology changed.", st.Resubscriptions)
}
