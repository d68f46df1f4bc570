package report

import (
	"math"
	"slices"
)

// Spread sums up the values of several rounds. The zero value stands for no
// values at all.
type Spread struct {
	Min, Median, Max float64
	N                int
}

// NewSpread does not keep or change values.
func NewSpread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	median := v[mid]
	if len(v)%2 == 0 {
		median = (v[mid-1] + v[mid]) / 2
	}
	return Spread{Min: v[0], Median: median, Max: v[len(v)-1], N: len(v)}
}

// geometricMean needs at least one value; all have to be positive.
func geometricMean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
