package migration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Access says how nodes are asked. Immutable.
type Access struct {
	// Username and Password are sent with AUTH when they are set.
	Username, Password string
	// ClientName is what the nodes show in CLIENT LIST. Optional.
	ClientName string
	// AdminPort is where nodes are asked: "" on the port that clients use, "9999" on that port of each node, "+10"
	// on the port of each node plus 10.
	AdminPort string
	// Timeout bounds asking one node, from dialling to the last reply.
	Timeout time.Duration
}

// adminAddr is where the node is asked that clients find at addr.
func (a *Access) adminAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || a.AdminPort == "" {
		return addr
	}
	if more, ok := strings.CutPrefix(a.AdminPort, "+"); ok {
		n, err1 := strconv.Atoi(port)
		plus, err2 := strconv.Atoi(more)
		if err1 != nil || err2 != nil {
			return addr
		}
		return net.JoinHostPort(host, strconv.Itoa(n+plus))
	}
	return net.JoinHostPort(host, a.AdminPort)
}

// session is a conversation with one node. Owned by the goroutine that asks.
type session struct {
	conn   net.Conn
	rd     *bufio.Reader
	ctx    context.Context // Of the whole conversation; held because every read and write ends with it.
	addr   string
	unhook func() bool
	cancel context.CancelFunc
}

// open connects to addr, or to its admin port, and gives the password.
func (w *Watcher) open(ctx context.Context, addr string, admin bool) (*session, error) {
	access := w.access.Load()
	if admin {
		addr = access.adminAddr(addr)
	}
	ctx, cancel := context.WithTimeout(ctx, access.Timeout)
	conn, err := w.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		cancel()
		return nil, err // It names the address and the operation itself.
	}
	s := &session{conn: conn, rd: bufio.NewReader(io.LimitReader(conn, maxReply)), ctx: ctx, addr: addr, cancel: cancel}
	s.unhook = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := s.greet(access); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) greet(a *Access) error {
	var cmds [][]string
	switch {
	case a.Username != "":
		cmds = append(cmds, []string{"AUTH", a.Username, a.Password})
	case a.Password != "":
		cmds = append(cmds, []string{"AUTH", a.Password})
	}
	if a.ClientName != "" {
		cmds = append(cmds, []string{"CLIENT", "SETNAME", a.ClientName})
	}
	if len(cmds) == 0 {
		return nil
	}
	replies, err := s.ask(cmds...)
	if err == nil && cmds[0][0] == "AUTH" && replies[0].err() != nil {
		return fmt.Errorf("%s: AUTH: %w", s.addr, replies[0].err())
	}
	return err
}

func (s *session) close() {
	s.unhook()
	s.cancel()
	_ = s.conn.Close()
}

// ask sends commands in one write and reads a reply for each.
func (s *session) ask(cmds ...[]string) ([]value, error) {
	var out strings.Builder
	for _, cmd := range cmds {
		fmt.Fprintf(&out, "*%d\r\n", len(cmd))
		for _, arg := range cmd {
			fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(arg), arg)
		}
	}
	if _, err := io.WriteString(s.conn, out.String()); err != nil {
		return nil, s.explain(err)
	}
	replies := make([]value, len(cmds))
	for i := range replies {
		v, err := readValue(s.rd, 0)
		if err != nil {
			return nil, s.explain(fmt.Errorf("reply to %s: %w", cmds[i][0], err))
		}
		replies[i] = v
	}
	return replies, nil
}

func (s *session) explain(err error) error {
	if errors.Is(s.ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer in time", s.addr)
	}
	return fmt.Errorf("%s: %w", s.addr, err)
}

// refusals are errors that say that the node can't be asked, not that it knows no such command.
var refusals = []string{"NOAUTH", "NOPERM", "WRONGPASS", "LOADING", "ERR NOAUTH", "MASTERDOWN", "BUSY"}

// report asks one node what it knows of migrations. knows is false when it knows none of the questions.
func (w *Watcher) report(ctx context.Context, addr string) (a answer, knows bool) {
	a.addr = addr
	s, err := w.open(ctx, addr, true)
	if err != nil {
		a.err = err
		return a, true
	}
	defer s.close()
	var cmds [][]string
	for _, q := range w.family.questions {
		cmds = append(cmds, q.command)
	}
	if w.family.myID != nil {
		cmds = append(cmds, w.family.myID)
	}
	replies, err := s.ask(cmds...)
	if err != nil {
		a.err = err
		return a, true
	}
	if w.family.myID != nil {
		if id := replies[len(replies)-1]; id.err() == nil {
			a.id = id.text
		}
	}
	for i, q := range w.family.questions {
		reports, err := q.parse(replies[i])
		switch {
		case err == nil:
			knows = true
			a.reports = append(a.reports, reports...)
		case replies[i].err() == nil || refused(err):
			knows = true
			a.err = fmt.Errorf("%s: %s: %w", addr, strings.Join(q.command, " "), err)
		}
	}
	return a, knows
}

func refused(err error) bool {
	for _, word := range refusals {
		if strings.HasPrefix(err.Error(), word) {
			return true
		}
	}
	return false
}

// neighbours asks a node where the others are: id to host:port, from CLUSTER NODES.
func (w *Watcher) neighbours(ctx context.Context, addr string) map[string]string {
	s, err := w.open(ctx, addr, true)
	if err != nil {
		return nil
	}
	defer s.close()
	replies, err := s.ask([]string{"CLUSTER", "NODES"})
	if err != nil {
		return nil
	}
	host, _, _ := net.SplitHostPort(addr)
	return parseNodes(replies[0].text, host)
}

// parseNodes reads "id host:port@cport[,name] flags ...". An empty host is that of the node that was asked.
func parseNodes(text, host string) map[string]string {
	nodes := make(map[string]string)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		addr, _, _ := strings.Cut(words[1], "@")
		colon := strings.LastIndexByte(addr, ':')
		if colon < 0 || addr[colon+1:] == "0" {
			continue
		}
		at := strings.Trim(addr[:colon], "[]")
		if at == "" {
			at = host
		}
		nodes[words[0]] = net.JoinHostPort(at, addr[colon+1:])
	}
	return nodes
}
