// Package control asks servers on behalf of the proxy itself: who owns a slot, who is the master, which commands they know.
// It has the connection and the only reader of whole replies outside the tests; the data path frames its replies with proxy/resp
// and keeps none.
//
// A server may answer anything, and the process has to live through it: a Reader does not recurse, allocates nothing for
// what is only announced, and ends with a LimitError where a reply passes its Limits. Nothing here is called on an event loop.
package control
