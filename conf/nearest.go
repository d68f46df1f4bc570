package conf

import "strings"

// nearest returns the candidate that name was most likely meant to be, or "" when none is close.
// Case, hyphens and underscores do not count, so MaxClients finds max_clients.
func nearest(name string, candidates []string) string {
	const mostEdits = 3 // more than that, and the suggestion is a guess
	from := squash(name)
	if len(from) > 64 {
		return "" // no key is that long, and the work grows with the length
	}
	best, bestEdits := "", mostEdits+1
	for _, c := range candidates {
		to := squash(c)
		// A third of the letters may be wrong, but one always.
		allowed := min(mostEdits, max(1, max(len(from), len(to))/3))
		if d := edits(from, to); d <= allowed && d < bestEdits {
			best, bestEdits = c, d
		}
	}
	return best
}

func squash(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// edits counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func edits(a, b string) int {
	// Three rows of the table are enough: the swap looks two back.
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
