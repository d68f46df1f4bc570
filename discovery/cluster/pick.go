package cluster

import "slices"

// pick chooses whom to ask: at most limit nodes, the masters first, because a view counts most where
// elections are decided; the other nodes and the seeds fill up. Within a class chance decides, so that over
// several looks everybody has a turn. After a look without an answer (lost) the masters may all be gone, and
// what is left is anywhere: then there are no classes.
func pick(masters, others, seeds []string, limit int, lost bool, shuffle func([]string)) []string {
	rest := slices.Concat(others, seeds)
	var targets []string
	if lost {
		targets = slices.Concat(masters, rest)
		shuffle(targets)
	} else {
		targets = slices.Clone(masters)
		shuffle(targets)
		shuffle(rest)
		targets = append(targets, rest...)
	}
	seen := make(map[string]bool)
	targets = slices.DeleteFunc(targets, func(addr string) bool {
		again := seen[addr]
		seen[addr] = true
		return again
	})
	return targets[:min(len(targets), limit)]
}
