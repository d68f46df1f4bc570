package testbed

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program is a program that is no server of ours: an application, one of its workers, the Sluice under test. Safe for
// concurrent use.
type Program struct {
	name string
	proc *process
	out  transcript
}

// StartProgram starts a program with additions to the environment. It ends with the test, and what it has started with it.
// When the test has failed its output is shown.
func StartProgram(t TB, env []string, path string, args ...string) *Program {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	p := &Program{name: strings.Join(append([]string{path}, args...), " ")}
	proc, err := startCommand(cmd, &p.out)
	if err != nil {
		t.Fatalf("%v", err)
	}
	p.proc = proc
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Errorf("end %s: %v", p.name, err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, p.Output())
		}
	})
	return p
}

// Output is what the program and what it started have printed up to now.
func (p *Program) Output() string { return p.out.String() }

// AwaitOutput waits until the output contains text. A program that has ended says no more.
func (p *Program) AwaitOutput(t TB, text string, within time.Duration) {
	t.Helper()
	Eventually(t, func() error {
		ended := p.proc.exited() // Asked first: what it printed last counts too.
		if strings.Contains(p.Output(), text) {
			return nil
		}
		err := fmt.Errorf("no %q in the output of %s", text, p.name)
		if ended {
			return fatalError{err}
		}
		return err
	}, within)
}

// Wait returns nil when the program ends by itself and without an error before ctx does.
func (p *Program) Wait(ctx context.Context) error {
	select {
	case <-p.proc.done:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", p.name, context.Cause(ctx))
	}
	if state := p.proc.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("%s: %s", p.name, state)
	}
	return nil
}

// Signal sends a signal to the program alone.
func (p *Program) Signal(sig syscall.Signal) error { return p.proc.signal(sig) }

// Kill ends the program and what it has started.
func (p *Program) Kill() error {
	killGroup(p.proc.pid())
	return p.proc.kill()
}

// transcript keeps all that is printed. mu guards the field below it.
type transcript struct {
	mu  sync.Mutex
	buf strings.Builder
}

var _ io.Writer = (*transcript)(nil)

func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
