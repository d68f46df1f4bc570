package local

import (
	"net"

	"sluice/proxy/command"
)

// Client is who asks. A Command calls it on its event loop only.
type Client interface {
	// RESP3 reports whether it speaks RESP3.
	RESP3() bool
	// Peer says which client it is.
	Peer() Peer
	// Identity is what it has said of itself; commands change it.
	Identity() *Identity
	// Describe is what CLIENT INFO shows of it.
	Describe() Description
	// Wish takes an attribute of CLIENT SETINFO that is Sluice's own. known is false for any other; refusal says what
	// is wrong, "" when it is done.
	Wish(attribute, value string) (refusal string, known bool)
	// Pool is the pool that it has connected to.
	Pool() Pool
	// Proxy is this process.
	Proxy() Proxy
}

// Peer says which client it is, as far as CLIENT LIST and CLIENT KILL choose by it.
type Peer struct {
	ID        int64
	Type      string // TypeNormal or TypePubSub
	Addr      string // where it comes from: host:port, or the path of a unix socket
	LocalAddr string // where it has connected to
	User      string
	Known     bool // it has authenticated, or need not
}

// Types of clients, in Redis' words. Nobody replicates from Sluice.
const (
	TypeNormal = "normal"
	TypePubSub = "pubsub"
)

// Pool is the pool of a client. A Command calls it on an event loop.
type Pool interface {
	// Name is that of the configuration.
	Name() string
	// Users are those of the pool in force; nobody has to authenticate when there are none.
	Users() []User
	// Commands is what COMMAND reports. Not to be changed.
	Commands() *command.Catalogue
	// EmulatesCluster reports whether the pool is shown as a cluster of one node.
	EmulatesCluster() bool
	// Ready reports whether the pool has a topology that serves.
	Ready() bool
	// Addrs are those that the pool listens on.
	Addrs() []net.Addr
}

// Proxy is this process.
type Proxy struct {
	ID      string
	Version string
	Slow    *SlowLog // of all pools
}
