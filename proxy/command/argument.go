package command

import (
	"bytes"
	"strconv"
)

// Integer reads a number as Redis reads arguments: no plus sign, no leading zeros, no blanks.
func Integer(arg []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == string(arg)
}

// IsWord reports whether Redis takes arg for the option word: it compares C strings, so what follows a NUL
// does not count.
func IsWord(arg []byte, word string) bool {
	if nul := bytes.IndexByte(arg, 0); nul >= 0 {
		arg = arg[:nul]
	}
	return bytes.EqualFold(arg, []byte(word))
}
