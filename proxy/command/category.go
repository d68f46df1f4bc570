package command

import "slices"

// Categories is the set of ACL categories a command belongs to.
type Categories uint32

// The ACL categories. The generated table has only the stated ones; those that
// follow from the flags are added by implicitACL.
const (
	ACLKeyspace Categories = 1 << iota
	ACLRead
	ACLWrite
	ACLSet
	ACLSortedSet
	ACLList
	ACLHash
	ACLString
	ACLBitmap
	ACLHyperLogLog
	ACLGeo
	ACLStream
	ACLPubSub
	ACLAdmin
	ACLFast
	ACLSlow
	ACLBlocking
	ACLDangerous
	ACLConnection
	ACLTransaction
	ACLScripting
	ACLArray // Redis 8.8
)

// categoryNames is ordered as COMMAND reports the set: by bit.
var categoryNames = [...]string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string",
	"bitmap", "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow",
	"blocking", "dangerous", "connection", "transaction", "scripting", "array",
}

// CategoryNames returns the names of the ACL categories, in the order of Redis.
func CategoryNames() []string { return slices.Clone(categoryNames[:]) }

// CategoryByName returns the category with this name in any case, 0 when there
// is none.
func CategoryByName(name []byte) Categories {
	for i, s := range categoryNames {
		if equalFold(name, s) {
			return 1 << i
		}
	}
	return 0
}

// implicitACL returns the categories that follow from the flags. Scripts are
// not in "read" although some are read-only: what they read is unknown.
func implicitACL(f Flags, stated Categories) Categories {
	out := stated
	if f&Write != 0 {
		out |= ACLWrite
	}
	if f&ReadOnly != 0 && stated&ACLScripting == 0 {
		out |= ACLRead
	}
	if f&Admin != 0 {
		out |= ACLAdmin | ACLDangerous
	}
	if f&PubSub != 0 {
		out |= ACLPubSub
	}
	if f&Blocking != 0 {
		out |= ACLBlocking
	}
	if f&Fast != 0 {
		return out | ACLFast
	}
	return out | ACLSlow
}
