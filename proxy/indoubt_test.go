package proxy

import (
	"errors"
	"testing"

	"sluice/internal/testbed"
)

// A write that timed out may still be run. What its client asks next does not overtake it on another connection: one of the
// other RESP version, of another database, or one of its own.
func TestNothingOvertakesAWriteInDoubt(t *testing.T) {
	t.Parallel()
	f := func(name string, change ...string) {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			server := startFake(t, func(c *scriptedConn, args []string) {
				if args[0] == "SET" && args[2] == "1" {
					c.wait(release)
				}
				c.reply("+OK\r\n")
			}, func(f *fakeBackend) { f.greetings["HELLO"] = resp3Greeting })
			p := startProxy(t, codisModel, evenly(codisModel, server.addr()), faultOptions(nil))
			c := p.dial(t)
			c.request("SET", "k", "1")
			server.await(t, 1, "SET k 1")
			p.setTimeout(shortTimeout)
			c.wantReply(writeTimeoutText(server.addr()))
			p.setTimeout(never)
			c.request(change...)
			c.request("SET", "k", "2")
			testbed.Eventually(t, func() error {
				err := errors.New("the client does not wait")
				p.onEachLoop(p.ctx, func(l *loop) {
					for _, c := range l.clients {
						if c.stall == stallDrain && len(c.in) > 0 {
							err = nil
						}
					}
				})
				return err
			}, replyWait)
			if n := server.count("SET k 2"); n != 0 {
				t.Error("SET k 2 has overtaken SET k 1")
			}
			close(release)
			if reply := c.reply(); reply[0] == '-' {
				t.Errorf("%q: %q", change, reply)
			}
			c.wantReply("+OK\r\n")
		})
	}
	f("HELLO", "HELLO", "3")
	f("SELECT", "SELECT", "1")
	f("WATCH", "WATCH", "k")
	f("BLPOP", "BLPOP", "k", "1")
	f("RESET", "RESET")
}
