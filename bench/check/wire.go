package check

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"sluice/bench/load"
)

// wire is a RESP2 connection that is dialled again when it was lost. Used by one
// goroutine, other than hurry.
type wire struct {
	addr string
	out  []byte
	in   []byte // received and not consumed

	mu sync.Mutex
	nc net.Conn // nil: not connected
}

func (w *wire) connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nc != nil
}

func (w *wire) dial(ctx context.Context) error {
	nc, err := load.Dial(ctx, w.addr)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nc, w.in, w.out = nc, w.in[:0], w.out[:0]
	return nil
}

func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nc != nil {
		w.nc.Close()
		w.nc = nil
	}
}

// deadline bounds the exchange that follows.
func (w *wire) deadline(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nc != nil {
		_ = w.nc.SetDeadline(t) // A connection without one fails at its next use.
	}
}

// add queues a command.
func (w *wire) add(args ...string) {
	w.out = append(w.out, '*')
	w.out = strconv.AppendInt(w.out, int64(len(args)), 10)
	w.out = append(w.out, '\r', '\n')
	for _, a := range args {
		w.out = append(w.out, '$')
		w.out = strconv.AppendInt(w.out, int64(len(a)), 10)
		w.out = append(w.out, '\r', '\n')
		w.out = append(w.out, a...)
		w.out = append(w.out, '\r', '\n')
	}
}

// flush writes what was queued.
func (w *wire) flush() error {
	_, err := w.nc.Write(w.out)
	w.out = w.out[:0]
	return err
}

// read waits for the next reply. It is valid until consume.
func (w *wire) read() (n int, r load.Reply, err error) {
	for {
		n, r, err = load.Frame(w.in)
		if n > 0 || err != nil {
			return n, r, err
		}
		if len(w.in) == cap(w.in) {
			bigger := make([]byte, len(w.in), max(4096, 2*cap(w.in)))
			copy(bigger, w.in)
			w.in = bigger
		}
		got, err := w.nc.Read(w.in[len(w.in):cap(w.in)])
		w.in = w.in[:len(w.in)+got]
		if err != nil && got == 0 {
			return 0, load.Reply{}, err
		}
	}
}

// consume drops the reply of n bytes that read returned.
func (w *wire) consume(n int) {
	w.in = w.in[:copy(w.in, w.in[n:])]
}

// exchange sends commands and hands their replies to each, in order.
func (w *wire) exchange(commands [][]string, each func(i int, r load.Reply)) error {
	for _, c := range commands {
		w.add(c...)
	}
	if err := w.flush(); err != nil {
		return err
	}
	for i := range commands {
		n, r, err := w.read()
		if err != nil {
			return err
		}
		each(i, r)
		w.consume(n)
	}
	return nil
}

// elements returns the bulk strings of an array; null is the empty string.
func elements(r load.Reply) ([]string, error) {
	if r.Kind != '*' || r.Null {
		return nil, fmt.Errorf("type %q, want an array", r.Kind)
	}
	out := make([]string, 0, r.Elements)
	rest := r.Body
	for range r.Elements {
		n, e, err := load.Frame(rest)
		if err != nil || n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if e.Kind != '$' {
			return nil, fmt.Errorf("an element of type %q: %.60s", e.Kind, e.Body)
		}
		out = append(out, string(e.Body))
		rest = rest[n:]
	}
	return out, nil
}

// bulk returns a bulk string; null is the empty string.
func bulk(r load.Reply) (string, error) {
	if r.Kind != '$' {
		return "", fmt.Errorf("type %q, want a bulk string", r.Kind)
	}
	return string(r.Body), nil
}

// integer returns an integer, also one that GET returned.
func integer(r load.Reply, kind byte) (int64, error) {
	if r.Kind != kind || r.Null {
		return 0, fmt.Errorf("type %q, want %q", r.Kind, kind)
	}
	n, err := strconv.ParseInt(string(r.Body), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("no integer: %.60q", r.Body)
	}
	return n, nil
}
