//go:build !linux

package load

import (
	"context"
	"errors"
	"fmt"
)

// Run is not available here: the loops are built on epoll and timerfd.
func Run(context.Context, Config) (*Result, error) {
	return nil, fmt.Errorf("load generator: Linux only: %w", errors.ErrUnsupported)
}
