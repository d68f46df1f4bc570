package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/discovery/controller"
	"sluice/discovery/controller/driver"
	"sluice/internal/testbed"
	"sluice/router"
)

// What a move is at, what it waits for and its errors are in one screen; of those that are over the last ones are
// shown.
func TestCtlMovesPrintsATable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	m := controller.New("m1", "ann", "2", []router.Range{{From: 0, To: 63}}, 16, now.Add(-time.Minute))
	m.State, m.Moved, m.Left = controller.Running, "0-31", "32-63"
	m.Progress.Keys = 100
	m.Batch = &controller.Batch{
		Slots: "32-47", From: "1", To: "2", Phase: controller.Copying, Since: now.Add(-3 * time.Second),
		Progress: controller.Progress{Keys: 11},
	}
	m.Waits = "10.0.0.2:6379: no answer in time"
	m.First = &controller.Fault{At: now.Add(-20 * time.Second), Text: "first\x1b[31m words"}
	m.Last = &controller.Fault{At: now.Add(-2 * time.Second), Text: "last words"}
	var out bytes.Buffer
	if err := printMoves(&out, &driver.Site{Moves: []controller.Move{m}}, now); err != nil {
		t.Fatal(err)
	}
	want := "no controller is active: start `sluice controller --config FILE`\n" +
		"MOVE  STATE    TO  SLOTS     KEYS  ETA    BATCH\n" +
		"m1    running  2   32 of 64  111   1m00s  copying 32-47 of group 1, 3.0s\n" +
		"  waits: 10.0.0.2:6379: no answer in time\n" +
		"  first error, 20.0s ago: first [31m words\n" +
		"  last error, 2.0s ago: last words\n"
	if out.String() != want {
		t.Errorf("it prints\n%s\nwant\n%s", out.String(), want)
	}
	var list []controller.Move
	for range 8 {
		over := m
		over.State = controller.Done
		list = append(list, over)
	}
	if got := len(recent(append(list, m))); got != recentMoves+1 {
		t.Errorf("%d of 9 moves are shown", got)
	}
}

// What is wrong with a move is said before it is asked for; and that nobody would do it.
func TestCtlMoveRefuses(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t, testbed.ConsulOptions{InMemory: true})
	file := configured(t, server, consulPool)
	run := func(args ...string) (string, error) {
		t.Helper()
		out, _, err := askCtl(t, "", append(args, "--config", file)...)
		return out, err
	}
	if _, err := run("topology", "init", "--groups", "1,2"); err != nil {
		t.Fatal(err)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if _, err := run(append([]string{"move"}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ctl move %s: %v, want %q", strings.Join(args, " "), err, want)
		}
	}
	refused(`there is no group "9"; there are 1, 2`, "--slots", "0-7", "--to", "9")
	refused("slots 1000-1024 are outside of 0-1023", "--slots", "1000-1024", "--to", "2")
	refused(`"7-3": 7-3 goes backwards`, "--slots", "7-3", "--to", "2")
	refused(`"x" is no slot`, "--slots", "x", "--to", "2")
	refused("group 2 has all of slots 512-513 already", "--slots", "512-513", "--to", "2")
	refused("a batch has one slot at least", "--slots", "1", "--to", "2", "--batch", "-1")
	refused("a time is above 0", "--slots", "1", "--to", "2", "--max-step", "0s")
	refused("a limit is above 0", "--slots", "1", "--to", "2", "--max-keys-per-second", "-1")
	refused("there is no such move", "pause", "none")
	refused("say what is to become of the batch", "abort", "none")
	out, err := run("move", "--slots", "0-7", "--to", "2", "--yes")
	if err != nil || !strings.Contains(out, "no controller is active") {
		t.Errorf("ctl move: %v\n%s", err, out)
	}
	refused("slot 7 is one of move ", "--slots", "7-9", "--to", "2", "--yes")
	out, err = run("moves")
	if err != nil || !strings.Contains(out, "no controller is active") || !strings.Contains(out, "waiting") {
		t.Errorf("ctl moves: %v\n%s", err, out)
	}
}
