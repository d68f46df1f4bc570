package proxy

import (
	"bytes"
	"testing"
)

// A request is answered once, when all parts have an outcome: with what is made of the replies, or with the first
// error. What has come is counted as held until then.
func TestGathering(t *testing.T) {
	f := func(name, want string, parts ...func(*gathering)) {
		t.Helper()
		c := newDataPath(t).client
		var merged []byte
		g := &gathering{client: c, seq: c.begin(nil, anySlot)}
		done := 0
		g.done = func() {
			done++
			g.conclude(func(replies [][]byte) []byte {
				merged = bytes.Join(replies, nil)
				return okReply
			})
			if g.failed != nil {
				merged = g.failed
			}
		}
		g.expect(len(parts))
		for i, part := range parts {
			if done != 0 {
				t.Errorf("%s: answered before part %d", name, i)
			}
			part(g)
		}
		if done != 1 || string(merged) != want || c.held != 0 || !c.pipe.empty() {
			t.Errorf("%s: answered %d times with %q, %d bytes held", name, done, merged, c.held)
		}
	}
	reply := func(at uint32, data ...string) func(*gathering) {
		return func(g *gathering) {
			before := g.client.held
			g.add(at, []byte("dropped"))
			g.drop(at)
			for _, part := range data {
				g.add(at, []byte(part))
				before += len(part)
			}
			if g.client.held != before {
				t.Errorf("%d bytes held, want %d", g.client.held, before)
			}
			g.whole(at)
		}
	}
	lost := func(text string) func(*gathering) { return func(g *gathering) { g.fail(text) } }
	f("one", "+a\r\n", reply(0, "+a\r\n"))
	f("in pieces, in any order", "+a\r\n+b\r\n", reply(1, "+", "b\r\n"), reply(0, "+a\r\n"))
	f("an error", "-ERR a\r\n", reply(0, "-ERR a\r\n"), reply(1, "+b\r\n"))
	f("two errors", "-ERR b\r\n", reply(0, "+a\r\n"), reply(1, "-ERR b\r\n"), lost("ERR c"))
	f("lost", "-ERR a\r\n", lost("ERR a"), reply(1, "-ERR b\r\n"), lost("ERR c"))
}
