package migration

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"sluice/internal/control"
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

// AdminAddr is where the node is asked that clients find at addr.
func (a *Access) AdminAddr(addr string) string {
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
	*control.Conn
	ctx    context.Context // Of the whole conversation; held because every question ends with it.
	cancel context.CancelFunc
}

// open connects to addr, or to its admin port, and gives the password.
func (w *Watcher) open(ctx context.Context, addr string, admin bool) (*session, error) {
	access := w.access.Load()
	if admin {
		addr = access.AdminAddr(addr)
	}
	ctx, cancel := context.WithTimeout(ctx, access.Timeout)
	c, err := control.Dial(ctx, addr, control.Options{
		User: access.Username, Password: access.Password, Name: access.ClientName, Dial: w.cfg.Dial,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &session{c, ctx, cancel}, nil
}

func (s *session) close() {
	s.cancel()
	s.Close()
}

// ask sends commands in one write and reads a reply for each.
func (s *session) ask(cmds ...[]string) ([]control.Value, error) { return s.Pipe(s.ctx, cmds...) }

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
	if w.family.owners != nil {
		cmds = append(cmds, w.family.owners)
	}
	replies, err := s.ask(cmds...)
	if err != nil {
		a.err = err
		return a, true
	}
	if w.family.myID != nil {
		if id := replies[len(w.family.questions)]; id.Err() == nil {
			a.id = id.Text
		}
	}
	if w.family.owners != nil {
		a.owners, a.addrs, a.unfit = parseOwners(replies[len(replies)-1])
	}
	for i, q := range w.family.questions {
		reports, err := q.parse(replies[i])
		switch {
		case err == nil:
			knows = true
			a.reports = append(a.reports, reports...)
		case replies[i].Err() == nil || refused(err):
			knows = true
			a.err = fmt.Errorf("%s: %s: %w", addr, strings.Join(q.command, " "), err)
		}
	}
	if !knows {
		a.unfit = nil // It is no cluster of this family.
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
	return parseNodes(replies[0].Text, host)
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
