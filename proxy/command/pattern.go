package command

// matchPattern reports whether the name, which is in lower case, matches a
// Redis glob in any case: * is any run of bytes, ? any byte, [a-z] and [^a-z]
// one of a set, and a backslash takes the next byte as it is.
//
// Only the last star needs to be remembered: what an earlier one swallowed can
// stay swallowed, so the work is bounded by the product of the lengths and a
// pattern of stars cannot stall the loop that answers it.
func matchPattern(pattern []byte, name string) bool {
	p, n := 0, 0
	star, resume := -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, resume = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if next, ok := matchOne(pattern, p, name[n]); ok {
				p, n = next, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		p, n = star+1, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches the element of the pattern at p, which is not a star, with
// one byte and returns where the next element is.
func matchOne(pattern []byte, p int, b byte) (int, bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchSet(pattern, p+1, b)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, lower(pattern[p]) == b
}

// matchSet matches a set whose content begins at p. A set that is not closed
// ends with the pattern. An escaped byte in a set is compared as it is, while
// all else is compared in any case; that is how Redis does it.
func matchSet(pattern []byte, p int, b byte) (int, bool) {
	inverted := p < len(pattern) && pattern[p] == '^'
	if inverted {
		p++
	}
	in := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		left := len(pattern) - p
		switch {
		case pattern[p] == '\\' && left >= 2:
			p++
			in = in || pattern[p] == b
		case left >= 3 && pattern[p+1] == '-':
			low, high := lower(pattern[p]), lower(pattern[p+2])
			p += 2
			in = in || min(low, high) <= b && b <= max(low, high)
		default:
			in = in || lower(pattern[p]) == b
		}
	}
	return min(p+1, len(pattern)), in != inverted
}
