package testbed

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports come from below the range the kernel takes for outgoing connections (32768 and up on Linux, 49152
// and up on macOS). A port from inside that range is not safe for a server that goes down and comes back:
// any connection of the machine may take it meanwhile, and a client that redials the dead server on
// loopback can be handed that port as its own and end up connected to itself.
const (
	lowestPort  = 10000
	highestPort = 32767
)

// freePort returns a port nobody listens on now. Somebody may before the caller does: whoever starts a
// server on it must be ready to ask again.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free port in %d-%d: %w", lowestPort, highestPort, last)
}
