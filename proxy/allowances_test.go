package proxy

import (
	"regexp"
	"strings"
)

// allowance is a difference that clients have to live with, and what is compared all the same.
type allowance struct {
	reason string
	same   func(got, want string) bool
}

// allowances are named by the statements of testdata/conformance that need them.
var allowances = map[string]allowance{
	"time": {"a time, or a number that grows with time", sameButNumbers},
	"id":   {"an id, an address or a port of the one who answers", sameButNumbers},
	"hello": {"as id, and the mode: over a Redis Cluster Sluice offers one database, and says so by calling itself a cluster",
		sameHello},
	"version": {"Sluice answers from its command table, the server is 7.0; later versions have more commands, more flags and " +
		"more lines of help", sameKind},
	"random": {"a random choice among the members", sameKind},
	"own": {"a report on the one who answers: Sluice has other memory, settings and counters than a server, " +
		"or sums up those of several", sameKind},
	"not-offered": {"Sluice says that it does not do this: client-side caching; " +
		"histograms of commands; and between MULTI and EXEC what the server of the transaction can't answer", isNotOffered},
	"receivers": {"in a Redis Cluster PUBLISH counts the receivers at one node, and a script or a transaction need not run at " +
		"that where Sluice has subscribed", sameButNumbers},
	"one-server": {"a report on one server, which Sluice leaves to that where a pool has several", isOneServers},
	"cursor":     {"a SCAN over several groups goes to one after the other, so it is not over after its first call", sameButCursor},
	"crossslot":  {"one command, or one transaction, uses keys of several slots, which belong to several groups", isCrossSlot},
}

// abortedReply is how EXEC answers when a command of the transaction was not queued.
const abortedReply = "-EXECABORT Transaction discarded because of previous errors.\r\n"

var numbers = regexp.MustCompile(`\d+`)

// sameButNumbers compares all but digits, and so the number, the kinds and the order of what a reply holds.
func sameButNumbers(got, want string) bool {
	return numbers.ReplaceAllString(got, "0") == numbers.ReplaceAllString(want, "0")
}

// sameHello compares two replies of HELLO.
func sameHello(got, want string) bool {
	return sameButNumbers(strings.Replace(got, "\ncluster\r", "\nstandalone\r", 1), want)
}

// sameKind compares the types of two replies.
func sameKind(got, want string) bool { return got[0] == want[0] }

// isNotOffered accepts an error that says so, and the end of a transaction in which it was given.
func isNotOffered(got, want string) bool {
	return got == want || got == abortedReply || strings.HasPrefix(got, "-ERR ") && strings.Contains(got, " through Sluice")
}

// isOneServers accepts a report of the same kind, or the error that says whom to ask.
func isOneServers(got, want string) bool {
	return sameKind(got, want) || strings.HasPrefix(got, "-ERR ") && strings.Contains(got, "is about one server and this pool has ")
}

// firstBulk is the first bulk string of an array: the cursor of a SCAN.
var firstBulk = regexp.MustCompile(`^\*2\r\n\$\d+\r\n\d+\r\n`)

// sameButCursor compares what a SCAN has found.
func sameButCursor(got, want string) bool {
	return firstBulk.ReplaceAllString(got, "") == firstBulk.ReplaceAllString(want, "")
}

// isCrossSlot accepts what is said of keys of several groups.
func isCrossSlot(got, want string) bool {
	return got == want || strings.HasPrefix(got, "-CROSSSLOT ") || got == abortedReply
}
