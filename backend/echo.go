package backend

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
)

// Replies have no names: the n-th reply on a connection belongs to the n-th request, and a stream that is shifted
// by one gives every client somebody else's data without an error. So the order is checked now and then with an
// ECHO of a number that was never sent before: when a connection is greeted, once a second while it is used, and
// after whatever could have shifted it (requests that timed out). A reply that is not the number ends the
// connection. Built with the tag "echoeach" every request is followed by one.
//
// ECHO and not PING, because Pika takes no argument to PING. A server that does not answer ECHO at the greeting, or not
// any more, is not checked.

// errShifted is the end of a connection on which a reply does not belong to its request.
var errShifted = errors.New("replies do not belong to their requests")

// echoEvery is the time between two checks of a connection that is used.
const echoEvery = int64(time.Second)

// echoCheck is the owner of the ECHOs on one Conn. Owned by the loop.
type echoCheck struct {
	on      bool   // the server answers ECHO
	wanted  bool   // something happened that could have shifted the stream
	shifted bool   // it is
	waiting int    // ECHOs in flight
	late    int    // of them those whose time is over
	base    uint64 // number of the first one
	sent    uint32
	askedAt int64  // loop clock of the last one
	upTo    uint64 // position behind it
	reply   []byte // what has come of a reply
}

// echoSize is the length of the number.
const echoSize = 16

// appendEcho adds the request for a number, and appendEchoed its reply.
func appendEcho(dst []byte, n uint64) []byte {
	return appendEchoed(append(dst, "*2\r\n$4\r\nECHO\r\n"...), n)
}

func appendEchoed(dst []byte, n uint64) []byte {
	return append(appendNumber(append(dst, "$16\r\n"...), n), "\r\n"...)
}

func appendNumber(dst []byte, n uint64) []byte {
	var digits [echoSize]byte
	hex := strconv.AppendUint(digits[:0], n, 16)
	for range echoSize - len(hex) {
		dst = append(dst, '0')
	}
	return append(dst, hex...)
}

// echoNumber is what is sent for a number.
func echoNumber(n uint64) string { return string(appendNumber(nil, n)) }

// checkOrder sends an ECHO when one is due. Called by Tick.
func (c *Conn) checkOrder(now int64) {
	e := &c.echo
	if !e.on || e.waiting > 0 || c.state != stateUp || c.Kind == Dedicated || c.pushes != nil {
		return
	}
	if e.wanted || c.log.end != e.upTo && now-e.askedAt >= echoEvery {
		c.sendEcho(now)
	}
}

func (c *Conn) sendEcho(now int64) {
	e := &c.echo
	if e.sent == 0 {
		e.base = rand.Uint64()
	}
	var buf [64]byte
	c.queue(appendEcho(buf[:0], e.base+uint64(e.sent)), e, e.sent, now)
	e.sent++
	e.waiting++
	e.wanted, e.askedAt, e.upTo = false, now, c.log.end
}

// Reply implements Owner.
func (e *echoCheck) Reply(tag uint32, r Reply) {
	e.reply = append(e.reply, r.Data...)
	if !r.Last && len(e.reply) < 2*echoSize {
		return
	}
	var buf [64]byte
	// An error says nothing: the server may load its data, or not allow ECHO any more. A stream that is shifted shows
	// itself the next time.
	if e.reply[0] != '-' && e.reply[0] != '!' && string(e.reply) != string(appendEchoed(buf[:0], e.base+uint64(tag))) {
		e.shifted = true
	}
	e.reply = e.reply[:0]
	if r.Last {
		e.waiting--
		e.late = max(0, e.late-1) // The oldest come first.
	}
}

// isNumber reports whether a reply is a number that was sent and not answered.
func (e *echoCheck) isNumber(reply []byte) bool {
	if len(reply) != len("$16\r\n\r\n")+echoSize {
		return false
	}
	var buf [64]byte
	for n := e.sent - uint32(e.waiting); n != e.sent; n++ {
		if string(reply) == string(appendEchoed(buf[:0], e.base+uint64(n))) {
			return true
		}
	}
	return false
}

// Fail implements Owner.
func (e *echoCheck) Fail(uint32, Failure) {
	e.waiting--
	e.late = max(0, e.late-1) // The oldest come first.
	e.reply = e.reply[:0]
}

var _ Owner = (*echoCheck)(nil)
