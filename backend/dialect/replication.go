package dialect

import (
	"net"
	"strconv"
	"strings"

	"sluice/router/lag"
)

// ParseReplication reads the answer to INFO replication of any family: Redis 3.2 to 8, Valkey, codis-server, Dragonfly,
// Kvrocks, Pika 3.5 and 4.0. It takes the reply as on the wire or the text in it, and other sections around. info is
// not kept.
//
// What an answer does not say stays unknown: RoleUnknown, -1 or "". An answer may be cut off anywhere, so a line
// counts only with its end, a reply that is shorter than it announces not at all, and what is missing is never in
// favour of the server: a link is up only if the line behind it says that no copy is on its way, and a Pika that
// does not say whether it is eligible is unfit.
//
// The fields are those of redis 7.2 (src/server.c genRedisInfoString), Valkey 8 (type= in the lines of replicas),
// Dragonfly 1.36 (server_family.cc add_repl_info), Kvrocks 2.x (server.cc GetReplicationInfo) and Pika 4.0
// (pika_admin.cc InfoReplication). What differs is in replicationFields.
func ParseReplication(info []byte) lag.Replication {
	f := replicationFields{offset: -1, masterOffset: -1, second: -1}
	for line := range strings.Lines(section(unframe(string(info)))) {
		if line, whole := strings.CutSuffix(line, "\n"); whole {
			f.read(strings.TrimSuffix(line, "\r"))
		}
	}
	return f.result()
}

// unframe takes the text out of a bulk string or a verbatim string; it is "" if that is not complete.
func unframe(info string) string {
	if info == "" || info[0] != '$' && info[0] != '=' {
		return info
	}
	head, body, ok := strings.Cut(info, "\r\n")
	n, err := strconv.Atoi(head[1:])
	if !ok || err != nil || n < 0 || n > len(body) {
		return ""
	}
	if body = body[:n]; info[0] == '=' {
		_, body, _ = strings.Cut(body, ":")
	}
	return body
}

// section cuts what is about replication out of an answer with headings. "db0:" and "slave" begin lines elsewhere too.
func section(text string) string {
	const heading = "# Replication"
	begin := 0
	if !strings.HasPrefix(text, heading) {
		if begin = strings.Index(text, "\n"+heading) + 1; begin == 0 {
			return text
		}
	}
	text = text[begin:]
	if end := strings.Index(text[1:], "\n# "); end >= 0 {
		return text[:end+2]
	}
	return text
}

// replicationFields is what the lines said, before the role is known that gives them their meaning.
type replicationFields struct {
	role         string
	roles, hosts int // How often there was such a line.
	id, id2      string
	second       int64
	masterOffset int64 // master_repl_offset; a replica of Redis prints it too.
	offset       int64 // slave_repl_offset; a master of Pika prints it too.
	host, port   string
	up           bool // master_link_status.
	replicas     []lag.Listed
	unfit        []string

	copying, saysCopying bool // master_sync_in_progress; all but Pika have it.

	// Of Pika alone.
	pika, v350           bool
	eligible             bool // There was an is_eligible_for_master_election.
	states, inStates     bool // There was a repl_connect_status; the line before was one of it.
	full, disconnectedDB bool // A database waits for its full sync; is not connected.
}

// read takes one line, without its end.
func (f *replicationFields) read(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value) // Kvrocks once said "role: slave".
	inStates := f.inStates
	f.inStates = false
	switch name {
	case "role":
		f.role = value
		f.roles++
	case "master_replid":
		f.id = replicationID(value)
	case "master_replid2":
		f.id2 = replicationID(value)
	case "second_repl_offset":
		f.second = number(value)
	case "master_repl_offset":
		f.masterOffset = number(value)
	case "slave_repl_offset":
		f.offset = number(value)
	case "master_host":
		f.host = value
		f.hosts++
	case "master_port":
		f.port = value
	case "master_link_status":
		f.up = value == "up"
	case "master_sync_in_progress":
		f.copying, f.saysCopying = value != "0", true
	case "master_sync_unrecoverable_error": // Kvrocks.
		if value != "no" {
			f.unfit = append(f.unfit, "its sync has failed for good")
		}
	case "ReplicationID":
		f.id, f.pika = replicationID(value), true
	case "repl_connect_status":
		f.states, f.inStates = true, true
	case "db_repl_state":
		if strings.Contains(value, "Error") {
			f.unfit = append(f.unfit, "its databases say "+value)
		}
		f.disconnectedDB = true // There is no such line while all are connected.
		f.full = f.full || strings.Contains(value, "DBSync")
	case "is_eligible_for_master_election":
		f.eligible = true
		if value != "true" {
			f.unfit = append(f.unfit, "a full sync has begun and not ended")
		}
	default:
		f.inStates = f.other(name, value, inStates)
	}
}

// other reads a line whose name has a number: of a replica, or of a database of Pika. A database has two, "db0:connected"
// behind repl_connect_status and "db0:binlog_offset=12 345" at the end. It reports whether the lines of
// repl_connect_status go on.
func (f *replicationFields) other(name, value string, inStates bool) bool {
	if numbered(name, "slave") {
		if r, ok := listed(value); ok {
			f.replicas = append(f.replicas, r)
		}
		return false
	}
	if strings.HasPrefix(value, "binlog_offset=") || strings.Contains(name, " binlog_offset=") { // 3.5.0: "db0 binlog_offset=12 345".
		f.pika = true
		f.v350 = f.v350 || !strings.HasPrefix(value, "binlog_offset=")
		return false
	}
	if !inStates || !numbered(name, "db") {
		return false
	}
	if value != "connected" { // Without a master it says so, too, and has what it had.
		if value == "error" {
			f.unfit = append(f.unfit, name+" is "+value)
		}
		f.full = f.full || value == "try_to_full_sync" || value == "syncing_full"
		f.disconnectedDB = true
	}
	return true
}

// result gives the fields the meaning that they have for the role.
func (f *replicationFields) result() lag.Replication {
	r := lag.Replication{Offset: -1, SecondOffset: -1}
	if f.roles != 1 {
		return r
	}
	switch f.role {
	case "master":
		r.Role = lag.Master
		r.Offset = f.masterOffset
		if f.pika {
			r.Offset = f.offset
		}
	case "slave", "replica", "master&&slave": // The last is a Pika in a chain.
		r.Role = lag.Replica
		r.Offset = f.offset
		f.follow(&r)
	default:
		return r
	}
	if r.ID = f.id; f.id2 != "" && f.second >= 0 {
		r.ID2, r.SecondOffset = f.id2, f.second
	}
	r.Unfit = strings.Join(f.unfit, ", ")
	r.Replicas = f.replicas
	return r
}

// follow fills in what only a replica has.
func (f *replicationFields) follow(r *lag.Replication) {
	if f.hosts > 1 { // Dragonfly with ADDREPLICAOF.
		f.unfit = append(f.unfit, "it follows more than one master")
		f.host, f.up = "", false
	}
	r.MasterAddr, _ = address(f.host, f.port)
	r.Syncing = f.copying || f.full
	if f.pika {
		r.LinkUp = f.up && !f.disconnectedDB
		if !f.eligible && !f.v350 {
			f.unfit = append(f.unfit, "its answer is not complete")
		}
		return
	}
	r.LinkUp = f.up && f.saysCopying
}

// listed reads what a master says of a replica: "ip=10.0.0.2,port=6379,state=online,offset=14,lag=1" and the same
// with lag=(db0:0)(db1:full syncing) of Pika, without offset of Dragonfly, without state of Kvrocks. What it does not
// know it skips. The second connection that a replica of Valkey has for its copy is not a replica.
func listed(line string) (lag.Listed, bool) {
	r := lag.Listed{Offset: -1}
	var ip, port, behind string
	hasState := false
	for pair := range strings.SplitSeq(line, ",") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "ip":
			ip = value
		case "port":
			port = value
		case "state":
			r.State, hasState = value, true
		case "offset":
			r.Offset = number(value)
		case "lag":
			behind = value
		case "type":
			if value == "rdb-channel" {
				return lag.Listed{}, false
			}
		}
	}
	switch {
	case hasState:
		r.Online = r.State == "online" || r.State == "stable_sync"
	case strings.HasPrefix(behind, "("):
		r.State = pikaState(behind)
		r.Online = r.State == pikaOnline
	default: // Kvrocks lists those that get the stream.
		r.Online = r.Offset >= 0 && number(behind) >= 0
	}
	var ok bool
	r.Addr, ok = address(ip, port)
	return r, ok
}

// pikaOnline stands for a replica whose databases all have a number; Pika has no word for it.
const pikaOnline = "online"

// pikaState reads "(db0:0)(db1:full syncing)": the first state that is not a number of bytes.
func pikaState(behind string) string {
	for behind != "" {
		db, rest, ok := strings.Cut(behind, ")")
		_, state, hasState := strings.Cut(db, ":")
		if !ok || !hasState || db[0] != '(' {
			return "unknown"
		}
		if number(state) < 0 {
			return state
		}
		behind = rest
	}
	return pikaOnline
}

// replicationID is "" for the zeros that stand for none.
func replicationID(value string) string {
	if strings.Trim(value, "0") == "" {
		return ""
	}
	return value
}

// number reads a count; -1 for what is none.
func number(value string) int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || value[0] == '+' {
		return -1
	}
	return n
}

// numbered reports whether name is prefix and digits.
func numbered(name, prefix string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	return ok && number(digits) >= 0
}

// address puts host and port together, if they are any.
func address(host, port string) (string, bool) {
	if n := number(port); host == "" || n < 1 || n > 65535 {
		return "", false
	}
	return net.JoinHostPort(trimBrackets(host), port), true
}
