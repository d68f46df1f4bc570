// Package lag decides which replicas may be read. It is pure: evidence and the time come in as arguments, verdicts go
// out, so that every rule can be tested without a server and without a clock.
//
//	INFO of each node --Sample--> Group --Judge--> Verdict per replica: state, reason, caughtUpTo
//
// The one number is caughtUpTo, the watermark: the latest instant t for which it is proven that every write that was
// acknowledged before t is applied on the replica. Lag, read-your-writes and failover follow from it.
//
// A Group belongs to one goroutine at a time. Times are nanoseconds of a monotonic clock that the caller chooses; 0 is
// never a time.
package lag
