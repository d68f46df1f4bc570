// Package epoll uses an epoll instance that belongs to somebody else, gnet: it changes what the instance waits for,
// since gnet has no way to leave bytes in a socket, and it waits with it, since gnet says neither how many sockets are
// ready nor how to wait for them.
package epoll

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Instance is an epoll instance of this process in which the data of a descriptor is its number, and all descriptors
// are level-triggered but for one, by which the owner of the instance is woken, as in gnet. The zero value is none.
type Instance struct {
	fd     int
	waker  unix.EpollEvent // what the instance waits for on the descriptor that is edge-triggered
	events *[maxEvents]unix.EpollEvent
}

// maxEvents is how many events Poll finds at most.
const maxEvents = 128

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
		if err != nil {
			continue
		}
		i := Instance{fd: n, events: new([maxEvents]unix.EpollEvent)}
		if found := i.parse(info, fd); found && i.waker.Events == 0 {
			return Instance{}, fmt.Errorf("the epoll instance that waits for descriptor %d has no edge-triggered one", fd)
		} else if found {
			return i, nil
		}
	}
	return Instance{}, fmt.Errorf("no epoll instance waits for descriptor %d", fd)
}

// parse finds the waker in info, the fdinfo of the instance, and reports whether there is a line for fd, with fd as its
// data:
//
//	tfd:        4 events:       19 data:                4  pos:0 ino:59e502 sdev:f
func (i *Instance) parse(info []byte, fd int) (found bool) {
	for s := bufio.NewScanner(bytes.NewReader(info)); s.Scan(); {
		var target int
		var events, data uint64
		n, _ := fmt.Sscanf(s.Text(), "tfd: %d events: %x data: %x", &target, &events, &data)
		if n != 3 || data != uint64(target) {
			continue
		}
		found = found || target == fd
		if events&unix.EPOLLET != 0 {
			i.waker = unix.EpollEvent{Fd: int32(target), Events: uint32(events)}
		}
	}
	return found
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

// Poll waits until something is ready, d has passed, or a signal comes. It returns the sockets from which there is
// something to read, or nothing more, and whether anything else is ready; what it returns is valid until the next call.
// The owner of the instance finds the same again.
//
// It is a raw system call: the Go scheduler does not know that the goroutine waits. One goroutine at a time may call
// it.
func (i Instance) Poll(d time.Duration) (readable []unix.EpollEvent, others bool) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(i.fd), uintptr(unsafe.Pointer(i.events)), maxEvents,
		uintptr(d.Milliseconds()), 0, 0)
	if errno != 0 {
		return nil, false
	}
	readable = i.events[:0]
	for _, ev := range i.events[:n] {
		switch {
		case ev.Fd == i.waker.Fd:
			// An edge is reported once; to say again what is waited for brings it back.
			_ = unix.EpollCtl(i.fd, unix.EPOLL_CTL_MOD, int(i.waker.Fd), &i.waker)
			others = true
		case ev.Events == unix.EPOLLIN:
			readable = append(readable, ev)
		default:
			others = true
		}
	}
	return readable, others
}
