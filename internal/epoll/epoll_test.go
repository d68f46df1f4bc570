//go:build linux

package epoll

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// watched is an epoll instance and one end of a socket pair that it waits for.
func watched(t *testing.T) (instance, fd, peer int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	instance, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range []int{instance, pair[0], pair[1]} {
			_ = unix.Close(fd)
		}
	})
	ev := unix.EpollEvent{Fd: int32(pair[0]), Events: unix.EPOLLIN}
	if err := unix.EpollCtl(instance, unix.EPOLL_CTL_ADD, pair[0], &ev); err != nil {
		t.Fatal(err)
	}
	return instance, pair[0], pair[1]
}

func TestFind(t *testing.T) {
	first, a, _ := watched(t)
	second, b, _ := watched(t)
	for fd, want := range map[int]int{a: first, b: second} {
		if got, err := Find(fd); err != nil || got.fd != want || !got.Valid() {
			t.Errorf("descriptor %d: instance %v, %v, want %d", fd, got, err, want)
		}
	}
	if got, err := Find(int(os.Stdin.Fd())); err == nil || got.Valid() {
		t.Errorf("found %v for a descriptor that nobody waits for", got)
	}
}

func TestWait(t *testing.T) {
	poller, fd, peer := watched(t)
	i, err := Find(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(peer, []byte("x")); err != nil {
		t.Fatal(err)
	}
	f := func(read, write bool, want ...uint32) {
		t.Helper()
		if err := i.Wait(fd, read, write); err != nil {
			t.Fatal(err)
		}
		events := make([]unix.EpollEvent, 4)
		n, err := unix.EpollWait(poller, events, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for _, e := range events[:n] {
			if e.Fd != int32(fd) {
				t.Errorf("an event of %d, want %d", e.Fd, fd)
			}
			got = append(got, e.Events)
		}
		if !slices.Equal(got, want) {
			t.Errorf("read %v, write %v: events %x, want %x", read, write, got, want)
		}
	}
	f(true, false, unix.EPOLLIN)
	f(false, false)
	f(false, true, unix.EPOLLOUT)
	f(true, true, unix.EPOLLIN|unix.EPOLLOUT)
	if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	f(false, false) // The end of the peer's sending is behind what it has sent.
	if err := unix.Shutdown(peer, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	f(false, false, unix.EPOLLHUP)
}
