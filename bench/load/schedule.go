package load

import "time"

// schedule is the timetable of an open loop. Request i of the run is meant to
// leave at start + i*period, on connection i modulo the number of connections;
// whether earlier requests were answered does not move it. Latency counted from
// these instants contains the time a request had to wait because the other side
// was slow, which is the part that a closed loop leaves out.
//
// Instants are nanoseconds on the loop's own clock. Immutable after construction.
type schedule struct {
	start  int64
	period float64 // nanoseconds
	conns  uint64
}

func newSchedule(start int64, rate float64, conns int) schedule {
	return schedule{start: start, period: float64(time.Second) / rate, conns: uint64(conns)}
}

// at returns the instant of request i of the run.
func (s schedule) at(i uint64) int64 {
	return s.start + int64(float64(i)*s.period)
}

// atConn returns the instant of request k of connection conn.
func (s schedule) atConn(conn int, k uint64) int64 {
	return s.at(uint64(conn) + k*s.conns)
}

// tick is how often the timetable has to be looked at. Finer than 50 µs costs
// more CPU than it is worth, coarser than 5 ms would be visible at low rates.
func (s schedule) tick() time.Duration {
	return min(max(time.Duration(s.period), 50*time.Microsecond), 5*time.Millisecond)
}
