package router

import (
	"fmt"
	"slices"
	"strconv"
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

// ParseRanges reads "0-99,200", the opposite of FormatRanges.
func ParseRanges(text string) ([]Range, error) {
	var ranges []Range
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, err := parseSlot(first)
		to := from
		if err == nil && isRange {
			to, err = parseSlot(last)
		}
		if err != nil {
			return nil, fmt.Errorf("slots %q: %w", text, err)
		}
		if from > to {
			return nil, fmt.Errorf("slots %q: %d-%d goes backwards", text, from, to)
		}
		ranges = append(ranges, Range{From: from, To: to})
	}
	return ranges, nil
}

func parseSlot(text string) (Slot, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n >= ClusterSlots {
		return 0, fmt.Errorf("%q is no slot", text)
	}
	return Slot(n), nil
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
