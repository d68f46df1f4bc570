//go:build !linux

// Package epoll changes what an epoll instance waits for; there are none here.
package epoll

import "errors"

// Instance is none.
type Instance struct{}

// Find finds none.
func Find(int) (Instance, error) { return Instance{}, errors.ErrUnsupported }

// Valid is false.
func (Instance) Valid() bool { return false }

// Wait fails.
func (Instance) Wait(int, bool, bool) error { return errors.ErrUnsupported }
