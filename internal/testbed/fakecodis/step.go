package fakecodis

import "sluice/internal/testbed/fake"

// Step is a place in the work of a fake where a fault can be put.
type Step = fake.Step

// The steps of a command.
const (
	// Command is before a command runs, and before it has a thread or the turn of its server.
	Command = fake.Command
	// Reply is after a command has run, before its reply is written. The thread or turn is still held.
	Reply = fake.Reply
)

// The steps of a move. It goes through Read, Send and Delete, once per key: those of SLOTSMGRTTAGONE, -TAGSLOT and
// their synonyms through the Sync ones, those of a batch or of Pika's background thread through the Async ones.
const (
	// SyncRead is before a key is read.
	SyncRead = fake.Own + iota
	// SyncSend is after a key was read, before the target gets it.
	SyncSend
	// SyncDelete is after the target has answered, before the source deletes the key.
	SyncDelete
	// AsyncRead is SyncRead in the background. A list has its DEL sent to the target before it on Pika.
	AsyncRead
	// AsyncSend is SyncSend in the background.
	AsyncSend
	// AsyncExpire is on Pika only: the key is sent, its time to live is not yet read.
	AsyncExpire
	// AsyncWait is after keys were sent, with their times to live, before their replies are read.
	AsyncWait
	// AsyncDelete is SyncDelete in the background, once per key, when the whole batch has been answered.
	AsyncDelete
	// Teardown is on Pika only: the slot is empty, and its background thread has not ended yet. Until it
	// has, batches of other slots are refused, and the wrapper, STATUS and CANCEL wait.
	Teardown
)

// The steps of the replication of a Pika. All but the last are on the replica, and keep it in the state that they
// follow.
const (
	// SlaveConnect is before the master is asked: no_connect.
	SlaveConnect = Teardown + 1 + iota
	// SlaveFullSync is before a full sync begins: try_to_full_sync.
	SlaveFullSync
	// SlaveCopy is when the copy is made, before it replaces the data: syncing_full.
	SlaveCopy
	// SlaveIncr is before the increments are asked for: try_to_incr_sync.
	SlaveIncr
	// SlaveReply is before the answer to that: connecting.
	SlaveReply
	// SlaveReceive is before each record is received: up and behind, which the offsets and the lag show.
	SlaveReceive
	// SlaveApply is before each record is applied: up and behind, which nothing shows.
	SlaveApply
	// MasterServe is before a master answers a replica.
	MasterServe
)

// Hold stops what passes a step until it is released.
type Hold = fake.Hold
