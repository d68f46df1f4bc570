// Package consul is the source of topology that lives in Consul: a document of slots and groups in its KV store,
// nodes from that document or from the catalog, and masters as the nodes themselves say. It also keeps a proxy's
// membership there. It does not route, and it moves no data: who writes the document is the controller, or a person
// with `sluice ctl`.
//
// What runs:
//
//	epoch watch --List, decode, Validate--> news --.
//	catalog watch  --decode---------------> listing --+--> Source.Run: one goroutine that owns all state,
//	the probe of each node --Observe------> roles ----'    builds the Snapshot and publishes it
//	                                                            |
//	             Applied <-- AwaitAnswered <-- Done <-- acker --'
//
// Each arrow is a place for one value where a newer one takes the place of an older one. Consul is only ever asked from
// goroutines that have nothing else to do, so that one that hangs costs freshness and nothing else.
package consul
