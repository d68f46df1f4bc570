package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/discovery/codis"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
)

// A proxy starts with what the dashboard has said last while that is away, under its old token whatever its addresses
// are, and not when the dashboard has ended it.
func TestStartWithoutTheDashboard(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	state := filepath.Join(t.TempDir(), "state.json")
	admin := func() string { return fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)) }
	run := func(admin string) *served {
		return serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
dialect = "codis"
[pool.discovery]
kind = "codis"
admin = %q
product = "codis-demo"
state_file = %q
`, admin, state))
	}
	model := func(admin string) (m codis.Model) {
		t.Helper()
		_, body := get(t, "http://"+admin+"/proxy/model")
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	start := func() *dashboard.Dashboard {
		d := dashboard.Start(dashboard.Options{Product: "codis-demo"},
			dashboard.Group{ID: 1, Servers: []string{a.Addr()}}, dashboard.Group{ID: 2, Servers: []string{b.Addr()}})
		t.Cleanup(d.Close)
		return d
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	check := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	says := func(s *served, words string) {
		t.Helper()
		testbed.Eventually(t, func() error {
			if _, body := get(t, s.admin+"/api/v1/status"); !strings.Contains(body, words) {
				return fmt.Errorf("%s", body)
			}
			return nil
		}, time.Minute)
	}

	first := admin()
	s := run(first)
	d := start()
	check(d.Assign(ctx, 1, dashboard.Slots(0, 511)...), d.Assign(ctx, 2, dashboard.Slots(512, 1023)...), d.Online(ctx, first))
	conn := connect(t, s.addr)
	for i := range 20 {
		if got := do(t, conn, fmt.Sprintf("SET k%d %d", i, i)); got != "+OK" {
			t.Fatal(got)
		}
	}
	token := model(first).Token
	d.Close()
	check(s.end(t, syscall.SIGTERM))

	second := admin()
	s = run(second)
	says(s, "the slots are those of the state file, of ")
	conn = connect(t, s.addr)
	for i := range 20 {
		if got := do(t, conn, fmt.Sprintf("GET k%d", i)); got != fmt.Sprint(i) {
			t.Errorf("k%d is %s", i, got)
		}
	}
	if got := model(second).Token; got != token {
		t.Errorf("token %s, was %s", got, token)
	}
	d = start()
	check(d.Assign(ctx, 1, dashboard.Slots(0, 511)...), d.Assign(ctx, 2, dashboard.Slots(512, 1023)...), d.Online(ctx, second))
	says(s, `"well": true`)

	check(d.Remove(ctx, second, false)) // Which ends it.
	check(<-s.done)
	third := admin()
	s = run(third)
	says(s, "codis-dashboard has not filled in any slots yet")
	if got := do(t, connect(t, s.addr), "GET k1"); !strings.HasPrefix(got, "-CLUSTERDOWN ") && !strings.HasPrefix(got, "-TRYAGAIN ") {
		t.Error(got)
	}
	if got := model(third).Token; got != token {
		t.Errorf("token %s, was %s", got, token)
	}
}
