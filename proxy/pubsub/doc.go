// Package pubsub is publish and subscribe between the clients of a proxy and the servers behind it: one subscription at
// a server stands for those of all clients of an event loop. docs/PUBSUB.md says what that promises.
//
// It is cut where a client ends and where a connection ends. The package decides who is subscribed where and what a
// server is asked; it knows a client as a Subscriber, the event loop as a Loop, and what is in force as a Pool and its
// Topology. It does not know requests, pipelines and retries: commands, their place among the replies of a client, and
// how a message gets into its socket are the proxy's. Connections are those of package backend, which has an interface
// for whoever subscribes already (backend.PushHandler); another layer over them would only repeat their methods. For
// the same reason PUBLISH and PUBSUB are sent by the proxy, as any other request: here is what is counted while they
// are under way (Receivers), and what becomes of the replies (Merger).
//
// A Hub belongs to one event loop and one pool, and is used on that loop only; nothing in it is locked. What the hubs
// of a pool have in common is its Registry, which has a lock. Delivering a message takes none.
package pubsub
