package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// conversation runs statements on as many connections as they name. It is not safe for concurrent use.
type conversation struct {
	t         *testing.T
	addr      string
	proto     string
	servers   []*testbed.Server // asked for blocked clients
	pipelined bool

	conns   map[byte]*speaker
	replies []string
	batch   []batched // requests of one connection that are not written yet
}

// speaker is one connection of a conversation.
type speaker struct {
	*testClient
	id string
}

// batched is a request of a pipeline and the place of its reply.
type batched struct {
	index   int
	request []byte
}

// closedReply stands for the end of a connection where a reply was awaited.
const closedReply = "closed"

func newConversation(t *testing.T, addr, proto string, servers []*testbed.Server) *conversation {
	return &conversation{t: t, addr: addr, proto: proto, servers: servers, conns: make(map[byte]*speaker)}
}

// converseInTurn runs statements one after the other and returns a reply for each; what is not answered has "".
func converseInTurn(t *testing.T, addr, proto string, list []statement, servers ...*testbed.Server) []string {
	t.Helper()
	c := newConversation(t, addr, proto, servers)
	defer c.end()
	c.run(list)
	return c.replies
}

// hold runs statements and compares their replies, those before a failure included. It returns how many it compared
// without allowance.
func (c *conversation) hold(list []statement, want []string, how string) int {
	c.t.Helper()
	defer func() {
		c.end()
		for i, got := range c.replies {
			if got != "" && !list[i].alike(c.t, got, want[i]) {
				list[i].report(c.t, how, got, want[i])
			}
		}
	}()
	c.run(list)
	exact := 0
	for _, s := range list {
		if s.answered() && s.allowance == "" {
			exact++
		}
	}
	return exact
}

func (c *conversation) run(list []statement) {
	c.t.Helper()
	c.replies = make([]string, len(list))
	for i, s := range list {
		if s.known != "" && len(c.servers) == 1 && c.servers[0].Addr() == c.addr {
			c.replies[i] = s.known
			continue
		}
		if len(c.batch) > 0 && (s.act != actDo || list[c.batch[0].index].conn != s.conn || !c.pipelined) {
			c.flush(list)
		}
		c.step(i, s)
	}
	c.flush(list)
}

func (c *conversation) step(i int, s statement) {
	c.t.Helper()
	switch s.act {
	case actDo:
		c.batch = append(c.batch, batched{i, resp.AppendCommand(nil, c.expand(s.mixed(s.seed))...)})
	case actSend:
		c.conn(s.conn).request(c.expand(s.mixed(s.seed))...)
	case actRead:
		c.replies[i] = c.read(s)
	case actHangUp:
		c.conn(s.conn).Close()
		delete(c.conns, s.conn)
	case actIterate:
		c.replies[i] = c.iterate(s)
	case actBlocked:
		c.awaitBlocked(s)
	}
}

// flush writes the requests that are put together and reads their replies.
func (c *conversation) flush(list []statement) {
	c.t.Helper()
	if len(c.batch) == 0 {
		return
	}
	s := list[c.batch[0].index]
	var all []byte
	for _, b := range c.batch {
		all = append(all, b.request...)
	}
	conn := c.conn(s.conn)
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = conn.Write(all) // A server that closes instead of reading is found out by what it answers.
	}()
	for _, b := range c.batch {
		c.replies[b.index] = c.read(list[b.index])
	}
	<-written
	c.batch = c.batch[:0]
}

// read takes the next reply of a connection.
func (c *conversation) read(s statement) string {
	c.t.Helper()
	reply, err := c.conn(s.conn).tryReply()
	switch {
	case err == nil:
		return reply
	case errors.Is(err, io.EOF) && reply == "":
		c.conns[s.conn].Close()
		delete(c.conns, s.conn)
		return closedReply
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Fatalf("%s: no reply on %c to %.100q", s.at, s.conn, s.args)
	}
	c.t.Fatalf("%s: %v after %q", s.at, err, reply)
	return ""
}

// conn is the connection of that name.
func (c *conversation) conn(name byte) *speaker {
	c.t.Helper()
	if sp := c.conns[name]; sp != nil {
		return sp
	}
	sp := &speaker{testClient: dial(c.t, "tcp", c.addr)}
	sp.do("HELLO", c.proto)
	sp.id = strings.Trim(sp.do("CLIENT", "ID"), ":\r\n")
	c.conns[name] = sp
	return sp
}

// end closes every connection, so that the next conversation meets no blocked client of this one.
func (c *conversation) end() {
	for _, sp := range c.conns {
		sp.Close()
	}
}

var ofConn = regexp.MustCompile(`^<([a-z])\.(id|addr)>$`)

// expand replaces the words that stand for something of a connection.
func (c *conversation) expand(args []string) []string {
	c.t.Helper()
	for i, arg := range args {
		m := ofConn.FindStringSubmatch(arg)
		switch {
		case m == nil:
		case m[2] == "id":
			args[i] = c.conn(m[1][0]).id
		default:
			args[i] = c.conn(m[1][0]).LocalAddr().String()
		}
	}
	return args
}

// iterate runs one of the SCAN commands to its end. The result is the first reply that is no cursor with
// elements, or the elements: those of HSCAN and ZSCAN with what belongs to them.
func (c *conversation) iterate(s statement) string {
	c.t.Helper()
	args := c.expand(slices.Clone(s.args))
	at, step := 2, 2
	switch strings.ToUpper(args[0]) {
	case "SCAN":
		at, step = 1, 1
	case "SSCAN":
		step = 1
	}
	found := make(map[string]bool)
	for range 10_000 {
		c.conn(s.conn).request(args...)
		reply := c.read(s)
		parts := elements(c.t, reply)
		if len(parts) != 2 {
			return reply
		}
		for element := range slices.Chunk(elements(c.t, parts[1]), step) {
			found[strings.Join(element, "")] = true
		}
		if args[at] = elementText(parts[0]); args[at] == "0" {
			list := make([]string, 0, len(found))
			for element := range found {
				list = append(list, element)
			}
			slices.Sort(list)
			return fmt.Sprintf("%d elements: %q", len(list), list)
		}
	}
	c.t.Fatalf("%s: %q does not end", s.at, s.args)
	return ""
}

// elementText is the text of a bulk string.
func elementText(bulk string) string {
	_, text, _ := strings.Cut(bulk, "\r\n")
	return strings.TrimSuffix(text, "\r\n")
}

// awaitBlocked waits until the servers have that many blocked clients.
func (c *conversation) awaitBlocked(s statement) {
	c.t.Helper()
	want, err := strconv.Atoi(s.args[0])
	if err != nil {
		c.t.Fatalf("%s: %v", s.at, err)
	}
	holds := func() error {
		blocked := 0
		for _, server := range c.servers {
			n, _ := strconv.Atoi(infoValue(server, "clients", "blocked_clients"))
			blocked += n
		}
		if blocked != want {
			return fmt.Errorf("%s: %d clients are blocked, want %d", s.at, blocked, want)
		}
		return nil
	}
	for range 100 { // Mostly a few round trips are enough, far less than the interval of Eventually.
		if holds() == nil {
			return
		}
	}
	testbed.Eventually(c.t, holds, replyWait)
}

// infoValue is a field of INFO.
func infoValue(server *testbed.Server, section, field string) string {
	for line := range strings.Lines(server.Do("INFO", section).String()) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
