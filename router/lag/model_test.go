package lag

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is a master and its replicas with random delays everywhere. Time is a step counter. Every write is one unit
// of offset, acknowledged some steps after it was executed.
type model struct {
	rng   *rand.Rand
	now   int64
	life  uint64
	id    string
	end   int64   // of the master's stream
	acked []int64 // time at which write i+1 was acknowledged

	replicas []*modelReplica
	answers  []answer // under way
	group    *Group
}

type modelReplica struct {
	addr    string
	applied int64
	life    uint64
	stopped bool
}

// answer is a sample that has been taken and has not arrived.
type answer struct {
	due    int64
	addr   string
	sample Sample
}

func newModel(seed uint64) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, 1)), now: 1, life: 1, id: "id-1"}
	m.group = NewGroup(Rules{OffsetsProve: true, MaxLag: 400, MaxAge: 300})
	for i := range 3 {
		m.replicas = append(m.replicas, &modelReplica{addr: fmt.Sprintf("r:%d", i+1), life: 1})
	}
	m.group.SetMembers("m:1", []string{"r:1", "r:2", "r:3"})
	return m
}

func (m *model) chance(oneIn int) bool { return m.rng.IntN(oneIn) == 0 }

func (m *model) step() {
	m.now++
	if m.chance(3) { // A write, whose acknowledgement takes its time.
		m.end++
		ack := m.now + int64(m.rng.IntN(20))
		if n := len(m.acked); n > 0 {
			ack = max(ack, m.acked[n-1])
		}
		m.acked = append(m.acked, ack)
	}
	for _, r := range m.replicas {
		if m.chance(2000) {
			r.stopped = !r.stopped
		}
		if !r.stopped && r.applied < m.end && m.chance(2) {
			r.applied += 1 + m.rng.Int64N(m.end-r.applied)
		}
		if m.chance(20000) { // It is restarted and has forgotten some of its data.
			r.life++
			r.applied -= m.rng.Int64N(r.applied + 1)
		}
	}
	m.sample()
	for i := 0; i < len(m.answers); i++ {
		if a := m.answers[i]; a.due <= m.now {
			m.answers = append(m.answers[:i], m.answers[i+1:]...)
			i--
			a.sample.Answered = m.now
			m.group.Observe(a.addr, a.sample)
		}
	}
	m.group.Judge(m.now)
}

// sample asks nodes, each about every twentieth step, one question at a time. The state that is answered is that of
// some moment between asking and answering.
func (m *model) sample() {
	under := func(addr string) bool {
		for _, a := range m.answers {
			if a.addr == addr {
				return true
			}
		}
		return false
	}
	if m.chance(20) && !under("m:1") {
		s := Sample{Asked: m.now - m.rng.Int64N(10), Life: m.life, Replication: Replication{Role: Master, ID: m.id, Offset: m.end}}
		for _, r := range m.replicas {
			s.Replicas = append(s.Replicas, Listed{Addr: r.addr, Online: true, State: "online", Offset: r.applied})
		}
		m.answers = append(m.answers, answer{m.now + m.rng.Int64N(10), "m:1", s})
	}
	for _, r := range m.replicas {
		if m.chance(20) && !under(r.addr) {
			s := Sample{Asked: m.now - m.rng.Int64N(10), Life: r.life, Replication: Replication{
				Role: Replica, ID: m.id, Offset: r.applied, MasterAddr: "m:1", LinkUp: true,
			}}
			m.answers = append(m.answers, answer{m.now + m.rng.Int64N(10), r.addr, s})
		}
	}
}

// ackedBefore is the offset of the last write that was acknowledged before t.
func (m *model) ackedBefore(t int64) int64 {
	low, high := 0, len(m.acked)
	for low < high {
		if mid := (low + high) / 2; m.acked[mid] < t {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return int64(low)
}

func TestWatermarkIsNeverTooEarly(t *testing.T) {
	const steps = 250_000
	for seed := range uint64(5) {
		m := newModel(seed)
		readable, latest := 0, int64(0)
		for range steps {
			m.step()
			for _, r := range m.replicas {
				v, _ := m.group.Verdict(r.addr)
				if v.Suspect {
					m.group.Compared(r.addr, r.life, "")
				}
				s, ok := m.group.Sample(r.addr)
				if !ok || v.CaughtUpTo == 0 || s.Life != r.life {
					continue // Connections to the process that has ended are dead.
				}
				if missing := m.ackedBefore(v.CaughtUpTo); r.applied < missing {
					t.Fatalf("seed %d, step %d: %s has %d of the %d writes acknowledged before its watermark %d",
						seed, m.now, r.addr, r.applied, missing, v.CaughtUpTo)
				}
				if v.Readable {
					readable++
					latest = max(latest, m.now-v.CaughtUpTo)
				}
			}
		}
		if share := float64(readable) / steps / 3; share < 0.5 {
			t.Errorf("seed %d: replicas were readable %.0f %% of the time: the watermark proves too little", seed, 100*share)
		}
		t.Logf("seed %d: readable %.0f %%, watermark at most %d steps old", seed, 100*float64(readable)/steps/3, latest)
	}
}

func TestHistoryThinsWithoutHarm(t *testing.T) {
	var h History
	for i := range int64(10_000) {
		if !h.Add(10*i+1, 100*i) {
			t.Fatal("a growing offset was refused")
		}
	}
	for i := range int64(10_000) {
		if at := h.Reached(100*i + 50); at > 10*i+1 {
			t.Fatalf("offset %d: %d, but that was reached at %d", 100*i+50, at, 10*i+1)
		}
	}
	if at := h.Reached(1 << 60); at != 10*9999+1 {
		t.Errorf("the newest point is lost: %d", at)
	}
	if at := h.Reached(-1); at != 0 {
		t.Errorf("something is proven of an offset below all: %d", at)
	}
	if h.Add(1<<40, 5) {
		t.Error("an offset that went back was taken")
	}
	if len(h.points) > maxPoints {
		t.Errorf("%d points", len(h.points))
	}
}
