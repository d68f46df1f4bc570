package proxy

import (
	"fmt"

	"sluice/proxy/resp"
)

// What clients and tools ask a server about itself. Sluice holds no data: it is a master without replicas that has saved
// everything when it started.

func cmdRole(c *client, _ [][]byte) stall {
	if c.refuseInOutage() {
		return stallNone
	}
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendBulk(resp.AppendArray(dst, 3), "master")
		return resp.AppendArray(resp.AppendInt(dst, 0), 0)
	})
	return stallNone
}

func cmdLolwut(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte {
		return resp.AppendVerbatim(dst, fmt.Sprintf("Sluice ver. %s\n", c.loop.server.version), c.resp3())
	})
	return stallNone
}

// The LATENCY family answers as a Redis whose latency-monitor-threshold is 0: nothing is sampled.

func cmdLatencyNone(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendArray(dst, 0) })
	return stallNone
}

func cmdLatencyGraph(c *client, args [][]byte) stall {
	c.replyError(fmt.Sprintf("ERR No samples available for event '%s'", args[2]))
	return stallNone
}

func cmdLatencyReset(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendInt(dst, 0) })
	return stallNone
}

func cmdLatencyDoctor(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte {
		return resp.AppendVerbatim(dst, "Sluice samples no latency events. SLOWLOG GET and `sluice ctl slowlog` show slow requests and where their "+
			"time went, INFO commandstats the mean of each command, /metrics of the admin server a histogram over all.\n", c.resp3())
	})
	return stallNone
}

func cmdLatencyHistogram(c *client, _ [][]byte) stall {
	c.replyError("ERR LATENCY HISTOGRAM is not supported through Sluice, which keeps no histogram for each command: see INFO commandstats, and /metrics of its admin server")
	return stallNone
}
