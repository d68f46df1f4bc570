package migration

import (
	"context"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

func TestHostileNodesReportNothing(t *testing.T) {
	for family, questions := range families {
		q := questions.questions[0].command
		command := q[0]
		if command == "CLUSTER" || command == "DFLYCLUSTER" {
			command += " " + q[1]
		}
		t.Run(family, func(t *testing.T) {
			testbed.Survive(t, command, nil, func(ctx context.Context, addr string) error {
				a, _ := NewWatcher(Config{Family: family, Access: Access{Timeout: 5 * time.Minute}}).report(ctx, addr)
				if len(a.reports) > 0 {
					t.Errorf("reports %v", a.reports)
				}
				return a.err
			})
		})
	}
}

func TestHostileNodesAreNotSampled(t *testing.T) {
	for _, command := range []string{"SLOTSSCAN", "ZRANGE"} {
		t.Run(command, func(t *testing.T) {
			answers := map[string]string{"SLOTSSCAN": "*2\r\n$1\r\n0\r\n*1\r\n$2\r\nzk\r\n"}
			testbed.Survive(t, command, answers, func(ctx context.Context, addr string) error {
				w := NewWatcher(Config{Family: "pika", Access: Access{Timeout: 5 * time.Minute}})
				_, _, err := w.sample(ctx, &router.Move{From: &router.Node{Addr: addr}})
				return err
			})
		})
	}
}
