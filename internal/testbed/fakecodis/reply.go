package fakecodis

import (
	"strconv"
	"strings"

	"sluice/internal/testbed/fake"
)

// The replies below are complete, as they go over the wire.

func wrongArity(name string) string {
	return "-ERR wrong number of arguments for '" + strings.ToLower(name) + "' command\r\n"
}

// pairReply is the answer of most slot commands: two integers.
func pairReply(a, b int) string { return fake.Array(fake.Int(a), fake.Int(b)) }

const (
	replyNull       = "$-1\r\n"
	replyEmptyArray = "*0\r\n"
	replyNotInteger = "-ERR value is not an integer or out of range\r\n"
	replySyntax     = "-ERR syntax error\r\n"
)

// integer reads an argument that must be a number.
func integer(arg string) (n int64, ok bool) {
	n, err := strconv.ParseInt(arg, 10, 64)
	return n, err == nil
}
