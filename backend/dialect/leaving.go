package dialect

import (
	"bytes"
	"strconv"

	"sluice/router"
)

// MigrationQuestion asks a Dragonfly which slots migrate from it and to it, on the port of clients too. Immutable.
var MigrationQuestion = []byte("*2\r\n$11\r\nDFLYCLUSTER\r\n$21\r\nSLOT-MIGRATION-STATUS\r\n")

// Leaves reads the answer to MigrationQuestion: does a migration take slot away, or may it? It returns the node id of
// the target, and the ranges that are known to leave, nil where the answer names none (before 1.40).
func Leaves(reply []byte, slot router.Slot) (target string, ranges []router.Range, leaves bool) {
	for fields := range migrations(reply) {
		if len(fields) < 3 || string(fields[0]) != "out" {
			continue
		}
		switch string(fields[2]) {
		case "FINISHED", "FATAL": // It has left, and MOVED says so; it stays.
			continue
		}
		if len(fields) > 5 {
			if ranges = bracketed(fields[5]); len(ranges) > 0 && !router.InRanges(ranges, slot) {
				continue
			}
		}
		return string(fields[1]), ranges, true
	}
	return "", nil, false
}

// migrations yields the fields of each migration in an answer: an array of arrays, or, up to 1.22, of lines.
func migrations(reply []byte) func(yield func(fields [][]byte) bool) {
	return func(yield func([][]byte) bool) {
		var fields [][]byte
		left := 0 // Fields of the array at hand that are to come.
		for len(reply) > 0 {
			line, rest, _ := bytes.Cut(reply, []byte("\r\n"))
			reply = rest
			if len(line) == 0 {
				return
			}
			n, _ := strconv.Atoi(string(line[1:]))
			text := line[1:]
			switch line[0] {
			case '*':
				fields, left = nil, n
				continue
			case '$':
				if n < 0 || n+len("\r\n") > len(reply) {
					return
				}
				text, reply = reply[:n], reply[n+len("\r\n"):]
			}
			if bytes.HasPrefix(text, []byte("out ")) {
				fields, left = bytes.Fields(text), 1
			} else {
				fields = append(fields, text)
			}
			if left--; left == 0 && !yield(fields) {
				return
			}
		}
	}
}

// bracketed reads "[0, 5], [7, 7]".
func bracketed(text []byte) (ranges []router.Range) {
	numbers := bytes.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	for i := 0; i+1 < len(numbers); i += 2 {
		from, err1 := strconv.ParseUint(string(numbers[i]), 10, 16)
		to, err2 := strconv.ParseUint(string(numbers[i+1]), 10, 16)
		if err1 != nil || err2 != nil {
			return nil
		}
		ranges = append(ranges, router.Range{From: router.Slot(from), To: router.Slot(to)})
	}
	return ranges
}
