package backend

import "bytes"

// PushHandler owns a connection that subscribes to channels. There a server says things unasked, so replies can't
// be told by their order: every request on such a connection ends with a PING, whose reply is the reply of the
// request. All other frames, acknowledgements and errors too, go to the PushHandler; those between two PONGs belong
// to the request of the second. Calls come on the loop of the Conn.
//
// No request on such a connection times out before the connection is given up (Options.HungAfter): a server that was
// paused still says what it was about to say.
type PushHandler interface {
	// Up is called when the connection is up. It may Send.
	Up(c *Conn)
	// OnPush takes a frame that is no PONG, or the next part of one. data is valid during the call, and may be
	// written to.
	OnPush(c *Conn, data []byte, first, last bool)
	// Down is called once when a connection that was up is closed.
	Down(c *Conn, err error)
}

// toFeed reports whether data, at the start of a frame or in it, is for the PushHandler.
func (c *Conn) toFeed(data []byte) bool {
	return c.pushes != nil && !c.inPart && (c.inPush || !isPong(data))
}

// kindShown reports whether buf, which begins with a frame, has enough of it for isPong and for what kind of frame it
// is: the names of all kinds are in the first element of an array, and short.
func kindShown(buf []byte) bool {
	const longestStart = 64
	return buf[0] != '*' || len(buf) >= longestStart || bytes.Count(buf, []byte("\n")) >= 3
}

// isPong recognises the reply to a PING without arguments: an array once the connection is subscribed to something.
func isPong(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("*2\r\n$4\r\npong\r\n")) || bytes.HasPrefix(frame, []byte("+PONG\r\n"))
}
