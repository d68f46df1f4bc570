package fakecodis

import (
	"strconv"
	"strings"
)

// The replies below are complete, as they go over the wire.

func errorReply(text string) string { return "-" + text + "\r\n" }

func wrongArity(name string) string {
	return "-ERR wrong number of arguments for '" + strings.ToLower(name) + "' command\r\n"
}

func intReply(n int) string { return ":" + strconv.Itoa(n) + "\r\n" }

func bulkReply(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

// arrayReply puts complete replies into an array.
func arrayReply(elements ...string) string {
	return "*" + strconv.Itoa(len(elements)) + "\r\n" + strings.Join(elements, "")
}

func bulksReply(elements []string) string {
	var b strings.Builder
	b.WriteString("*" + strconv.Itoa(len(elements)) + "\r\n")
	for _, e := range elements {
		b.WriteString(bulkReply(e))
	}
	return b.String()
}

// pairReply is the answer of most slot commands: two integers.
func pairReply(a, b int) string { return arrayReply(intReply(a), intReply(b)) }

const (
	replyOK         = "+OK\r\n"
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
