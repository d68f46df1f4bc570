package backend

import "time"

// Options say how to reach the nodes of a pool. Immutable; a reload makes new ones.
type Options struct {
	User     string // ACL user, "" for the default user
	Password string // "" sends no AUTH
	Name     string // CLIENT SETNAME on every connection, with a number behind it
	Cluster  bool   // replicas are read behind READONLY

	DialTimeout    time.Duration // connect and greeting
	RequestTimeout time.Duration // silence of the server since a request is the oldest one
	KeepAlive      time.Duration // TCP keepalive idle time and interval
	UserTimeout    time.Duration // TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged
	ReconnectMin   time.Duration // back-off between dials, doubling
	ReconnectMax   time.Duration
	ProbeInterval  time.Duration // between two health probes of a node

	MaxConnectionAge time.Duration // at which a connection with nothing in flight is replaced, more or less; 0 is never

	BreakerFailures int           // consecutive failures that open the breaker
	BreakerOpen     time.Duration // how long it stays open before a probe may close it

	MaxQueued int // bytes of requests, sent or not, waiting on one connection, at which it takes no more

	MaxDedicated int // connections to one node that belong to one client each, in one process; 0: see Node.MaxDedicated
}

// HungAfter is how long a connection may leave its oldest request unanswered before it is given up. It is
// far longer than the request timeout: a timeout fails the request, and its late reply is swallowed.
func (o *Options) HungAfter() time.Duration { return max(10*time.Second, 5*o.RequestTimeout) }
