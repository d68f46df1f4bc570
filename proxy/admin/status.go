package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"sluice/discovery/migration"
	"sluice/discovery/replication"
	"sluice/proxy"
	"sluice/router"
)

// Status is the answer of GET /api/v1/status: is it well, and if not, what and where.
type Status struct {
	Well          bool         `json:"well"` // there are no Problems
	Problems      []string     `json:"problems"`
	Version       string       `json:"version"`
	UptimeSeconds float64      `json:"uptime_seconds"`
	Draining      bool         `json:"draining"`
	Clients       int          `json:"clients"`
	Pools         []PoolStatus `json:"pools"`
}

// PoolStatus is how a pool does.
type PoolStatus struct {
	Name       string   `json:"name"`
	Source     string   `json:"source"` // the kind of discovery
	Epoch      uint64   `json:"epoch"`  // in Consul if the topology is there, else of the table
	AgeSeconds *float64 `json:"age_seconds"`
	Alarm      string   `json:"alarm,omitempty"` // the kind of the first alarm of Consul
	Error      string   `json:"error,omitempty"` // what else its source says

	Groups         int `json:"groups"`
	GroupsServing  int `json:"groups_serving"` // their master answers, and is a master
	Replicas       int `json:"replicas"`
	ReplicasGood   int `json:"replicas_good"` // in sync, or readable otherwise
	Slots          int `json:"slots"`
	SlotsUncovered int `json:"slots_uncovered"`
	SlotsLocked    int `json:"slots_locked"`
	SlotsMoving    int `json:"slots_moving"`
	RequestsHeld   int `json:"requests_held"`
	Migrations     int `json:"migrations"` // between servers, under way

	// MultiSlot counts the requests since the start that had keys in several slots of one group, by command: they would
	// be refused if these slots had several owners.
	MultiSlot map[string]uint64 `json:"multi_slot_requests,omitempty"`

	Consul *ConsulStatus `json:"consul,omitempty"`
}

// lateContact is after how long without an answer Consul counts as away although no question failed: several times the
// wait of a blocking query.
const lateContact = 5 * time.Minute

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	srv := s.cfg.Server
	out := Status{
		Problems: []string{}, Version: s.cfg.Version, UptimeSeconds: srv.Uptime().Seconds(),
		Draining: srv.Draining(), Clients: srv.Clients(), Pools: []PoolStatus{},
	}
	j := judge{now: time.Now()}
	if out.Draining {
		j.problem("draining: no new clients are let in")
	}
	if !srv.Responsive() {
		j.problem("an event loop does not answer; /debug/pprof/goroutine of the admin server shows where it is")
	}
	sources, consul := s.cfg.Sources(), s.consulStatuses()
	replicas, _ := s.replicas()
	migrations := s.cfg.Migrations()
	var upkeep map[string][]string
	if s.cfg.Upkeep != nil {
		upkeep = s.cfg.Upkeep()
	}
	for _, p := range srv.Pools() {
		pool := PoolStatus{Name: p.Name, Slots: p.Model.Slots()}
		j.where = "pool " + p.Name + ": "
		st, inConsul := consul[p.Name]
		j.topology(&pool, p, sources[p.Name], replicas[p.Name], inConsul)
		if inConsul {
			j.consul(&pool, st)
		}
		j.migrations(&pool, p, migrations[p.Name])
		for _, problem := range upkeep[p.Name] {
			j.problem("%s", problem)
		}
		out.Pools = append(out.Pools, pool)
	}
	out.Problems = append(out.Problems, j.problems...)
	out.Well = len(out.Problems) == 0
	writeJSON(w, out)
}

// judge collects what is wrong.
type judge struct {
	now      time.Time
	where    string
	problems []string
}

func (j *judge) problem(format string, args ...any) {
	j.problems = append(j.problems, j.where+fmt.Sprintf(format, args...))
}

// topology fills in what the source, the table and the nodes say. What a source in Consul has to say is left to consul.
func (j *judge) topology(out *PoolStatus, p *proxy.Pool, source SourceStatus, replicas replication.Status, inConsul bool) {
	out.Source, out.Epoch, out.Error = source.Kind, source.Epoch, source.LastError
	if !source.LastChange.IsZero() {
		age := max(0, j.now.Sub(source.LastChange).Seconds())
		out.AgeSeconds = &age
	}
	if source.LastError != "" && !inConsul {
		j.problem("source of topology: %s", source.LastError)
	}
	if left, writesOnly := p.Paused(); left > 0 {
		who := "clients"
		if writesOnly {
			who = "clients that write"
		}
		j.problem("CLIENT PAUSE lets %s wait for another %s", who, left.Round(time.Millisecond))
	}
	if trouble := p.Trouble(); trouble != "" {
		j.problem("%s", trouble)
	}
	for _, h := range p.HeldSlots() {
		out.RequestsHeld += h.Requests
	}
	out.MultiSlot = p.MultiSlot()
	t := p.Table()
	if t == nil {
		if source.LastError == "" {
			j.problem("no topology yet")
		}
		return
	}
	j.groups(out, p, t, replicas)
	out.SlotsUncovered = uncovered(t)
	if out.SlotsUncovered > 0 {
		j.problem("%d slots belong to no group: %s", out.SlotsUncovered, shortRanges(t.Uncovered()))
	}
	for _, m := range t.Moves() {
		if m.Phase == router.Locked {
			out.SlotsLocked++
		} else {
			out.SlotsMoving++
		}
	}
}

// groups counts the groups whose master answers, and the replicas that may be read.
func (j *judge) groups(out *PoolStatus, p *proxy.Pool, t *router.Table, replicas replication.Status) {
	nodes, unfit := nodesByAddr(p), unfitMasters(replicas)
	for _, g := range t.Groups {
		out.Groups++
		out.Replicas += len(g.Replicas)
		n := nodes[g.Master.Addr]
		switch {
		case n == nil || n.Status().Err == "" && !n.Answers():
			j.problem("group %s: master %s does not answer: it has not answered yet", g.ID, g.Master.Addr)
		case !n.Answers():
			j.problem("group %s: master %s does not answer: %s", g.ID, g.Master.Addr, n.Status().Err)
		case unfit[g.Master.Addr] != "":
			j.problem("group %s: master %s does not serve: %s", g.ID, g.Master.Addr, unfit[g.Master.Addr])
		default:
			out.GroupsServing++
		}
	}
	for _, g := range replicas.Groups {
		for _, n := range g.Nodes {
			switch {
			case n.Role != "replica":
			case n.Readable || n.State == "in sync": // Nobody may want to read there.
				out.ReplicasGood++
			default:
				j.problem("group %s: replica %s is %s: %s", g.ID, n.Addr, n.State, n.Reason)
			}
		}
	}
}

// unfitMasters are the masters that answer and are none, with why.
func unfitMasters(replicas replication.Status) map[string]string {
	unfit := make(map[string]string)
	for _, g := range replicas.Groups {
		for _, n := range g.Nodes {
			if n.Role == "master" && n.State == "broken" {
				unfit[n.Addr] = n.Reason
			}
		}
	}
	return unfit
}

// migrations counts what migrates between servers, and says what is wrong with it.
func (j *judge) migrations(out *PoolStatus, p *proxy.Pool, st migration.Status) {
	for i := range st.Migrations {
		m := &st.Migrations[i]
		if m.UnderWay() {
			out.Migrations++
		}
		if trouble := m.Trouble(j.now); trouble != "" {
			j.problem("migration of %s from %s to %s: %s", orSlots(m.Slots), m.Source, m.Target, trouble)
		}
	}
	nodes := nodesByAddr(p)
	for _, addr := range slices.Sorted(maps.Keys(st.Silent)) {
		if n := nodes[addr]; p.Family.LosesAtomics && n != nil && n.Answers() && !n.Paused() { // Else somebody has said so.
			j.problem("node %s answers clients, and not what is asked about migrations: %s; see discovery.admin_port", addr, st.Silent[addr])
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(st.Unfit)) {
		j.problem("node %s serves no slots: %s; give it its configuration", addr, st.Unfit[addr])
	}
	if st.Dispute != "" {
		j.problem("%s; give all nodes the same", st.Dispute)
	}
}

func orSlots(slots string) string {
	if slots == "" {
		return "slots"
	}
	return "slots " + slots
}

// consul fills in what Consul says.
func (j *judge) consul(out *PoolStatus, st ConsulStatus) {
	out.Consul, out.Epoch, out.Alarm = &st, st.Epoch, st.alarm("").Kind
	if !st.Applied.IsZero() {
		age := max(0, j.now.Sub(st.Applied).Seconds())
		out.AgeSeconds = &age
	}
	for _, a := range st.Alarms {
		fix := ""
		if a.Kind == AlarmRegressed {
			fix = "; sluice ctl topology accept lets it in"
		}
		j.problem("%s, epoch %d stays in force: %s%s", a.Kind, st.Epoch, a.Text, fix)
	}
	if len(st.Alarms) == 0 && st.Up && out.Error != "" {
		j.problem("source of topology: %s", out.Error)
	}
	switch late := st.LastContactSeconds(j.now); {
	case !st.Up && late < 0:
		j.problem("Consul has never answered: %s", orUnknown(st.Error))
	case !st.Up:
		j.problem("Consul has not answered for %.0fs: %s", late, orUnknown(st.Error))
	case late > lateContact.Seconds():
		j.problem("Consul has not answered for %.0fs", late)
	}
	if st.FromFile {
		j.problem("the topology is that of the state file, Consul has not been seen since the start")
	}
	if !st.LeaseSure {
		j.problem("the lease is lost: this proxy takes no part in moves")
	}
	if st.Register && !st.Registered {
		j.problem("not registered as a service of Consul")
	}
	for _, warning := range st.Warnings {
		j.problem("%s", warning)
	}
}

func orUnknown(text string) string {
	if text == "" {
		return "no reason is known"
	}
	return text
}

// shortRanges is as much of a set of slots as fits into a line.
func shortRanges(ranges []router.Range) string {
	const shown = 8
	if len(ranges) <= shown {
		return router.FormatRanges(ranges)
	}
	return fmt.Sprintf("%s and %d more ranges", router.FormatRanges(ranges[:shown]), len(ranges)-shown)
}
