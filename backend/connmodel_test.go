package backend

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelRequest is a request of the model and its owner.
type modelRequest struct {
	id      int
	request []byte
	start   int64
	sent    bool // all of it was written

	reply   []byte // what came of it
	done    bool   // the reply is whole
	failure *Failure
	calls   int // final ones; more than one is a mistake
}

func (r *modelRequest) Reply(_ uint32, p Reply) {
	if p.First && !bytes.Equal(p.Request, r.request) {
		r.calls += 100 // Somebody else's request.
	}
	r.reply = append(r.reply, p.Data...)
	if p.Last {
		r.done = true
		r.calls++
	}
}

func (r *modelRequest) Fail(_ uint32, f Failure) {
	r.failure = &f
	r.calls++
}

// want is the reply that the server of the model gives.
func (r *modelRequest) want() []byte { return fmt.Appendf(nil, "*2\r\n:%d\r\n$5\r\nhello\r\n", r.id) }

// connModel drives a Conn and knows what has to come out: each request has one outcome, its own.
type connModel struct {
	t      *testing.T
	conn   *Conn
	socket *testSocket
	now    int64

	all      []*modelRequest
	written  int    // bytes that the socket got
	owed     []byte // what the server has yet to send
	served   int    // requests that owed has begun to answer
	progress int64  // when a part of a reply came, or a tick found less in the socket
	received int64  // when a part of a reply came
	buffered int    // in the socket at the last tick
}

// begin begins anew with a connection of its own.
func (m *connModel) begin() {
	opts := testOptions()
	opts.MaxQueued = math.MaxInt
	c, socket, _ := connOn(m.t, opts)
	*m = connModel{t: m.t, conn: c, socket: socket, now: m.now + 1}
	socket.write = func(p []byte) (int, error) {
		m.written += len(p)
		return len(p), nil
	}
}

func (m *connModel) send(t *rapid.T) {
	r := &modelRequest{id: len(m.all), start: m.now}
	r.request = bytes.Repeat([]byte{byte(r.id)}, rapid.SampledFrom([]int{1, 40, chunkSize - 1, chunkSize + 1}).Draw(t, "size"))
	if err := m.conn.Send(r.request, r, 0, m.now); err != nil {
		t.Fatal(err)
	}
	m.all = append(m.all, r)
}

// flush lets the socket take what it takes, and marks what has left.
func (m *connModel) flush(t *rapid.T) {
	m.socket.buffered = 0
	if rapid.Bool().Draw(t, "busy") {
		m.socket.buffered = 1
	}
	m.conn.Flush()
	end := 0
	for _, r := range m.all {
		end += len(r.request)
		r.sent = end <= m.written
	}
}

// serve makes the server answer some of what it got, cut anywhere.
func (m *connModel) serve(t *rapid.T) {
	for ; m.served < len(m.all) && m.all[m.served].sent && rapid.IntRange(0, 3).Draw(t, "answer") > 0; m.served++ {
		m.owed = append(m.owed, m.all[m.served].want()...)
	}
	n := rapid.IntRange(0, len(m.owed)).Draw(t, "bytes")
	if n == 0 {
		return
	}
	if err := m.conn.Receive(bytes.Clone(m.owed[:n]), m.now); err != nil {
		t.Fatal(err)
	}
	m.owed = m.owed[n:]
	m.progress, m.received = m.now, m.now
}

func (m *connModel) tick(t *rapid.T) {
	m.now += int64(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 400 * time.Millisecond, time.Second}).Draw(t, "time"))
	if m.socket.buffered < m.buffered {
		m.progress = m.now
	}
	m.buffered = m.socket.buffered
	timeout := int64(testOptions().RequestTimeout)
	late := slices.ContainsFunc(m.all, func(r *modelRequest) bool { return !r.sent && m.now-r.start > timeout })
	stuck := late && m.now-m.progress > timeout
	hung := slices.ContainsFunc(m.all, func(r *modelRequest) bool {
		return !r.done && m.now-max(r.start, m.received) >= int64(m.conn.Node.Options().HungAfter())
	})
	ok := m.conn.Tick(m.now)
	if ok && (stuck || hung) || !ok && !late && !hung {
		t.Fatalf("late: %v, stuck: %v, hung: %v, kept: %v", late, stuck, hung, ok)
	}
	if !ok {
		m.end(t)
		m.begin()
		return
	}
	for _, r := range m.all {
		late, still := m.now-r.start > timeout, m.now-m.progress > timeout
		timedOut := r.failure != nil
		if !r.done && (timedOut && !late || !timedOut && late && still) {
			t.Fatalf("request %d of age %s: timed out %v", r.id, time.Duration(m.now-r.start), timedOut)
		}
	}
}

func (m *connModel) check(t *rapid.T) {
	for _, r := range m.all {
		if r.calls > 1 {
			t.Fatalf("request %d had %d outcomes", r.id, r.calls)
		}
		if !bytes.HasPrefix(r.want(), r.reply) || r.done && len(r.reply) != len(r.want()) {
			t.Fatalf("request %d got %q", r.id, r.reply)
		}
		if f := r.failure; f != nil && (f.Cut != (len(r.reply) > 0) || !errors.Is(f.Err, ErrTimeout)) {
			t.Fatalf("request %d with %q of its reply: %+v", r.id, r.reply, *f)
		}
	}
}

// end closes the connection: whoever has no outcome yet gets one, which says whether the request has left.
func (m *connModel) end(t *rapid.T) {
	lost := errors.New("lost")
	before := make([]int, len(m.all))
	for i, r := range m.all {
		before[i] = r.calls
	}
	m.conn.Close(lost)
	for i, r := range m.all {
		if r.calls != 1 {
			t.Fatalf("request %d had %d outcomes in the end", r.id, r.calls)
		}
		if before[i] == 1 {
			continue
		}
		f := r.failure
		if f == nil || !errors.Is(f.Err, lost) || f.Sent != r.sent || f.Cut != (len(r.reply) > 0) || !bytes.Equal(f.Request, r.request) {
			t.Fatalf("request %d, sent %v: %.100q", r.id, r.sent, fmt.Sprintf("%+v", f))
		}
	}
	if m.conn.Queued() != 0 || m.conn.InFlight() != 0 {
		t.Fatalf("%d bytes, %d requests are left", m.conn.Queued(), m.conn.InFlight())
	}
}

// A connection under any interleaving of sending, writing, replies in pieces, timeouts and its end.
func TestConnModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &connModel{t: t}
		m.begin()
		rt.Repeat(map[string]func(*rapid.T){
			"send": m.send, "flush": m.flush, "serve": m.serve, "tick": m.tick, "": m.check,
		})
		m.end(rt)
	})
}
