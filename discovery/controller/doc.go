// Package controller decides what happens next to a move of slots from one group to another. It does no I/O and has no
// clock: Next looks at the document of a move and at the world, and says what the document and the topology are to be,
// and what the mover is to do. Whoever calls it writes document and topology in one transaction, so that the two never
// disagree, and a controller that takes over needs nothing else. docs/CONTROLLER.md has the design.
//
// A move goes batch by batch:
//
//	checking --> locking --> copying --> verifying --> settling --> cleaning --> the next batch
//	    |           |           |            |
//	    |           v           v            v
//	    |       unlocking   paused, or    stopped: the two sides differ
//	    v           |       turned back
//	 waiting <------+
package controller
