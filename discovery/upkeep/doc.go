// Package upkeep gives masters what clients have given all masters of a pool: the parameters of CONFIG SET, to one
// that is new or was restarted; functions, to one that has none. It looks whether the parameters are still what they
// were.
//
// A parameter may be changed by others: by an operator at the servers, by clients of another Sluice. Setting it again
// each time would have two Sluices fight for it, so a change that all masters show is taken over, and one that only
// some show is named as a problem and left to people. Only a process that did not have the parameters before, or
// can't be told from the one before, gets them.
package upkeep
