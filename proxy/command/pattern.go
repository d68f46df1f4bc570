package command

// MatchPattern reports whether text matches a Redis glob: * is any run of bytes, ? any
// byte, [a-z] and [^a-z] one of a set, and a backslash takes the next byte as it
// is. Case counts. Both are read only during the call; nothing is allocated.
func MatchPattern(pattern, text []byte) bool { return match(pattern, text, false) }

// MatchName is MatchPattern in any case for a name that is in lower case.
func MatchName(pattern []byte, name string) bool { return match(pattern, []byte(name), true) }

// match is MatchPattern; with fold the text is in lower case, and the pattern in any.
//
// Only the last star needs to be remembered: what an earlier one swallowed can
// stay swallowed, so the work is bounded by the product of the lengths and a
// pattern of stars cannot stall the loop that answers it.
func match(pattern, text []byte, fold bool) bool {
	p, n := 0, 0
	star, resume := -1, 0
	for n < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			star, resume = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if next, ok := matchOne(pattern, p, text[n], fold); ok {
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
func matchOne(pattern []byte, p int, b byte, fold bool) (int, bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchSet(pattern, p+1, b, fold)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, folded(pattern[p], fold) == b
}

// matchSet matches a set whose content begins at p. A set that is not closed
// ends with the pattern. An escaped byte in a set is compared as it is, while
// with fold all else is compared in any case; that is how Redis does it.
func matchSet(pattern []byte, p int, b byte, fold bool) (int, bool) {
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
			low, high := folded(pattern[p], fold), folded(pattern[p+2], fold)
			p += 2
			in = in || min(low, high) <= b && b <= max(low, high)
		default:
			in = in || folded(pattern[p], fold) == b
		}
	}
	return min(p+1, len(pattern)), in != inverted
}

// folded returns b, with fold in lower case.
func folded(b byte, fold bool) byte {
	if fold {
		return lower(b)
	}
	return b
}
