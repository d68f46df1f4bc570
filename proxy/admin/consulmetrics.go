package admin

import (
	"time"

	"sluice/proxy"
)

// ConsulStatus is what a pool whose topology is in Consul knows of it, and what Consul knows of this proxy.
type ConsulStatus struct {
	ID          string    `json:"id"`   // of this proxy, as in GET /api/v1/proxies
	Root        string    `json:"root"` // of the pool's keys
	Up          bool      `json:"up"`   // the last question was answered
	LastContact time.Time `json:"last_contact,omitzero"`
	Error       string    `json:"error,omitempty"` // why the last question was not answered, or the lease not renewed
	IndexResets uint64    `json:"index_resets"`

	Epoch    uint64    `json:"epoch"` // of the topology in force, as it is numbered in Consul
	Applied  time.Time `json:"applied,omitzero"`
	FromFile bool      `json:"from_file"`          // the topology is that of the state file, Consul has not been seen yet
	Alarms   []Alarm   `json:"alarms,omitempty"`   // why the topology in Consul is refused, and what else needs somebody
	Warnings []string  `json:"warnings,omitempty"` // nodes of which Consul and their probes say different things, and the like

	LeaseSeconds float64 `json:"lease_seconds"` // left of the lease; not above 0 when it is lost
	LeaseSure    bool    `json:"lease_sure"`    // renewed in time
	Register     bool    `json:"register"`      // the configuration wants a service
	Registered   bool    `json:"registered"`    // there is one
}

// Alarm is something that somebody must look at.
type Alarm struct {
	Kind string `json:"kind"` // such as AlarmRegressed
	Text string `json:"text"`
}

// AlarmRegressed is the kind of alarm that accepting ends: what is in Consul is older than what is in force, or has the same
// number and is something else.
const AlarmRegressed = "topology_regressed"

// alarm is the first alarm of a kind; of any kind for "". It is the zero value when there is none.
func (st *ConsulStatus) alarm(kind string) Alarm {
	for _, a := range st.Alarms {
		if kind == "" || a.Kind == kind {
			return a
		}
	}
	return Alarm{}
}

// LastContactSeconds is the time since Consul answered last; below 0 when it never did.
func (st *ConsulStatus) LastContactSeconds(now time.Time) float64 {
	if st.LastContact.IsZero() {
		return -1
	}
	return max(0, now.Sub(st.LastContact).Seconds())
}

// consulStatuses asks what is known of Consul, by pool; pools with other sources are not in it.
func (s *Server) consulStatuses() map[string]ConsulStatus {
	if s.cfg.Consul == nil {
		return nil
	}
	return s.cfg.Consul()
}

// consul writes what is known of Consul, for pools whose topology is there.
func (e *exposition) consul(pools []*proxy.Pool, statuses map[string]ConsulStatus, now time.Time) {
	e.consulGauge(pools, statuses, "sluice_consul_up", "1 when Consul answered the last question.",
		func(st *ConsulStatus) (float64, bool) { return oneIf(st.Up), true })
	e.consulGauge(pools, statuses, "sluice_consul_last_contact_seconds", "Time since Consul answered last; absent when it never did.",
		func(st *ConsulStatus) (float64, bool) {
			seconds := st.LastContactSeconds(now)
			return seconds, seconds >= 0
		})
	e.consulGauge(pools, statuses, "sluice_consul_lease_seconds", "Time left of this proxy's lease; 0 when it is lost.",
		func(st *ConsulStatus) (float64, bool) {
			if !st.LeaseSure {
				return 0, true
			}
			return max(0, st.LeaseSeconds), true
		})
	e.consulGauge(pools, statuses, "sluice_consul_epoch", "Number of the topology in force in Consul, the same for all proxies of the pool.",
		func(st *ConsulStatus) (float64, bool) { return float64(st.Epoch), st.Epoch > 0 })
	e.consulGauge(pools, statuses, "sluice_topology_alarm", "1 while the topology in Consul is refused and an earlier one stays in force, or something else is wrong with it.",
		func(st *ConsulStatus) (float64, bool) { return oneIf(len(st.Alarms) > 0), true })
	e.family("sluice_consul_index_resets_total", "counter", "How often the index of Consul went backwards, as after a restored snapshot.")
	for _, p := range pools {
		if st, ok := statuses[p.Name]; ok {
			e.value("sluice_consul_index_resets_total", float64(st.IndexResets), "pool", p.Name)
		}
	}
}

// consulGauge writes a gauge for every pool with a topology in Consul for which there is a value.
func (e *exposition) consulGauge(pools []*proxy.Pool, statuses map[string]ConsulStatus, name, help string,
	value func(st *ConsulStatus) (v float64, known bool),
) {
	e.family(name, "gauge", help)
	for _, p := range pools {
		if st, ok := statuses[p.Name]; ok {
			if v, known := value(&st); known {
				e.value(name, v, "pool", p.Name)
			}
		}
	}
}

// topologyAges writes how long the topology of each pool has been in force. For Consul a table that MOVED changed does not
// count, only a topology.
func (e *exposition) topologyAges(pools []*proxy.Pool, sources map[string]SourceStatus, statuses map[string]ConsulStatus, now time.Time) {
	e.family("sluice_topology_age_seconds", "gauge", "Time since the topology in force was applied; absent while there is none.")
	for _, p := range pools {
		if at := appliedAt(sources[p.Name], statuses[p.Name]); !at.IsZero() {
			e.value("sluice_topology_age_seconds", max(0, now.Sub(at).Seconds()), "pool", p.Name)
		}
	}
}

func appliedAt(source SourceStatus, st ConsulStatus) time.Time {
	if !st.Applied.IsZero() {
		return st.Applied
	}
	return source.LastChange
}
