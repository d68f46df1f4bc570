package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a running child. Immutable after start; its methods are safe for concurrent use.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
}

// startProcess starts a child whose output goes to out. One goroutine belongs to it; it ends when the
// child does, and kill waits for that.
//
// The goroutine keeps its thread for as long as the child lives: Linux sends the parent death signal when
// the thread that forked ends, which need not be the end of the process.
func startProcess(path string, args []string, dir string, out io.Writer) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	return startCommand(cmd, out)
}

// startCommand is startProcess for a command that has more set, such as an environment.
func startCommand(cmd *exec.Cmd, out io.Writer) (*process, error) {
	cmd.Stdout = out
	cmd.Stderr = out
	cmd.SysProcAttr = childAttr()
	cmd.WaitDelay = time.Second // A grandchild (a background save) may still hold the pipe.
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // How it ended is in its output; here it only matters that it has.
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// exited reports whether the child has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s to process %d: %w", sig, p.pid(), err)
	}
	return nil
}

// freeze sends SIGSTOP and returns when it has taken effect.
func (p *process) freeze() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	return poll(ctx, func() error {
		ok, err := stopped(p.pid())
		if err == nil && !ok {
			err = fmt.Errorf("process %d has not stopped yet", p.pid())
		}
		return err
	})
}

// kill ends the child, stopped or not, and waits until it is gone.
func (p *process) kill() error {
	// SIGKILL ends a stopped process too, and without SIGCONT it answers nothing any more.
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}
