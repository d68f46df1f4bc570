// Package fake has what the in-process fakes of cluster nodes share: listeners that die and come back on their
// ports, requests and replies, data by slot in a miniredis, and switches for faults. It knows no server's words;
// those are in the packages that use it.
package fake
