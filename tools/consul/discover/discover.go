// Package discover stands in for github.com/hashicorp/go-discover when Consul is built for our tests. That
// library finds servers to join through the APIs of a dozen clouds, whose SDKs take longer to compile than
// the rest of Consul. Here are the names that Consul 1.9.17 uses, and no provider behind them:
// `retry_join = ["provider=..."]` is an error, addresses work as ever.
package discover

import (
	"errors"
	"log"
)

// Provider has the name that Consul needs for the type of a map.
type Provider any

// Providers is empty: nothing can be discovered.
var Providers map[string]Provider

// Discover knows no provider.
type Discover struct{}

// Option changes nothing.
type Option func(*Discover) error

// New returns a Discover that finds nothing, whatever the options.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithUserAgent returns an option that changes nothing.
func WithUserAgent(string) Option { return nil }

// WithProviders returns an option that changes nothing.
func WithProviders(map[string]Provider) Option { return nil }

// Names lists the providers: none.
func (*Discover) Names() []string { return nil }

// Addrs always fails.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errors.New("this Consul is built without cloud auto-join: use addresses")
}
