package backend

import (
	"net"
	"strconv"
	"strings"
	"time"

	"sluice/internal/clock"
	"sluice/internal/control"
)

// identity is the process that a connection has reached, as far as INFO server tells:
//
//	Redis, Valkey, codis-server  run_id, made anew at each start: it alone tells processes apart
//	Pika                         run_id is kept in the configuration file, and copied with it; process_id, tcp_port, uptime
//	Kvrocks                      process_id, tcp_port, uptime
//	Dragonfly                    tcp_port, uptime
//
// (redis 7.2, src/server.c genRedisInfoString; Pika 4.0, pika_admin.cc InfoServer and pika_conf.cc; Kvrocks 2.x,
// server.cc GetServerInfo; Dragonfly 1.36, server_family.cc.) Where run_id is not enough, the IP that the connection
// leads to counts too, which is the server's own unless there is a balancer in between.
type identity struct {
	runID   string // "" where there is none
	unique  bool   // no other process has this runID
	pid     string
	port    string
	dated   bool   // it says when it began:
	started int64  // on the clock of clock.Now, which may be before its beginning; at most a second too late
	host    string // where the connection leads to
}

// startNoise is by how much two answers about the start of a process may differ: whole seconds, and the way of the
// answers.
const startNoise = int64(3 * time.Second)

// sameAs reports whether both are one process, as far as they tell.
func (a *identity) sameAs(b *identity) bool {
	if a.unique || b.unique {
		return a.runID == b.runID && a.unique == b.unique
	}
	apart := a.started - b.started
	if !a.dated || !b.dated {
		apart = 0
	}
	return a.host == b.host && a.runID == b.runID && a.pid == b.pid && a.port == b.port && apart <= startNoise && apart >= -startNoise
}

// identityOf reads the answer to INFO server that came on conn. It reports false when the server can't tell now. One
// that never tells is known by where the connection leads to.
func identityOf(info control.Value, conn net.Conn) (identity, bool) {
	var who identity
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		who.host = tcp.IP.String()
	}
	if info.Kind == control.Error {
		word, _, _ := strings.Cut(info.Text, " ")
		return who, word != "LOADING" && word != "BUSY" && word != "MASTERDOWN"
	}
	pika := false
	for line := range strings.Lines(info.Text) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name {
		case "run_id":
			who.runID = strings.TrimSpace(value)
		case "process_id":
			who.pid = value
		case "tcp_port":
			who.port = value
		case "uptime_in_seconds":
			if up, err := strconv.ParseInt(value, 10, 32); err == nil && up >= 0 {
				who.dated, who.started = true, clock.Now()-up*int64(time.Second)
			}
		case "pika_version":
			pika = true
		}
	}
	if strings.Trim(who.runID, "0") == "" {
		who.runID = ""
	}
	who.unique = who.runID != "" && !pika
	return who, true
}
