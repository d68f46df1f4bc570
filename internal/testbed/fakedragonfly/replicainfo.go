package fakedragonfly

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"sluice/internal/testbed/fake"
)

// info is the section of INFO. The offset of a replica is there once a sync has ended and while the link is up; a
// master has none, and its lag is a count of records.
func (r *replication) info(replicaByConfig bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	add("# Replication")
	l := r.link
	if l == nil {
		role := "master"
		if replicaByConfig {
			role = "slave"
		}
		add("role:%s", role)
		add("connected_slaves:%d", len(r.replicas))
		for i, o := range r.replicas {
			behind := 0
			if o.shown == replOnline {
				behind = len(r.journal) - o.acked
			}
			add("slave%d:ip=127.0.0.1,port=%d,state=%s,lag=%d", i, o.port, o.shown, behind)
		}
		add("master_replid:%s", r.id)
		return b.String()
	}
	host, port, _ := net.SplitHostPort(r.master)
	up, ago, copying := "up", 0, 0
	switch l.state {
	case replConnecting:
		up, ago = "down", int(time.Since(l.lost).Seconds())
	case replPreparation, replFullSync:
		copying = 1
	}
	add("role:slave")
	add("master_host:%s", host)
	add("master_port:%s", port)
	add("master_link_status:%s", up)
	add("master_last_io_seconds_ago:%d", ago)
	add("master_sync_in_progress:%d", copying)
	add("master_replid:%s", l.of)
	if l.state == replOnline {
		add("slave_repl_offset:%d", l.applied)
	}
	add("slave_priority:100")
	add("slave_read_only:1")
	add("psync_attempts:%d", l.attempts)
	add("psync_successes:%d", l.partial)
	return b.String()
}

// role is ROLE: no offsets, and a state where Redis has one.
func (r *replication) role() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link != nil {
		host, port, _ := net.SplitHostPort(r.master)
		return fake.Bulks("slave", host, port, r.link.state)
	}
	rows := make([]string, len(r.replicas))
	for i, o := range r.replicas {
		rows[i] = fake.Bulks("127.0.0.1", strconv.Itoa(o.port), o.shown)
	}
	return fake.Array(fake.Bulk("master"), fake.Array(rows...))
}
