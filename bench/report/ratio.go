package report

// find returns the run of a round, or nil when there is none that counts.
func (r *Report) find(round int, cell, peer string) *Run {
	for i := range r.Runs {
		run := &r.Runs[i]
		if run.Round == round && run.Cell == cell && run.Peer == peer && run.Failures == 0 {
			return run
		}
	}
	return nil
}

// over sums up one figure of a cell and peer over the rounds.
func (r *Report) over(cell, peer string, figure func(*Run) float64) Spread {
	var values []float64
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Cell == cell && run.Peer == peer && run.Failures == 0 {
			values = append(values, figure(run))
		}
	}
	return NewSpread(values)
}

// Figure is one figure of a run.
type Figure func(*Run) float64

// The figures that are compared.
var (
	CPU  Figure = func(r *Run) float64 { return float64(r.CPU) }
	P50  Figure = func(r *Run) float64 { return float64(r.P50) }
	P99  Figure = func(r *Run) float64 { return float64(r.P99) }
	P999 Figure = func(r *Run) float64 { return float64(r.P999) }
)

// Compare divides a figure of one peer by that of another. Each round gives one
// ratio, of the two runs that this round made minutes or seconds apart; with
// several cells, it is the geometric mean of theirs. Noise that lasts longer
// than a round, like another job on the machine, thus hits both sides.
func (r *Report) Compare(figure Figure, own, other string, cells ...string) Spread {
	var ratios []float64
	for round := 1; round <= r.Settings.Rounds; round++ {
		var ofCells []float64
		for _, cell := range cells {
			mine, theirs := r.find(round, cell, own), r.find(round, cell, other)
			if mine == nil || theirs == nil || figure(mine) <= 0 || figure(theirs) <= 0 {
				break
			}
			ofCells = append(ofCells, figure(mine)/figure(theirs))
		}
		if len(cells) > 0 && len(ofCells) == len(cells) {
			ratios = append(ratios, geometricMean(ofCells))
		}
	}
	return NewSpread(ratios)
}

// Ratio compares Sluice's CPU time per request with that of a peer.
func (r *Report) Ratio(peer string, cells ...string) Spread {
	return r.Compare(CPU, Sluice, peer, cells...)
}

// Between compares a figure of Sluice in two cells, of one round each.
func (r *Report) Between(figure Figure, cell, base string) Spread {
	var ratios []float64
	for round := 1; round <= r.Settings.Rounds; round++ {
		a, b := r.find(round, cell, Sluice), r.find(round, base, Sluice)
		if a != nil && b != nil && figure(b) > 0 {
			ratios = append(ratios, figure(a)/figure(b))
		}
	}
	return NewSpread(ratios)
}

// Added is the median latency that a peer adds to the direct connection in a
// cell, in microseconds, again paired by round.
func (r *Report) Added(peer, cell string) Spread {
	return r.latencyDifference(peer, Direct, cell)
}

func (r *Report) latencyDifference(peer, base, cell string) Spread {
	var micros []float64
	for round := 1; round <= r.Settings.Rounds; round++ {
		p, b := r.find(round, cell, peer), r.find(round, cell, base)
		if p != nil && b != nil {
			micros = append(micros, float64((p.P50-b.P50).Nanoseconds())/1e3)
		}
	}
	return NewSpread(micros)
}
