package router

import (
	"fmt"
	"slices"
	"strings"
)

// Range is a run of slots, both ends included.
type Range struct{ From, To Slot }

// Len is the number of slots in the range.
func (r Range) Len() int { return int(r.To) - int(r.From) + 1 }

// String writes "7" or "0-511".
func (r Range) String() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// InRanges reports whether slot is in one of ranges.
func InRanges(ranges []Range, slot Slot) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool { return slot >= r.From && slot <= r.To })
}

// FormatRanges writes ranges as the configuration does: "0-511,600".
func FormatRanges(ranges []Range) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// RangesOf collects the slots for which has is true into the fewest ranges, in order.
func RangesOf(slots int, has func(Slot) bool) []Range {
	var ranges []Range
	for s := 0; s < slots; s++ {
		if !has(Slot(s)) {
			continue
		}
		if n := len(ranges); n > 0 && int(ranges[n-1].To) == s-1 {
			ranges[n-1].To = Slot(s)
			continue
		}
		ranges = append(ranges, Range{Slot(s), Slot(s)})
	}
	return ranges
}
