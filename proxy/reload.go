package proxy

import (
	"slices"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/resp"
	"sluice/proxy/script"
	"sluice/router"
)

// A server that answers EVALSHA with NOSCRIPT has lost the script: it was restarted, or is another one now. If Sluice
// knows the script it is loaded there, with SCRIPT LOAD directly before the client's request, which is retried
// so that order is kept. A second NOSCRIPT is the client's.
//
// A script may end with that very text after it has written, and must not run twice. So the server is asked first, with
// SCRIPT EXISTS on the same connection: it is answered after everything that was sent before it, and if the script
// is not there then, it was not there when the EVALSHA came, or somebody has run SCRIPT FLUSH in between. If it is
// there nobody knows whether it was run; somebody else may just have loaded it. Then the client gets its NOSCRIPT,
// which libraries answer with EVAL.
//
// The script is loaded directly behind the question already, so that whatever the loop sends later finds it, and
// what was sent before shares the answer: a crowd that meets a server without its script is healed as a whole. With
// another loop, or another proxy, that crowd may meet a script that was just loaded.
//
// There is one SCRIPT LOAD for all who have asked on one connection, and one more for each connection that they go to
// instead, however many they are.
type reload struct {
	check    *scriptCheck
	checking bool // the server was asked and has not answered
}

// waits reports whether a retry may not run yet; there may be no reload at all.
func (r *reload) waits() bool { return r != nil && r.checking }

// scriptCheck is a SCRIPT EXISTS in flight, and what is shared by those who wait for it.
type scriptCheck struct {
	loop     *loop
	key      checkKey
	load     []byte          // SCRIPT LOAD in wire form
	loadedOn []*backend.Conn // it was queued there
	reply    []byte
	waiting  []*retry
}

// loadFor is the SCRIPT LOAD to be sent on b first, nil when it was sent already.
func (s *scriptCheck) loadFor(b *backend.Conn) []byte {
	if slices.Contains(s.loadedOn, b) {
		return nil
	}
	s.loadedOn = append(s.loadedOn, b)
	return s.load
}

type checkKey struct {
	conn *backend.Conn
	id   script.ID
}

// healNoScript looks at an error reply to a request that has not been retried. If that is a NOSCRIPT which can be
// healed, it returns true and the client does not see it.
func (c *client) healNoScript(to sink, tag, seq uint32, slot router.Slot, r backend.Reply) bool {
	cmd := c.pipe.at(seq).cmd
	if cmd == nil || scriptKinds[cmd.ID] != scriptSHA || !dialect.NoScript(r.Data) {
		return false
	}
	s, check := c.reload(r.Request, r.Conn)
	if s == nil {
		return false
	}
	d := c.newRetry(to, tag, seq, slot, r.Request)
	d.script = s
	check.waiting = append(check.waiting, d)
	c.addRetry(d)
	return true
}

// healNoScript is the same for a request that is being retried.
func (d *retry) healNoScript(r backend.Reply) bool {
	if d.script != nil || scriptKinds[d.cmd.ID] != scriptSHA || !dialect.NoScript(r.Data) {
		return false
	}
	s, check := d.client.reload(d.raw, r.Conn)
	if s == nil {
		return false
	}
	d.state, d.script = retryIdle, s
	check.waiting = append(check.waiting, d)
	return true
}

// reload finds the script that a request names and asks the server whether it lacks it. It returns nil when the
// script is not known, or the server can't be asked.
func (c *client) reload(raw []byte, b *backend.Conn) (*reload, *scriptCheck) {
	args := splitRequest(raw)
	if len(args) < 2 {
		return nil, nil
	}
	id, ok := script.ParseID(args[1])
	if !ok {
		return nil, nil
	}
	check := c.loop.checkScript(c.pool, b, id)
	if check == nil {
		return nil, nil
	}
	return &reload{check: check, checking: true}, check
}

// checkScript asks a server whether it has a script, if that was not asked already, and loads it behind that; nil
// when that is not possible.
func (l *loop) checkScript(p *Pool, b *backend.Conn, id script.ID) *scriptCheck {
	key := checkKey{b, id}
	if check := l.checks[key]; check != nil {
		return check
	}
	body, ok := p.scripts.Body(id)
	if !ok {
		return nil
	}
	check := &scriptCheck{loop: l, key: key, load: resp.AppendCommand(nil, "SCRIPT", "LOAD", body)}
	l.scratch = resp.AppendCommand(l.scratch[:0], "SCRIPT", "EXISTS", string(id[:]))
	if err := b.Send(l.scratch, check, 0, l.now); err != nil {
		return nil
	}
	if l.checks == nil {
		l.checks = make(map[checkKey]*scriptCheck)
	}
	l.checks[key] = check
	if b.Send(check.load, nil, 0, l.now) == nil {
		check.loadedOn = append(check.loadedOn, b)
	}
	l.markBackend(b)
	return check
}

// Reply implements backend.Owner.
func (s *scriptCheck) Reply(_ uint32, r backend.Reply) {
	s.reply = append(s.reply, r.Data...)
	if r.Last {
		s.done(string(s.reply) == "*1\r\n:0\r\n")
	}
}

// Fail implements backend.Owner.
func (s *scriptCheck) Fail(uint32, backend.Failure) { s.done(false) }

// done lets those go on that have waited.
func (s *scriptCheck) done(lacks bool) {
	delete(s.loop.checks, s.key)
	for _, d := range s.waiting {
		d.checked(lacks)
	}
}

// checked takes the answer to whether a server lacks the script.
func (d *retry) checked(lacks bool) {
	c := d.client
	if c.closed || d.state == retryDone {
		return
	}
	d.script.checking = false
	if lacks {
		c.runRetries()
		return
	}
	d.pass(appendErrorLine(nil, errNoScript), true, true)
}

var _ backend.Owner = (*scriptCheck)(nil)
