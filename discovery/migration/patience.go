package migration

import "time"

// patience is for how long a node whose last answer named a migration is believed to be paused when it is asked on the
// port that the pause stops as well: Dragonfly's finalisation takes up to 30 s.
const patience = 35 * time.Second

// keepPatience tells for which nodes silence is a pause.
func (w *Watcher) keepPatience(list []Migration, answers []answer, now time.Time) {
	answered := make(map[string]bool)
	for _, a := range answers {
		answered[a.addr] = a.err == nil
	}
	// On a port of its own a node that lives answers, pause or not. On that of the clients it can't.
	own := w.access.Load().AdminPort != ""
	next := make(map[string]time.Time)
	for _, m := range list {
		if !m.State.active() {
			continue
		}
		for _, addr := range []string{m.Source, m.Target} {
			switch until := w.patient[addr]; {
			case answered[addr]:
				next[addr] = now.Add(patience)
			case !own && until.After(now):
				next[addr] = until
			}
		}
	}
	for addr := range w.patient {
		if _, still := next[addr]; !still {
			w.cfg.Patience(addr, false)
		}
	}
	for addr := range next {
		w.cfg.Patience(addr, true) // Each time: the pool may have made a node for it only now.
	}
	w.patient = next
}
