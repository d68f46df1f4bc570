package conf

import (
	"encoding"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is the slots From to To, both included.
type Range struct {
	From uint16
	To   uint16
}

// String returns "3" or "3-7".
func (r Range) String() string {
	if r.From == r.To {
		return strconv.Itoa(int(r.From))
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Slots is a set of slots as ranges. ParseSlots returns them sorted, apart from each other and
// merged, so that equal sets have equal texts.
type Slots []Range

var (
	_ encoding.TextUnmarshaler = (*Slots)(nil)
	_ encoding.TextMarshaler   = Slots(nil)
)

// ParseSlots reads "0-511,600". The empty text is no slot.
func ParseSlots(text string) (Slots, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var out Slots
	for part := range strings.SplitSeq(text, ",") {
		r, err := parseRange(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Range) int { return int(a.From) - int(b.From) })
	merged := out[:1]
	for _, r := range out[1:] {
		last := &merged[len(merged)-1]
		if r.From <= last.To {
			both := Range{r.From, min(r.To, last.To)}
			return nil, &badValue{"slots " + both.String() + " are given twice", "name each slot once"}
		}
		if r.From == last.To+1 {
			last.To = r.To
			continue
		}
		merged = append(merged, r)
	}
	return merged, nil
}

func parseRange(text string) (Range, error) {
	const hint = `write single slots and ranges with commas, such as "0-511,600"`
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	lo, loErr := strconv.ParseUint(strings.TrimSpace(from), 10, 32)
	hi, hiErr := strconv.ParseUint(strings.TrimSpace(to), 10, 32)
	if loErr != nil || hiErr != nil {
		return Range{}, &badValue{quote(text) + " is not a slot or a range of slots", hint}
	}
	if lo > hi {
		return Range{}, &badValue{
			quote(text) + " runs backwards",
			fmt.Sprintf("write the smaller slot first: \"%d-%d\"", hi, lo),
		}
	}
	if hi >= clusterSlots {
		return Range{}, &badValue{
			fmt.Sprintf("slot %d does not exist", hi),
			fmt.Sprintf("slots count from 0, and the last one of any slot model is %d", clusterSlots-1),
		}
	}
	return Range{uint16(lo), uint16(hi)}, nil
}

// String returns "0-511,600".
func (s Slots) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// MarshalText returns String.
func (s Slots) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSlots.
func (s *Slots) UnmarshalText(text []byte) error {
	v, err := ParseSlots(string(text))
	if err == nil {
		*s = v
	}
	return err
}

// Len returns the number of slots in the set.
func (s Slots) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.To) - int(r.From) + 1
	}
	return n
}
