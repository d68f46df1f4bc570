//go:build !linux

package peer

import (
	"errors"
	"syscall"
	"time"
)

func childAttr() *syscall.SysProcAttr { return nil }

func processCPU(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

// ThreadCPU is not available here.
func ThreadCPU() time.Duration { return 0 }
