package peer

import (
	"fmt"
	"net"
)

// freePorts returns loopback addresses that nobody listens on. They are held
// until all are found, so that they differ. Another process may still take one
// before it is used: whoever starts something on them has to be ready to retry.
func freePorts(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}
