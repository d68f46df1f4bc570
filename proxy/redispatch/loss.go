package redispatch

import "time"

// Loss is a request whose connection was lost, or whose answer did not come in time.
type Loss struct {
	Sent     bool // a byte of it may have reached the server
	TimedOut bool // the connection stands, but the answer has not come
	Kept     bool // its bytes are still there
	// Reads says that it only reads, and that its client has asked for no write behind it, which it would see.
	Reads bool
	// Paused says that the server lets its clients wait (CLIENT PAUSE).
	Paused bool
	// Elsewhere reports whether a read is better asked elsewhere, or later: the server is more than slow, or another one
	// may serve it. It is called only if that matters.
	Elsewhere func() bool
	Waited    time.Duration // since its client has sent it
	Timeout   time.Duration // of a request at the server
	MaxWait   time.Duration // hold.max_wait
}

// MayGoAgain reports whether the request may run once more: its time is not over, and no byte of it has left, or it
// only reads.
func (l Loss) MayGoAgain() bool {
	if !l.Kept || l.Sent && !l.Reads {
		return false
	}
	return l.Waited < l.patience()
}

func (l Loss) patience() time.Duration {
	switch {
	case !l.Sent && l.Paused:
		return l.Timeout + l.MaxWait
	case !l.Sent:
		return max(l.Timeout, l.MaxWait)
	case l.TimedOut && l.Elsewhere():
		return l.Timeout + l.MaxWait
	}
	return l.Timeout
}

// Once reports whether it may be sent again no more than once. What never left may be held.
func (l Loss) Once() bool { return l.Sent || l.MaxWait == 0 }
