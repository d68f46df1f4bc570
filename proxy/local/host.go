package local

import "sluice/proxy/command"

// Client is who asks. A Command calls it on its event loop only.
type Client interface {
	// RESP3 reports whether it speaks RESP3.
	RESP3() bool
	// Pool is the pool that it has connected to.
	Pool() Pool
	// Proxy is this process.
	Proxy() Proxy
}

// Pool is the pool of a client. A Command calls it on an event loop.
type Pool interface {
	// Name is that of the configuration.
	Name() string
	// Commands is what COMMAND reports. Not to be changed.
	Commands() *command.Catalogue
}

// Proxy is this process.
type Proxy struct {
	Version string
	Slow    *SlowLog // of all pools
}
