package consul

import (
	"context"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestHostileNodesHaveNoRole(t *testing.T) {
	for _, command := range []string{"AUTH", "INFO"} {
		t.Run(command, func(t *testing.T) {
			testbed.Survive(t, command, nil, func(ctx context.Context, addr string) error {
				p := New(Config{Pool: "p", Timeout: time.Minute, Password: "pw"}).probers
				n := &prober{addr: addr}
				defer n.hangUp()
				_, err := p.ask(ctx, n)
				if n.conn != nil {
					t.Error("the connection was kept")
				}
				return err
			})
		})
	}
}
