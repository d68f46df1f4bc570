// Package keymove finds the keys of a request while their slot moves in Codis' way: each key is at the source still
// or at the target already, and nobody is told when it goes.
//
// A Search is the state machine of one request, with no connection and no clock of its own: it is told what was
// answered, and says what to send and what to do next (Action). The family of the server says how
// (dialect.Family.FindKey):
//
//	codis-server, one key     SLOTSMGRT-EXEC-WRAPPER at the source runs the command, or says where the key is
//	codis-server, otherwise   fence, SLOTSMGRTTAGONE for each key, fence: the first lets the batch that runs end, the
//	                          second one that was started in between (method sync has no batches)
//	Pika, one key, a read     the read and EXISTS at the source: if that finds the key the answer counts, else the
//	                          target is asked
//	Pika, semi-async          the key is left to the background migration, and held until EXISTS says that it has gone:
//	                          Pika sends a DEL for a key that vanishes while it copies it, and an older value after a
//	                          newer. Who has waited for long asks for a round of the background
//	Pika, sync                SLOTSMGRTTAGONE and EXISTS, key by key, and none twice at once (Moves)
//
// Nobody writes to the source of a moving slot, so a key that is not there never comes back (Arrived).
//
// What the loops share, Moves and Progress, is safe for concurrent use; a Search and an Arrived belong to one loop.
package keymove
