package local

import (
	"fmt"
	"strconv"
	"time"

	"sluice/proxy/resp"
)

// What clients and tools ask a server about itself. Sluice holds no data: it is a master without replicas that has
// saved everything when it started.

func role(dst []byte, _ Client, _ [][]byte) []byte {
	dst = resp.AppendBulk(resp.AppendArray(dst, 3), "master")
	return resp.AppendArray(resp.AppendInt(dst, 0), 0)
}

func lolwut(dst []byte, c Client, _ [][]byte) []byte {
	return resp.AppendVerbatim(dst, fmt.Sprintf("Sluice ver. %s\n", c.Proxy().Version), c.RESP3())
}

func echo(dst []byte, _ Client, args [][]byte) []byte { return resp.AppendBulk(dst, args[1]) }

func timeOfDay(dst []byte, _ Client, _ [][]byte) []byte {
	now := time.Now()
	dst = resp.AppendArray(dst, 2)
	dst = resp.AppendBulk(dst, strconv.FormatInt(now.Unix(), 10))
	return resp.AppendBulk(dst, strconv.Itoa(now.Nanosecond()/1000))
}

// The LATENCY family answers as a Redis whose latency-monitor-threshold is 0: nothing is sampled.

func latencyGraph(dst []byte, _ Client, args [][]byte) []byte {
	return resp.AppendError(dst, fmt.Sprintf("ERR No samples available for event '%s'", args[2]))
}

func latencyReset(dst []byte, _ Client, _ [][]byte) []byte { return resp.AppendInt(dst, 0) }

func latencyDoctor(dst []byte, c Client, _ [][]byte) []byte {
	return resp.AppendVerbatim(dst, "Sluice samples no latency events. SLOWLOG GET and `sluice ctl slowlog` show slow "+
		"requests and where their time went, INFO commandstats the mean of each command, /metrics of the admin server "+
		"a histogram over all.\n", c.RESP3())
}

func latencyHistogram(dst []byte, _ Client, _ [][]byte) []byte {
	return resp.AppendError(dst, "ERR LATENCY HISTOGRAM is not supported through Sluice, which keeps no histogram for "+
		"each command: see INFO commandstats, and /metrics of its admin server")
}
