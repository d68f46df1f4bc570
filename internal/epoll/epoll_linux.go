// Package epoll changes what an epoll instance that belongs to somebody else waits for. gnet has no way to leave bytes
// in a socket: what comes is read, whether there is room for it or not.
package epoll

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Instance is an epoll instance of this process, level-triggered, in which the data of a descriptor is its number, as
// in gnet. The zero value is none.
type Instance struct{ fd int }

// Find returns the instance that waits for fd. It goes through the descriptors of the process, so it is for the start
// only. What an instance waits for stands in /proc/self/fdinfo (proc_pid_fdinfo(5)).
func Find(fd int) (Instance, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Instance{}, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || to != "anon_inode:[eventpoll]" {
			continue // Closed meanwhile, or something else.
		}
		info, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", e.Name()))
		if err == nil && watches(info, fd) {
			return Instance{fd: n}, nil
		}
	}
	return Instance{}, fmt.Errorf("no epoll instance waits for descriptor %d", fd)
}

// watches reports whether info, the fdinfo of an epoll instance, has a line for fd with fd as its data:
//
//	tfd:        4 events:       19 data:                4  pos:0 ino:59e502 sdev:f
func watches(info []byte, fd int) bool {
	for s := bufio.NewScanner(bytes.NewReader(info)); s.Scan(); {
		var target int
		var events, data uint64
		n, _ := fmt.Sscanf(s.Text(), "tfd: %d events: %x data: %x", &target, &events, &data)
		if n == 3 && target == fd && data == uint64(fd) {
			return true
		}
	}
	return false
}

// Valid reports whether there is an instance.
func (i Instance) Valid() bool { return i.fd > 0 }

// Wait says what the instance waits for on fd. It always reports errors and the end of both directions, too.
func (i Instance) Wait(fd int, read, write bool) error {
	var events uint32
	if read {
		events |= unix.EPOLLIN | unix.EPOLLPRI
	}
	if write {
		events |= unix.EPOLLOUT
	}
	ev := unix.EpollEvent{Fd: int32(fd), Events: events}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(i.fd, unix.EPOLL_CTL_MOD, fd, &ev))
}
