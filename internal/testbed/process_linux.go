package testbed

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// childAttr makes the child die with its parent. In a process group of its own it does not get the
// terminal's Ctrl-C: the parent decides when it ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// killGroup ends what a child has started itself and left behind.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // Mostly nothing is left.

// stopped reports whether SIGSTOP has taken effect on a process.
func stopped(pid int) (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, err
	}
	// "pid (name) state …": the name may hold anything, so the state is found from the last parenthesis.
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return ok && bytes.HasPrefix(rest, []byte("T")), nil
}
