package main

import (
	"context"
	"testing"

	"sluice/internal/control"
	"sluice/internal/testbed"
)

func TestDoctorSurvivesHostileServers(t *testing.T) {
	t.Parallel()
	testbed.Survive(t, "INFO", nil, func(ctx context.Context, addr string) error {
		c, err := control.Dial(ctx, addr, control.Options{})
		if err != nil {
			return err
		}
		defer c.Close()
		var x examined
		if x.ask(ctx, c); x.err != nil && x.fix != "is that a Redis?" {
			t.Errorf("%v: %s", x.err, x.fix)
		}
		return x.err
	})
	// What it could do without is left out.
	for _, command := range []string{"TIME", "CONFIG GET"} {
		for _, a := range testbed.Attacks() {
			if a.Want == "" {
				continue
			}
			c, err := control.Dial(t.Context(), testbed.Hostile(t, a, command, map[string]string{"INFO": "$13\r\nrole:master\r\n\r\n"}), control.Options{})
			if err != nil {
				t.Fatal(err)
			}
			x := examined{settings: map[string]string{}}
			if x.ask(t.Context(), c); x.err != nil || x.says != "master" || len(x.settings) > 0 {
				t.Errorf("%s, %s: %+v", command, a.Name, x)
			}
			c.Close()
		}
	}
}
