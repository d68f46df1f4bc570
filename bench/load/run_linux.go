package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run does one run and returns what it saw. An error means that the run could
// not be done; failures of single requests are in the result. When ctx ends, the
// run ends early with what it has and the error of ctx.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	network, addr, err := parseTarget(cfg.Target)
	if err != nil {
		return nil, err
	}
	if cfg.Requests > 0 {
		cfg.Warmup = 0
	}

	var stop atomic.Bool
	unhook := context.AfterFunc(ctx, func() { stop.Store(true) })
	defer unhook()

	loops := make([]*loop, 0, cfg.Threads)
	defer func() {
		for _, l := range loops {
			l.close()
		}
	}()
	for i := range cfg.Threads {
		l, err := newLoop(&cfg, i, &stop)
		if err != nil {
			return nil, err
		}
		loops = append(loops, l)
	}
	for i := range cfg.Conns {
		fd, err := dialFD(ctx, network, addr)
		if err != nil {
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, cfg.Conns, err)
		}
		if err := loops[i%cfg.Threads].add(fd, i); err != nil {
			return nil, err
		}
	}

	errs := make([]error, len(loops))
	var wg sync.WaitGroup
	for i, l := range loops {
		wg.Go(func() { errs[i] = l.run() })
	}
	wg.Wait()

	res := newResult(cfg.Rate > 0)
	for _, l := range loops {
		res.merge(l.res)
	}
	return res, errors.Join(append(errs, ctx.Err())...)
}

// dialFD opens a connection and takes it away from the Go runtime's poller,
// because the loops have their own. The descriptor is non-blocking.
func dialFD(ctx context.Context, network, addr string) (int, error) {
	nc, err := dial(ctx, network, addr)
	if err != nil {
		return -1, err
	}
	defer nc.Close()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("connection of type %T has no descriptor", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("connect: %w", err)
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}
