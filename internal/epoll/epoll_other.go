//go:build !linux

// Package epoll uses an epoll instance of somebody else; there are none here.
package epoll

import (
	"errors"
	"time"
)

// Instance is none.
type Instance struct{}

// Find finds none.
func Find(int) (Instance, error) { return Instance{}, errors.ErrUnsupported }

// Valid is false.
func (Instance) Valid() bool { return false }

// Wait fails.
func (Instance) Wait(int, bool, bool) error { return errors.ErrUnsupported }

// Poll finds nothing.
func (Instance) Poll(time.Duration) (readable []Event, others bool) { return nil, false }

// Event has the form of the real one.
type Event struct{ Fd int32 }
