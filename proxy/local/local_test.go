package local

import (
	"net"
	"strings"
	"testing"

	"sluice/proxy/command"
)

// testClient asks a pool of its own.
type testClient struct {
	resp3 bool
	peer  Peer
	id    Identity
	proxy Proxy
	testPool
}

func (c *testClient) RESP3() bool         { return c.resp3 }
func (c *testClient) Peer() Peer          { return c.peer }
func (c *testClient) Identity() *Identity { return &c.id }
func (c *testClient) Describe() Description {
	return Description{Peer: c.peer, Identity: c.id, Multi: -1, FD: -1}
}
func (c *testClient) Wish(attribute, value string) (refusal string, known bool) {
	if attribute != "sluice-reads" {
		return "", false
	}
	if value == "master" {
		return "", true
	}
	return "ERR no", true
}
func (c *testClient) Pool() Pool   { return &c.testPool }
func (c *testClient) Proxy() Proxy { return c.proxy }

func newTestClient() *testClient {
	return &testClient{proxy: Proxy{ID: "ab12", Version: "1.2.3", Slow: new(SlowLog)}}
}

type testPool struct {
	users    []User
	commands command.Catalogue
	cluster  bool
	ready    bool
	addrs    []net.Addr
}

func (p *testPool) Name() string                 { return "test" }
func (p *testPool) Users() []User                { return p.users }
func (p *testPool) EmulatesCluster() bool        { return p.cluster }
func (p *testPool) Ready() bool                  { return p.ready }
func (p *testPool) Addrs() []net.Addr            { return p.addrs }
func (p *testPool) Commands() *command.Catalogue { return &p.commands }

// do runs a command, given in words.
func (c *testClient) do(line string) string {
	args := strings.Fields(line)
	name := strings.ToLower(args[0])
	if cmd := command.Resolve(bytesOf(args)); cmd != nil {
		name = cmd.Name
	}
	return string(Commands[name](nil, c, bytesOf(args)))
}

func bytesOf(args []string) (out [][]byte) {
	for _, arg := range args {
		out = append(out, []byte(arg))
	}
	return out
}

// want runs a command and compares its reply.
func (c *testClient) want(t *testing.T, reply, line string) {
	t.Helper()
	if got := c.do(line); got != reply {
		t.Errorf("%s: %q, want %q", line, got, reply)
	}
}

// Every command of the table is one that Redis has, and has its arguments.
func TestCommandsAreThoseOfTheTable(t *testing.T) {
	c := newTestClient()
	for name, run := range Commands {
		cmd := command.LookupFull([]byte(name))
		if cmd == nil {
			t.Errorf("%s is no command", name)
			continue
		}
		args := strings.Split(name, "|")
		for len(args) < -cmd.Arity || len(args) < cmd.Arity {
			args = append(args, "x")
		}
		reply := string(run([]byte("before"), c, bytesOf(args)))
		if !strings.HasPrefix(reply, "before") || len(reply) < 10 {
			t.Errorf("%s: %q", args, reply)
		}
	}
}

func TestHelpHasEverySubcommandOnce(t *testing.T) {
	c := newTestClient()
	c.cluster = true
	for container, text := range helpTexts {
		reply := c.do(container + " help")
		if !strings.HasPrefix(reply, "*") || strings.Count(reply, "\r\n+HELP\r\n") != 1 ||
			!strings.HasSuffix(reply, " this help.\r\n") {
			t.Errorf("%s: %q", container, reply)
		}
		parent := command.Lookup([]byte(container))
		for line := range strings.Lines(strings.Trim(text, "\n")) {
			word := strings.ToLower(strings.Trim(line, "\n"))
			if word[0] != ' ' && word[0] != '(' && parent.Sub([]byte(strings.Fields(word)[0])) == nil {
				t.Errorf("%s has no %q", container, word)
			}
		}
	}
}
