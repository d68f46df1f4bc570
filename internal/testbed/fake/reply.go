package fake

import (
	"strconv"
	"strings"
)

// The replies below are complete, as they go over the wire.

// OK is the reply to a command that has nothing else to say.
const OK = "+OK\r\n"

// Error is an error reply.
func Error(text string) string { return "-" + text + "\r\n" }

// Simple is a simple string.
func Simple(text string) string { return "+" + text + "\r\n" }

// Int is an integer.
func Int(n int) string { return ":" + strconv.Itoa(n) + "\r\n" }

// Bulk is a bulk string.
func Bulk(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

// Array puts complete replies into an array.
func Array(elements ...string) string {
	return "*" + strconv.Itoa(len(elements)) + "\r\n" + strings.Join(elements, "")
}

// Bulks is an array of bulk strings.
func Bulks(elements ...string) string {
	var b strings.Builder
	b.WriteString("*" + strconv.Itoa(len(elements)) + "\r\n")
	for _, e := range elements {
		b.WriteString(Bulk(e))
	}
	return b.String()
}
