package keymove

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"sluice/backend/dialect"
	"sluice/proxy/resp"
	"sluice/router"
)

// scenario runs one file of testdata: what a Search is told, and under "----" what it wants then.
type scenario struct {
	t      *testing.T
	search *Search
	other  *Search // of another client, in the same pool
	moves  Moves
	stats  Stats
	move   *router.Move
	req    Request
	now    int64
	sent   map[string]uint32 // the tag of the last request of a kind
	sentBy map[string]uint32 // the same of other
}

var kindNames = map[Kind]string{
	Wrapped: "wrapped", Read: "read", Exists: "exists", Length: "length", Fence: "fence", MoveKey: "move",
	FenceEnd: "fence-end", Size: "size", TargetSize: "target-size",
	Dump: "dump", Life: "life", Bring: "bring", Drop: "drop",
}

var scriptNames = strings.NewReplacer(dialect.BringScript, "<bring>", dialect.DropScript, "<drop>")

var errLost = errors.New("connection lost")

func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &scenario{t: t, sent: make(map[string]uint32), sentBy: make(map[string]uint32)}
		s.search, s.other = New(&s.moves, &s.stats), New(&s.moves, &s.stats)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			s.t = t
			return s.step(d)
		})
	})
}

// step runs one command.
func (s *scenario) step(d *datadriven.TestData) string {
	switch d.Cmd {
	case "move": // family=NAME method=semi-async|sync: a slot begins to move
		s.move = &router.Move{
			Slot: 7, Phase: router.Moving, From: &router.Node{Addr: "src:1"}, FromID: "1", To: &router.Node{Addr: "dst:2"}, ToID: "2",
			Token: 5,
		}
		if s.arg(d, "method") == "sync" {
			s.move.Method = router.Sync
		}
		s.req.Family = dialect.Of(s.arg(d, "family"))
		return ""
	case "begin": // command=(GET,a) [keys=(a)] [away] [exclusive]
		var args []string
		s.req.Keys = nil
		for _, a := range d.CmdArgs {
			if a.Key == "command" {
				args = a.Vals
			}
			if a.Key == "keys" {
				for _, key := range a.Vals {
					s.req.Keys = append(s.req.Keys, []byte(key))
				}
			}
		}
		s.begin(args, d)
		return s.shown(s.search.Begin(s.req))
	case "connected":
		return s.shown(s.search.Connected())
	case "reply": // kind=NAME [part] [rest], the data below: a reply, its first part or another one
		return s.shown(s.search.Reply(s.tag(d), []byte(unquoted(d.Input)), !d.HasArg("rest"), !d.HasArg("part"), s.now))
	case "fail": // kind=NAME [unsent]
		a, own := s.search.Failed(s.tag(d), !d.HasArg("unsent"), errLost)
		if own {
			return "the request itself has failed\n"
		}
		return s.shown(a)
	case "not-sent": // kind=NAME
		s.search.NotSent(Send{Kind: KindOf(s.tag(d))})
		return ""
	case "late": // kind=NAME, the data below: nobody waits for the answer any more
		s.search.Late(s.tag(d), []byte(unquoted(d.Input)), true, true)
		return ""
	case "slow": // seconds=N: the key takes long to move
		var seconds int
		d.ScanArgs(s.t, "seconds", &seconds)
		why, ask := s.search.Slow(time.Duration(seconds) * time.Second)
		return why + "\n" + s.asked(ask)
	case "pass": // ms=N
		var ms int64
		d.ScanArgs(s.t, "ms", &ms)
		s.now += ms * int64(time.Millisecond)
		return ""
	case "other": // What follows is of another client of the same pool, or of the first one again.
		s.search, s.other = s.other, s.search
		s.sent, s.sentBy = s.sentBy, s.sent
		return ""
	case "forget":
		s.search.Forget()
		return ""
	case "state":
		return fmt.Sprintf("moving %t, stats %+v\n", s.search.Moving(), s.stats)
	}
	d.Fatalf(s.t, "no such command: %s", d.Cmd)
	return ""
}

func (s *scenario) begin(args []string, d *datadriven.TestData) {
	r := &s.req
	r.Move, r.Target, r.Timeout, r.Parallel, r.MaxAnswer = s.move, "dst:2", time.Second, 2, 256
	r.Single = len(r.Keys) == 1 && !d.HasArg("exclusive")
	r.Reads = args[0] == "GET"
	r.Away = d.HasArg("away")
	r.Raw = resp.AppendCommand(nil, args...)
	r.Args = func() (list [][]byte) {
		for _, a := range args {
			list = append(list, []byte(a))
		}
		return list
	}
	r.Passes = func(reply []byte) bool { return r.Family.Judge(reply, "").Kind != dialect.Pass }
}

func (s *scenario) arg(d *datadriven.TestData, name string) (value string) {
	d.ScanArgs(s.t, name, &value)
	return value
}

// tag is that of the last request of a kind.
func (s *scenario) tag(d *datadriven.TestData) uint32 {
	kind := s.arg(d, "kind")
	tag, ok := s.sent[kind]
	if !ok {
		d.Fatalf(s.t, "nothing of kind %s was sent", kind)
	}
	return tag
}

func unquoted(text string) string { return strings.ReplaceAll(text, `\r\n`, "\r\n") }

// shown is an action for people.
func (s *scenario) shown(a Action) string {
	switch a.Do {
	case Await:
		return "await\n"
	case Run:
		return "run at the target\n"
	case Ask:
		return s.asked(a.Sends)
	case Connect:
		return "connect\n"
	case Again:
		return "again\n"
	case Found:
		return fmt.Sprintf("found %q\n", a.Keys)
	case Hold:
		text := "hold: " + a.Why
		for i, set := range []bool{a.Free, a.Quiet, a.Round, a.Trouble} {
			if set {
				text += []string{", free", ", quiet", ", round", ", trouble"}[i]
			}
		}
		if a.Pause > 0 {
			text += ", pause " + a.Pause.String()
		}
		return text + "\n"
	case HoldAway:
		return "hold until the source is back\n"
	case Obey:
		return fmt.Sprintf("obey %q\n", a.Data)
	case Pass:
		return fmt.Sprintf("pass %q first %t last %t\n", a.Data, a.First, a.Last)
	case Overflow:
		return "overflow\n"
	}
	return fmt.Sprintf("?%d\n", a.Do)
}

// asked shows what is sent, a line each, and notes the tags.
func (s *scenario) asked(sends []Send) string {
	var b strings.Builder
	for _, send := range sends {
		s.sent[kindNames[send.Kind]] = send.Tag
		lines := strings.Split(string(s.search.Append(nil, send)), "\r\n")
		var words []string
		for i := 2; i < len(lines); i += 2 {
			words = append(words, scriptNames.Replace(lines[i]))
		}
		side := map[Side]string{Source: "source", Migration: "migration", Target: "target"}[send.To]
		fmt.Fprintf(&b, "%s %s: %s\n", side, kindNames[send.Kind], strings.Join(words, " "))
	}
	return b.String()
}
