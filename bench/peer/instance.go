package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sluice/bench/load"
)

const (
	startTries  = 3
	readyLimit  = 15 * time.Second
	readyPeriod = 50 * time.Millisecond
	probeKeys   = 64
)

// Instance is a running server or proxy that answers requests.
type Instance struct {
	*Process
	// Name is that of the kind, or of the server.
	Name string
	// Program is the path of the executable.
	Program string
	// Addr takes requests. Admin is where a proxy has its own interface, if any.
	Addr, Admin string
}

// Launch starts a proxy of this kind over the servers, in a new directory below
// root, and waits until it answers for keys all over the key space.
func (k Kind) Launch(ctx context.Context, root string, servers []Server) (*Instance, error) {
	bin, err := k.locate()
	if err != nil {
		return nil, err
	}
	return launch(ctx, root, k.Name, bin, func(dir, listen, admin string) ([]string, error) {
		s := setup{Dir: dir, Listen: listen, Admin: admin, Servers: shareSlots(servers)}
		if err := k.render(&s); err != nil {
			return nil, err
		}
		return k.args(s)
	})
}

// prepareFunc writes what a program needs into dir and returns its arguments.
type prepareFunc func(dir, listen, admin string) ([]string, error)

// launch starts a program and waits until it answers. A port may be taken between
// finding and using it, so a program that ends at once gets other ones.
func launch(ctx context.Context, root, name, bin string, prepare prepareFunc) (*Instance, error) {
	var err error
	for range startTries {
		var in *Instance
		if in, err = launchOnce(ctx, root, name, bin, prepare); err == nil {
			return in, nil
		}
		var exited *exitedError
		if !errors.As(err, &exited) {
			return nil, err
		}
	}
	return nil, err
}

// exitedError marks a program that ended before it was ready.
type exitedError struct{ err error }

func (e *exitedError) Error() string { return e.err.Error() }
func (e *exitedError) Unwrap() error { return e.err }

func launchOnce(ctx context.Context, root, name, bin string, prepare prepareFunc) (*Instance, error) {
	dir, err := os.MkdirTemp(root, name+"-")
	if err != nil {
		return nil, err
	}
	addrs, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	args, err := prepare(dir, addrs[0], addrs[1])
	if err != nil {
		return nil, err
	}
	p, err := start(name, dir, bin, args...)
	if err != nil {
		return nil, err
	}
	in := &Instance{Process: p, Name: name, Program: bin, Addr: addrs[0], Admin: addrs[1]}
	if err := in.waitReady(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return in, nil
}

// waitReady asks for keys until every one gets an answer that is no error.
func (in *Instance) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	probe := load.Default()
	probe.Target = in.Addr
	probe.Conns, probe.Depth = 1, probeKeys
	probe.Requests = probeKeys
	probe.Limit, probe.DrainLimit = time.Second, time.Second

	ticker := time.NewTicker(readyPeriod)
	defer ticker.Stop()
	for {
		res, err := load.Run(ctx, probe)
		if err == nil && res.Failures() == 0 {
			return nil
		}
		if err == nil {
			err = errors.New("no reply")
			if texts := res.ErrorTexts(); len(texts) > 0 {
				err = errors.New(texts[0])
			}
		}
		select {
		case <-in.Over():
			return &exitedError{in.obituary()}
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready after %s: %w", in.Name, readyLimit, err)
		case <-ticker.C:
		}
	}
}

// Alive returns nil while the process runs, and how it ended after that.
func (in *Instance) Alive() error {
	select {
	case <-in.Over():
		return in.obituary()
	default:
		return nil
	}
}
