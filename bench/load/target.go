package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ErrNotLoopback is returned by Run and Dial when the target is not on this machine.
var ErrNotLoopback = errors.New("target is not a loopback address")

const dialTimeout = 5 * time.Second

// parseTarget splits a target into network and address and refuses what is not
// on this machine. Names are not resolved, with the one exception of
// "localhost", which becomes 127.0.0.1: a resolver could point anywhere.
func parseTarget(target string) (network, addr string, err error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return "", "", fmt.Errorf("target %q: no path", target)
		}
		return "unix", path, nil
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(target, "tcp://"))
	if err != nil {
		return "", "", fmt.Errorf("target %q: %w", target, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", "", fmt.Errorf("target %q: %w", target, ErrNotLoopback)
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

// Dial opens one connection to a target: "host:port" or "unix:/path" on this
// machine, or ErrNotLoopback.
func Dial(ctx context.Context, target string) (net.Conn, error) {
	network, addr, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	return dial(ctx, network, addr)
}

// dial opens one connection to a target that parseTarget has accepted.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}
