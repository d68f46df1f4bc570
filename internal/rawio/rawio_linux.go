package rawio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read is read(2). n is 0 at the end of the stream, and negative when there is an error.
func Read(fd int, p []byte) (n int, errno unix.Errno) {
	return call(unix.SYS_READ, fd, p)
}

func write(fd int, p []byte) int {
	n, _ := call(unix.SYS_WRITE, fd, p)
	return n
}

func call(number uintptr, fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), 0
}
