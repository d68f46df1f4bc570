package command

import "math"

// Redis reads a count of keys in two ways and the difference shows: key specs
// parse it strictly, the older finders with C's atoi, which takes "2x" for 2.
// COMMAND GETKEYS answers by whichever of the two comes to the end.

// parseCount is the strict reading: an optional minus, no plus, no blanks, no
// leading zero, within 64 bits.
func parseCount(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	n, used, over := parseDigits(digits)
	if used == 0 || used != len(digits) || over {
		return 0, false
	}
	if digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

// looseCount is C's atoi: leading blanks, a sign, as many digits as there are,
// clamped to 64 bits and cut to 32.
func looseCount(b []byte) int {
	for len(b) > 0 && (b[0] == ' ' || '\t' <= b[0] && b[0] <= '\r') {
		b = b[1:]
	}
	negative := len(b) > 0 && b[0] == '-'
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	n, _, over := parseDigits(b)
	switch {
	case over && negative:
		n = math.MinInt64
	case over:
		n = math.MaxInt64
	case negative:
		n = -n
	}
	return int(int32(n))
}

// parseDigits reads decimal digits from the start of b and returns how many
// there are. over says that they do not fit; they are all read nevertheless.
// The smallest negative number counts as one that does not fit, which no
// caller can tell: it is no count of keys.
func parseDigits(b []byte) (n int64, used int, over bool) {
	for used < len(b) && '0' <= b[used] && b[used] <= '9' {
		digit := int64(b[used] - '0')
		over = over || n > (math.MaxInt64-digit)/10
		if !over {
			n = n*10 + digit
		}
		used++
	}
	return n, used, over
}
