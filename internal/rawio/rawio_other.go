//go:build !linux

package rawio

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Read is read(2). n is 0 at the end of the stream, and negative when there is an error.
func Read(fd int, p []byte) (n int, errno syscall.Errno) {
	if n, err := unix.Read(fd, p); !errors.As(err, &errno) {
		return n, 0
	}
	return -1, errno
}

func write(fd int, p []byte) int {
	n, _ := unix.Write(fd, p)
	return n
}
