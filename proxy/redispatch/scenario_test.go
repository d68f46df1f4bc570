package redispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScenarios runs the files of testdata: what has happened to a request, and under "----" what it does next.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s State
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return step(t, &s, d)
		})
	})
}

func step(t *testing.T, s *State, d *datadriven.TestData) string {
	t.Helper()
	has := d.HasArg
	number := func(name string) (n int64) {
		if has(name) {
			d.ScanArgs(t, name, &n)
		}
		return n
	}
	address := func(name string) (addr string) {
		d.ScanArgs(t, name, &addr)
		return addr
	}
	switch d.Cmd {
	case "new":
		*s = State{}
		return ""
	case "moved", "ask": // from=ADDR to=ADDR [unnamed] [no-holds] [times=N]
		var b strings.Builder
		for range max(1, number("times")) {
			r := Redirect{Ask: d.Cmd == "ask", From: address("from"), To: address("to"), Named: !has("unnamed"), Words: "was redirected"}
			b.WriteString(shown(s, s.Redirected(r, !has("no-holds"))))
		}
		return b.String()
	case "to-owner":
		s.ToOwner()
		return ""
	case "pause": // now=MS crowd=N [times=N]
		var b strings.Builder
		for range max(1, number("times")) {
			s.Pause(number("now")*int64(time.Millisecond), int(number("crowd")))
			fmt.Fprintln(&b, "until", time.Duration(s.After))
		}
		return b.String()
	case "lost": // [sent] [timed-out] [reads] [paused] [elsewhere] [gone] waited=MS; time-out 1 s, max_wait as given
		asked := false
		l := Loss{
			Sent: has("sent"), TimedOut: has("timed-out"), Kept: !has("gone"), Reads: has("reads"), Paused: has("paused"),
			Elsewhere: func() bool { asked = true; return has("elsewhere") },
			Waited:    time.Duration(number("waited")) * time.Millisecond, Timeout: time.Second,
			MaxWait: time.Duration(number("max_wait")) * time.Millisecond,
		}
		words := "fails"
		if l.MayGoAgain() {
			words = "goes again"
			if l.Once() {
				words += ", once"
			}
		}
		if asked {
			words += " (asked for others)"
		}
		return words + "\n"
	}
	d.Fatalf(t, "no such command: %s", d.Cmd)
	return ""
}

// shown is a step for people.
func shown(s *State, step Step) string {
	to := s.Addr
	if to == "" {
		to = "the owner"
	}
	if s.Ask {
		to += " behind ASKING"
	}
	text := []string{"send to " + to, fmt.Sprintf("hold, then %s: %s", to, step.Why), "give up"}[step.Do]
	if step.Free {
		text += ", free"
	}
	if step.Doubt {
		text += ", doubt"
	}
	return text + "\n"
}
