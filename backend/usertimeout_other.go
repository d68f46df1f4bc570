//go:build !linux

package backend

import (
	"net"
	"time"
)

// setUserTimeout does nothing: TCP_USER_TIMEOUT is an option of Linux.
func setUserTimeout(net.Conn, time.Duration) error { return nil }
