package fakecodis

import (
	"fmt"
	"net"
	"strings"
)

// binlogFile is how many bytes a file of the binlog has (binlog-file-size, as in the recordings).
const binlogFile = 10 << 20

// replStates are the states of a link as db_repl_state has them.
var replStates = map[string]string{
	noConnect: "NoConnect", tryFull: "kTryDBSync", syncFull: "WaitDBSync", tryIncr: "kTryConnect", connecting: "kWaitReply", inError: "Error",
}

// section is the replication section of INFO: its heading and its lines.
func (r *replication) section() (heading, lines string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	role, name := "master", "MASTER"
	switch {
	case r.link != nil && len(r.slaves) > 0:
		role, name = "master&&slave", "Master && SLAVE"
	case r.link != nil:
		role, name = "slave", "SLAVE"
	}
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("role:%s", role)
	add("ReplicationID:%s", r.id)
	if r.link == nil || len(r.slaves) > 0 {
		add("connected_slaves:%d", len(r.slaves))
		for i, l := range r.slaves {
			behind := l.shown
			if behind == "" {
				behind = fmt.Sprint(r.end - l.sent)
			}
			add("slave%d:ip=127.0.0.1,port=%d,conn_fd=%d,lag=(db0:%s)", i, l.port, l.fd, behind)
		}
	}
	if r.link != nil {
		host, port, _ := net.SplitHostPort(r.master)
		add("master_host:%s", host)
		add("master_port:%s", port)
		status := "down"
		if r.link.state == connected {
			status = "up"
		}
		add("master_link_status:%s", status)
		add("repl_connect_status:")
		add("db0:%s", r.link.state)
		if len(r.slaves) == 0 {
			add("slave_priority:100")
		}
		add("slave_read_only:1")
		if state, ok := replStates[r.link.state]; ok {
			add("db_repl_state:(db0:%s)", state)
		}
	}
	add("is_eligible_for_master_election:%t", r.eligible)
	add("db0:binlog_offset=%d %d,safety_purge=none", r.end/binlogFile, r.end%binlogFile)
	add("slave_repl_offset:%d", r.end)
	return "Replication(" + name + ")", b.String()
}
