package peer

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a process may take to end by itself after SIGTERM.
const stopGrace = 3 * time.Second

// Process is a running child. It is ended by its pid and by nothing else.
// Safe for concurrent use.
type Process struct {
	name    string
	cmd     *exec.Cmd
	logPath string

	over chan struct{} // closed when the process has ended
	err  error         // why it ended; read after over
}

// start runs bin in dir with its output in a file there. The process is in a
// group of its own, so that a Ctrl-C reaches only us and we end it in order, and
// the kernel ends it should we die.
func start(name, dir, bin string, args ...string) (*Process, error) {
	p := &Process{name: name, logPath: filepath.Join(dir, "output.log"), over: make(chan struct{})}
	out, err := os.Create(p.logPath)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(bin, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = childAttr()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(bin), err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.over)
	}()
	return p, nil
}

// Spin starts n processes that do nothing but take CPU time.
func Spin(root string, n int) ([]*Process, error) {
	var all []*Process
	for range n {
		p, err := start("spinner", root, "/bin/sh", "-c", "while :; do :; done")
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Over is closed when the process has ended, by itself or by Stop.
func (p *Process) Over() <-chan struct{} { return p.over }

// Pause stops the process in its tracks, until Resume. What it is sent meanwhile waits in the kernel.
func (p *Process) Pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Process) Resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Stop asks the process to end, insists after a while, and returns when it has.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	p.Resume()
	select {
	case <-p.over:
	case <-time.After(stopGrace):
		_ = p.cmd.Process.Kill()
		<-p.over
	}
}

// obituary says how the process ended, with the last line it wrote.
func (p *Process) obituary() error {
	<-p.over
	how := "ended"
	if p.err != nil {
		how = p.err.Error()
	}
	if line := p.lastLine(); line != "" {
		return fmt.Errorf("%s: %s: %s", p.name, how, line)
	}
	return fmt.Errorf("%s: %s", p.name, how)
}

// lastLine returns the last line of the process' output, without the paths of
// the working directory.
func (p *Process) lastLine() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return ""
	}
	text = bytes.TrimSpace(text)
	line := string(text[bytes.LastIndexByte(text, '\n')+1:])
	line = strings.ReplaceAll(line, filepath.Dir(p.logPath)+string(filepath.Separator), "")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "?")
}
