// Package peer starts the servers and proxies of a comparison on free loopback
// ports, tells when they are ready, reads what they use from the kernel, and ends
// them.
//
// It does not measure requests; that is the job of package load. Everything here
// runs on the goroutine of the caller, except one goroutine per process that waits
// for its end.
package peer
