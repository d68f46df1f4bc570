package proxy

import (
	"fmt"
	"net"
	"strings"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
)

// PingAnswer says what PING and ROLE answer while no master of the pool serves.
type PingAnswer uint8

// The values of PingAnswer.
const (
	PingServers PingAnswer = iota // MASTERDOWN, as a replica of Redis that has lost its master
	PingProxy                     // as ever: they are about the proxy alone
)

// outage is the state of a pool of which no master serves, and has not for as long as requests would wait for one.
type outage struct {
	why   string
	node  *backend.Node // one of the masters, nil when none is known
	since int64         // loop clock
}

// outage reports whether there is an outage that clients are to be told of.
func (p *Pool) outage() (o outage, out bool) {
	s := p.Settings()
	if s.Ping == PingProxy {
		return o, false
	}
	v, now := p.view.Load(), clock.Now()
	o.since = p.started
	switch {
	case v != nil && v.fence != "":
		return outage{why: v.fence, since: v.since}, true
	case v == nil || len(v.shares) == 0:
		o.why = "no topology is known"
		if v != nil {
			o.why, o.since = "no server owns a slot", v.since
		}
	default:
		for _, share := range v.shares {
			node := v.nodes[share.master.Index]
			since := node.DownSince()
			if node.Available() || since == 0 { // 0: it is just coming back.
				return outage{}, false
			}
			if o.node == nil || since > o.since {
				o.node, o.since = node, since
			}
		}
		o.why = strings.TrimPrefix(unavailable(o.node), "ERR ")
		if n := len(v.shares); n > 1 {
			o.why = fmt.Sprintf("none of %d masters serves; %s", n, o.why)
		}
	}
	return o, now-o.since >= int64(s.Hold.MaxWait)
}

// refuseInOutage answers a request about the server while there is an outage. It reports whether it has.
func (c *client) refuseInOutage() bool {
	o, out := c.pool.outage()
	if out {
		c.replyError("MASTERDOWN pool " + c.pool.Name + ": " + o.why)
	}
	return out
}

// infoOutage is the section Replication of INFO in an outage: the pool stands there as a replica that has lost its
// master.
func infoOutage(b *strings.Builder, o outage) {
	host, port := "?", "0"
	if o.node != nil {
		if h, p, err := net.SplitHostPort(o.node.Addr); err == nil {
			host, port = h, p
		}
	}
	fmt.Fprintf(b, "role:slave\r\nmaster_host:%s\r\nmaster_port:%s\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n"+
		"master_sync_in_progress:0\r\nmaster_link_down_since_seconds:%d\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n",
		host, port, (clock.Now()-o.since)/int64(time.Second))
}
