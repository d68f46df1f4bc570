package fakekvrocks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/testbed/fake"
)

// cluster is CLUSTER. There is no CLUSTER SHARDS.
func (s *Server) cluster(args []string) string {
	if len(args) == 0 {
		return "-ERR wrong number of arguments\r\n"
	}
	switch sub := strings.ToUpper(args[0]); {
	case sub == "KEYSLOT" && len(args) == 2:
		return fake.Int(fake.SlotOf(args[1]))
	case sub == "SLOTS":
		return s.slotRows()
	case sub == "NODES":
		return fake.Bulk(s.nodeLines())
	case sub == "INFO":
		return fake.Bulk(s.info())
	}
	return "-ERR CLUSTER subcommand must be one of INFO, NODES, SLOTS, KEYSLOT\r\n"
}

// span is a run of slots of one owner in the topology.
type span struct {
	first, last int
	owner       *Server
}

func (s *Server) spans() []span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []span
	for slot, owner := range s.owner {
		if n := len(list); n > 0 && list[n-1].owner == owner {
			list[n-1].last = slot
			continue
		}
		list = append(list, span{slot, slot, owner})
	}
	return list
}

func (s *Server) slotRows() string {
	var rows []string
	for _, r := range s.spans() {
		rows = append(rows, fake.Array(fake.Int(r.first), fake.Int(r.last),
			fake.Array(fake.Bulk("127.0.0.1"), fake.Int(r.owner.host.Port(0)), fake.Bulk(r.owner.id))))
	}
	return fake.Array(rows...)
}

func (s *Server) nodeLines() string {
	spans := s.spans()
	var b strings.Builder
	for _, node := range s.all {
		me := ""
		if node == s {
			me = "myself,"
		}
		fmt.Fprintf(&b, "%s %s@%d %smaster - 0 0 %d connected", node.id, node.Addr(), node.host.Port(0)+10000, me, 1)
		for _, r := range spans {
			if r.owner == node {
				b.WriteString(" " + rangeText(r.first, r.last))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func rangeText(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// info has the lines of a migration once there was one.
func (s *Server) info() string {
	s.mu.Lock()
	out, in := s.out, s.in
	text := fmt.Sprintf("cluster_state:ok\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\ncluster_slots_pfail:0\r\n"+
		"cluster_slots_fail:0\r\ncluster_known_nodes:%d\r\ncluster_size:%d\r\ncluster_current_epoch:%d\r\ncluster_my_epoch:%d\r\n",
		slots, slots, len(s.all), len(s.all), s.version, s.version)
	if out != nil {
		text += fmt.Sprintf("migrating_slot(s): %s\r\ndestination_node: %s\r\nmigrating_state: %s\r\n",
			rangeText(out.first, out.last), out.to.id, out.state)
	}
	s.mu.Unlock()
	if in != nil {
		in.from.mu.Lock()
		state := in.state
		in.from.mu.Unlock()
		if state == stateFail {
			state = "error"
		}
		text += fmt.Sprintf("importing_slot(s): %s\r\nimport_state: %s\r\n", rangeText(in.first, in.last), state)
	}
	return text
}

// clusterX is CLUSTERX, the commands of a controller.
func (s *Server) clusterX(args []string) string {
	if len(args) == 0 {
		return "-ERR wrong number of arguments\r\n"
	}
	switch sub := strings.ToUpper(args[0]); {
	case sub == "MYID":
		return fake.Bulk(s.id)
	case sub == "VERSION":
		s.mu.Lock()
		defer s.mu.Unlock()
		return fake.Int(s.version)
	case sub == "MIGRATE" && len(args) >= 3:
		first, last, to, ok := s.place(args[1], args[2])
		if !ok || to == s {
			return "-ERR Invalid slot or node\r\n"
		}
		return s.migrate(first, last, to)
	case sub == "SETSLOT" && len(args) == 5 && strings.EqualFold(args[2], "NODE"):
		first, last, owner, ok := s.place(args[1], args[3])
		if !ok {
			return "-ERR Invalid slot or node\r\n"
		}
		s.setSlots(first, last, owner, false)
		return fake.OK
	}
	return "-ERR CLUSTERX subcommand must be one of VERSION, MYID, SETNODEID, SETNODES, SETSLOT, MIGRATE\r\n"
}

// place reads a slot, or a range of slots, and a node id.
func (s *Server) place(text, id string) (first, last int, node *Server, ok bool) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	i := slices.IndexFunc(s.all, func(n *Server) bool { return n.id == id })
	if err1 != nil || err2 != nil || first < 0 || first > last || last >= slots || i < 0 {
		return 0, 0, nil, false
	}
	return first, last, s.all[i], true
}
