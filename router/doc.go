// Package router decides which node owns a key. It is pure: no I/O, no clocks, no goroutines, and it
// imports nothing else of Sluice. Sources of topology (package discovery) build Tables, the event loops
// of package proxy read them; a Table is immutable, so both sides share it without a lock.
package router
