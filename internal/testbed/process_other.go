//go:build !linux

package testbed

import "syscall"

// childAttr leaves the child in the parent's process group: without a parent death signal the terminal's
// Ctrl-C is what ends it when the parent can't.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// killGroup does nothing: the child shares the group of its parent.
func killGroup(int) {}

// stopped trusts that SIGSTOP takes effect at once: there is no /proc to look at.
func stopped(int) (bool, error) { return true, nil }
