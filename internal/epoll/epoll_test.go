//go:build linux

package epoll

import (
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watched is an epoll instance, one end of a socket pair that it waits for, and what wakes it.
func watched(t *testing.T) (instance, fd, peer, waker int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	instance, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if waker, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range []int{instance, pair[0], pair[1], waker} {
			_ = unix.Close(fd)
		}
	})
	ev := unix.EpollEvent{Fd: int32(pair[0]), Events: unix.EPOLLIN}
	if err := unix.EpollCtl(instance, unix.EPOLL_CTL_ADD, pair[0], &ev); err != nil {
		t.Fatal(err)
	}
	const asGnet = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLET | unix.EPOLLRDHUP
	ev = unix.EpollEvent{Fd: int32(waker), Events: asGnet}
	if err := unix.EpollCtl(instance, unix.EPOLL_CTL_ADD, waker, &ev); err != nil {
		t.Fatal(err)
	}
	return instance, pair[0], pair[1], waker
}

func TestFind(t *testing.T) {
	first, a, _, waker := watched(t)
	second, b, _, _ := watched(t)
	for fd, want := range map[int]int{a: first, b: second} {
		if got, err := Find(fd); err != nil || got.fd != want || !got.Valid() {
			t.Errorf("descriptor %d: instance %v, %v, want %d", fd, got, err, want)
		}
	}
	if i, err := Find(a); int(i.waker.Fd) != waker || i.waker.Events&unix.EPOLLET == 0 {
		t.Errorf("the waker is %+v, %v, want descriptor %d", i.waker, err, waker)
	}
	if err := unix.EpollCtl(first, unix.EPOLL_CTL_DEL, waker, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(a); err == nil || got.Valid() {
		t.Errorf("found %v, which nothing can wake", got)
	}
	if got, err := Find(int(os.Stdin.Fd())); err == nil || got.Valid() {
		t.Errorf("found %v for a descriptor that nobody waits for", got)
	}
}

func TestWait(t *testing.T) {
	poller, fd, peer, _ := watched(t)
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

func TestPoll(t *testing.T) {
	poller, fd, peer, waker := watched(t)
	i, err := Find(fd)
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, readable, others bool) {
		t.Helper()
		for range 2 { // What is not taken is found again.
			got, other := i.Poll(0)
			if len(got) > 1 || len(got) == 1 != readable || readable && got[0].Fd != int32(fd) || other != others {
				t.Errorf("%s: readable %v, others %v, want %v and %v", what, got, other, readable, others)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wake := func() {
		_, err := unix.Write(waker, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		must(err)
	}
	taken := func(want int) { // What the owner of the instance finds.
		t.Helper()
		n, err := unix.EpollWait(poller, make([]unix.EpollEvent, 4), 0)
		if n != want {
			t.Errorf("the owner finds %d events, %v, want %d", n, err, want)
		}
	}
	f("nothing", false, false)
	wake()
	f("woken", false, true)
	taken(1)
	f("the owner knows", false, false) // An edge: nothing is read from the descriptor.
	wake()
	_, err = unix.Write(peer, []byte("x"))
	must(err)
	f("woken, and bytes", true, true)
	taken(2)
	f("bytes", true, false)
	must(i.Wait(fd, false, true))
	f("room to write", false, true)
	must(i.Wait(fd, true, true))
	f("bytes and room to write", false, true)
	must(i.Wait(fd, true, false))
	must(unix.Shutdown(peer, unix.SHUT_WR))
	f("an end behind the bytes", true, false)
	must(unix.Shutdown(peer, unix.SHUT_RDWR))
	f("both ends", false, true)
	if got, others := i.Poll(20 * time.Millisecond); len(got) > 0 || !others {
		t.Error("waited although something was ready")
	}
}
