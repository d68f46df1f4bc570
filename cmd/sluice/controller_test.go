package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/discovery/controller"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
)

// controllers are processes of `sluice controller` for a site.
type controllers struct {
	*consulSite
	config string
}

func (s *consulSite) controllers() *controllers {
	s.Helper()
	c := &controllers{consulSite: s, config: filepath.Join(s.TempDir(), "controller.toml")}
	write(s.T, c.config, fmt.Sprintf(`[proxy]
log_format = "text"
[consul]
address = %q
token_file = %q
session_ttl = "2s"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:%d"]
slot_model = "codis"
dialect = %q
[pool.discovery]
kind = "consul"
`, s.consul.Addr(), s.tokenFile, testbed.FreePort(s.T), s.dialect))
	return c
}

func (c *controllers) start() *running {
	c.Helper()
	return start(c.T, "controller", "--config", c.config)
}

// ctl runs `sluice ctl`, which has to succeed.
func (c *controllers) ctl(args ...string) string {
	c.Helper()
	out, notes, err := askCtl(c.T, "", append(args, "--config", c.config)...)
	if err != nil {
		c.Fatalf("ctl %s: %v\n%s%s", strings.Join(args, " "), err, out, notes)
	}
	return out
}

// ask asks for a move, and returns its id.
func (c *controllers) ask(slots, to string, more ...string) string {
	c.Helper()
	out := c.ctl(append([]string{"move", "--slots", slots, "--to", to, "--yes"}, more...)...)
	_, rest, _ := strings.Cut(out, "\nmove ")
	id, _, ok := strings.Cut(rest, " is asked for")
	if !ok {
		c.Fatalf("ctl move says %q", out)
	}
	return id
}

// await waits until a move is as ok says.
func (c *controllers) await(id, what string, ok func(m *controller.Move) bool) {
	c.Helper()
	testbed.Eventually(c.T, func() error {
		var moves []controller.Move
		if err := json.Unmarshal([]byte(c.ctl("moves", "-o", "json")), &moves); err != nil {
			return err
		}
		for i := range moves {
			if moves[i].ID == id && ok(&moves[i]) {
				return nil
			}
		}
		return fmt.Errorf("move %s is not %s: %+v", id, what, moves)
	}, 3*time.Minute)
}

func done(m *controller.Move) bool { return m.State == controller.Done }

// Slots go to and fro under load, moved by a controller that is killed in between: another one goes on. No client sees
// an error, and nothing is lost.
func TestControllerMovesUnderLoad(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		dialect, method string
		start           func(t *testing.T) (a, b node)
	}{
		{"redis", "", func(t *testing.T) (a, b node) { return testbed.Redis(t), testbed.Redis(t) }},
		{"codis", "", func(t *testing.T) (a, b node) {
			return fakecodis.StartCodisServer(t, fakecodis.Options{}), fakecodis.StartCodisServer(t, fakecodis.Options{})
		}},
		{"pika", "sync", func(t *testing.T) (a, b node) {
			a = fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
			return a, fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
		}},
	} {
		t.Run(x.dialect, func(t *testing.T) {
			t.Parallel()
			a, b := x.start(t)
			s := startSiteOf(t, 3, testbed.ConsulOptions{InMemory: true}, x.dialect, "", a, b)
			s.awaitEpoch(1)
			const moving = 32
			sessions := oldSessions()
			if !testbed.Soak() {
				sessions.Pops = 0 // As in migration.load.
			}
			if x.dialect == "pika" {
				sessions.Scripts = 0 // It has none.
			}
			runs := s.load(moving, sessions)
			warmAll(t, runs)
			c := s.controllers()
			first := c.start()
			first.waitFor(t, "the active controller")
			c.start()
			slots := fmt.Sprintf("0-%d", moving-1)
			method := []string{"--batch", "8", "--method", x.method}
			id := c.ask(slots, "2", method...)
			c.await(id, "done", done)
			warmAll(t, runs)
			id = c.ask(slots, "1", method...)
			c.await(id, "begun", func(m *controller.Move) bool {
				return m.Batch != nil && m.Batch.Phase != controller.Checking || done(m)
			})
			if err := first.Process.Signal(os.Kill); err != nil {
				t.Fatal(err)
			}
			c.await(id, "done", done)
			warmAll(t, runs)
			s.finish(runs)
			t.Log(c.ctl("moves"))
		})
	}
}
