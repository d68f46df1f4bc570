// Package fake has what the in-process fakes of servers share: listeners that die and come back on their ports,
// requests and replies, switches for faults, and data by slot in a miniredis. It knows no server's words;
// those are in the packages that use it.
package fake
