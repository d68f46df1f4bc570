// Package testbed starts real servers as child processes on 127.0.0.1: for the integration tests, and for
// `sluice dev`, which plays with the same servers. It knows nothing of the proxy and nothing of package
// testing: the functions that start with Start return errors, the ones that take a TB (Redis, Replica,
// Cluster, Eventually) are the same for tests.
//
// Children end with their parent: by Close, and on Linux also when the parent dies without calling it.
package testbed
