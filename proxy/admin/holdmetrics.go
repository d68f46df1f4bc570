package admin

import (
	"maps"
	"slices"

	"sluice/proxy"
	"sluice/proxy/hold"
	"sluice/proxy/keymove"
	"sluice/router"
)

// holds writes what waits, and what waiting came to. The sum of sluice_holds_total is that of
// sluice_holds_ended_total and sluice_holds.
func (e *exposition) holds(pools []*proxy.Pool) {
	counts := make([]hold.Counts, len(pools))
	for i, p := range pools {
		counts[i] = p.Holds()
	}
	e.family("sluice_holds", "gauge", "Requests that wait for their slot now, by cause.")
	for i, p := range pools {
		for cause, n := range counts[i].Now {
			e.value("sluice_holds", float64(n), "pool", p.Name, "cause", hold.Cause(cause).String())
		}
	}
	e.family("sluice_holds_total", "counter", "Requests that had to wait for their slot, by the first cause.")
	for i, p := range pools {
		for cause, n := range counts[i].Held {
			e.value("sluice_holds_total", float64(n), "pool", p.Name, "cause", hold.Cause(cause).String())
		}
	}
	e.family("sluice_holds_ended_total", "counter", "Waits that ended, by how.")
	for i, p := range pools {
		for end, n := range counts[i].Ended {
			e.value("sluice_holds_ended_total", float64(n), "pool", p.Name, "end", hold.End(end).String())
		}
	}
	e.family("sluice_hold_bytes", "gauge", "Bytes of requests that wait, with what their clients sent behind them.")
	for i, p := range pools {
		e.value("sluice_hold_bytes", float64(counts[i].Bytes), "pool", p.Name)
	}
	e.family("sluice_hold_seconds_total", "counter", "Time that requests have waited.")
	for i, p := range pools {
		e.value("sluice_hold_seconds_total", counts[i].Waits.Seconds(), "pool", p.Name)
	}
	e.unsettled(pools)
	e.multiSlot(pools)
}

// multiSlot writes how many requests need all of their slots in one group.
func (e *exposition) multiSlot(pools []*proxy.Pool) {
	const name = "sluice_pool_multi_slot_requests_total"
	e.family(name, "counter", "Requests with keys in several slots of one group, which would be refused if these slots had several owners, by command.")
	for _, p := range pools {
		counts := p.MultiSlot()
		for _, cmd := range slices.Sorted(maps.Keys(counts)) {
			e.value(name, float64(counts[cmd]), "pool", p.Name, "command", cmd)
		}
	}
}

// unsettled writes how many slots are locked or moving.
func (e *exposition) unsettled(pools []*proxy.Pool) {
	e.family("sluice_topology_unsettled_slots", "gauge", "Slots that are locked or moving.")
	for _, p := range pools {
		phases := map[router.Phase]int{}
		if t := p.Table(); t != nil {
			for _, m := range t.Moves() {
				phases[m.Phase]++
			}
		}
		for _, phase := range []router.Phase{router.Locked, router.Moving} {
			e.value("sluice_topology_unsettled_slots", float64(phases[phase]), "pool", p.Name, "phase", phase.String())
		}
	}
}

// moves writes what it took to find keys in moving slots.
func (e *exposition) moves(m *keymove.Stats) {
	e.family("sluice_move_wrapped_total", "counter", "Answers of SLOTSMGRT-EXEC-WRAPPER, by their first number.")
	for i, answer := range []string{"0", "1", "2", "other"} {
		e.value("sluice_move_wrapped_total", float64(m.Wrapped[i]), "answer", answer)
	}
	e.counter("sluice_move_key_requests_total", "SLOTSMGRTTAGONE sent.", m.KeyMoves)
	e.counter("sluice_move_key_failures_total", "SLOTSMGRTTAGONE that were not answered with a number.", m.KeyMovesFailed)
	e.counter("sluice_move_keys_total", "Keys that SLOTSMGRTTAGONE has moved.", m.KeysMoved)
	e.counter("sluice_move_nudges_total", "Rounds of a background migration that were asked for because the dashboard paused.", m.Rounds)
	e.counter("sluice_move_source_reads_total", "Reads that were tried at the source of a moving slot.", m.SourceReads)
}
