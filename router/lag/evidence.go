package lag

// Role is what a server says it is.
type Role uint8

// Roles.
const (
	RoleUnknown Role = iota
	Master
	Replica
)

// String names the role for people.
func (r Role) String() string {
	switch r {
	case Master:
		return "master"
	case Replica:
		return "replica"
	case RoleUnknown:
	}
	return "unknown"
}

// Replication is what a server says about its replication, INFO replication in one form for all families.
type Replication struct {
	Role Role
	// ID is the replication id: servers with the same one have the same history and count offsets alike. "" where the
	// family has none, or the server has none yet.
	ID string
	// ID2 is the id that the server had before it was promoted, valid up to SecondOffset; "" when there is none.
	ID2          string
	SecondOffset int64
	// Offset is how far the server is: a master, the end of its stream; a replica, what it says it has applied.
	// -1 when it does not say. The unit is the family's: bytes, records, sequence numbers.
	Offset int64

	// Of a replica. MasterAddr is host:port as the replica knows it, "" when it follows nobody.
	MasterAddr string
	LinkUp     bool
	// Syncing says that a full copy of the master's data is on its way, or being loaded, or awaited.
	Syncing bool
	// Unfit is why the server itself says that its data can't be relied upon, in words; "" when it does not. Pika:
	// a full sync that has begun and not ended, databases that are not connected.
	Unfit string

	// Replicas are those that the server lists as its own.
	Replicas []Listed
}

// Listed is a replica as its master sees it.
type Listed struct {
	Addr string // host:port as the master knows it
	// Online says that the replica gets the stream, after any full sync.
	Online bool
	// State is the family's word for it, for people.
	State string
	// Offset is what the replica has acknowledged; -1 when the master does not say.
	Offset int64
}

// Sample is the answer of one node to one round of questions.
type Sample struct {
	Replication
	// Asked and Answered are when the questions left and when the last answer had come.
	Asked, Answered int64
	// Life numbers the connection that was asked, and what has replaced it at the same process without a gap. A process
	// that is restarted can't keep it, so two samples of one life come from one process.
	Life uint64
	// Process is the number by which connections know whom they have reached; 0 when that is not known.
	Process uint64
	// IP is where the connection that was asked leads to; "" when that is not known.
	IP string
	// Loading says that the node is not ready to serve: it loads its data.
	Loading bool
	// Heartbeat is, of a replica, when the newest heartbeats that it has all applied were sent; 0 when it has none.
	Heartbeat int64
	// Keys is how many keys the node has in database 0, -1 when that was not asked.
	Keys int64
}
