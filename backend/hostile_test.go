package backend

import (
	"context"
	"testing"

	"sluice/internal/control"
	"sluice/internal/testbed"
)

func TestHostileServers(t *testing.T) {
	opts := testOptions()
	opts.Password = "pw"
	f := func(name, command string, answers map[string]string, ask func(ctx context.Context, n *Node) error) {
		t.Run(name, func(t *testing.T) {
			testbed.Survive(t, command, answers, func(ctx context.Context, addr string) error {
				n := NewNode(0, addr, &opts)
				defer n.Retire()
				return ask(ctx, n)
			})
		})
	}
	probed := func(ctx context.Context, n *Node) error {
		p := probe{node: n}
		o := p.once(ctx)
		if p.control != nil {
			t.Error("the connection was kept")
		}
		return o.Err
	}
	dialled := func(proto int) func(context.Context, *Node) error {
		return func(ctx context.Context, n *Node) error {
			nc, err := n.connect(ctx, purpose{proto: proto, db: 1}, new(peer))
			if err == nil {
				nc.Close()
			}
			return err
		}
	}
	hello := map[string]string{"HELLO": "-ERR unknown command\r\n"}
	f("greeting with AUTH", "AUTH", nil, dialled(2))
	f("greeting with HELLO", "HELLO", nil, dialled(3))
	f("greeting with SELECT", "SELECT", nil, dialled(2))
	f("probe, what it is", "HELLO", nil, probed)
	f("probe of an old server", "INFO", hello, probed)
	f("probe", "PING", nil, probed)
	f("probe, INFO behind PING", "INFO REPLICATION", map[string]string{"INFO": "$0\r\n\r\n", "HELLO": "-ERR unknown command\r\n"}, probed)
	f("question", "COMMAND", nil, func(ctx context.Context, n *Node) error {
		v, err := n.Ask(ctx, "COMMAND")
		if v.Kind != control.Kind(0) {
			t.Errorf("answer %v", v)
		}
		return err
	})
}
