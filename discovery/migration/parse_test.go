package migration

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/control"
)

func (r report) String() string {
	direction := "in"
	if r.out {
		direction = "out"
	}
	return fmt.Sprintf("%s %q %s %s/%s keys=%d copied=%d err=%q retries=%d", direction, r.peer, r.slots, r.state, r.word, r.keys, r.copied, r.err, r.retries)
}

// parsed describes what a parser makes of a reply.
func parsed(t *testing.T, parse parser, reply string) string {
	t.Helper()
	v, err := control.NewReader(strings.NewReader(reply), control.Limits{}).Read()
	if err != nil {
		return "unread: " + err.Error()
	}
	reports, err := parse(v)
	if err != nil {
		return "error: " + err.Error()
	}
	parts := make([]string, len(reports))
	for i, r := range reports {
		parts[i] = r.String()
	}
	return strings.Join(parts, "; ")
}

func checker(t *testing.T, parse parser) func(reply, want string) {
	return func(reply, want string) {
		t.Helper()
		if got := parsed(t, parse, reply); got != want {
			t.Errorf("%q:\n%s, want\n%s", reply, got, want)
		}
	}
}

// The replies of the versions since 1.23 were recorded; the older forms are those of the source code at the tags.
func TestDragonflyForms(t *testing.T) {
	f := checker(t, parseDragonfly)
	f("*0\r\n", "")
	f("+NO_STATE\r\n", "")
	f("*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$4\r\nSYNC\r\n:201242\r\n$1\r\n0\r\n", `out "n2"  copying/SYNC keys=201242 copied=-1 err="" retries=-1`)
	f("*1\r\n*5\r\n$2\r\nin\r\n$2\r\nn1\r\n$4\r\nSYNC\r\n:175\r\n$1\r\n0\r\n", `in "n1"  copying/SYNC keys=175 copied=-1 err="" retries=-1`)
	f("*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$8\r\nFINISHED\r\n:0\r\n$39\r\nJournalStreamer write operation timeout\r\n",
		`out "n2"  finished/FINISHED keys=0 copied=-1 err="JournalStreamer write operation timeout" retries=-1`)
	f("*1\r\n*6\r\n$3\r\nout\r\n$2\r\nn2\r\n$5\r\nERROR\r\n:1\r\n$11\r\nBroken pipe\r\n$20\r\n[4096, 8191], [7, 7]\r\n",
		`out "n2" 4096-8191,7 connecting/ERROR keys=1 copied=-1 err="Broken pipe" retries=-1`)
	f("*1\r\n*8\r\n$3\r\nout\r\n$2\r\nn2\r\n$5\r\nFATAL\r\n:1\r\n$1\r\nx\r\n$6\r\n[0, 5]\r\n:7\r\n_\r\n", `out "n2" 0-5 failed/FATAL keys=1 copied=-1 err="x" retries=-1`)
	f("*1\r\n*5\r\n$2\r\nin\r\n$2\r\nn1\r\n$6\r\nPAUSED\r\n:5\r\n$1\r\n0\r\n", `in "n1"  unknown/PAUSED keys=5 copied=-1 err="" retries=-1`)
	f("*2\r\n$31\r\nout n2 FINISHED keys:1 errors:0\r\n$34\r\nin n3 CONNECTING keys:0 errors:a b\r\n",
		`out "n2"  finished/FINISHED keys=1 copied=-1 err="" retries=-1; in "n3"  connecting/CONNECTING keys=0 copied=-1 err="a b" retries=-1`)
	f("*1\r\n$56\r\nout n2 FINISHED keys:12 errors: ERR UNKNOWN_MIGRATION ab\r\n", `out "n2"  finished/FINISHED keys=12 copied=-1 err="ERR UNKNOWN_MIGRATION ab" retries=-1`)
	f("+out n2 SYNC keys:5 errors: 0\r\n", `out "n2"  copying/SYNC keys=5 copied=-1 err="" retries=-1`)
	f("*2\r\n+in 127.0.0.1:6379 FULL_SYNC\r\n+out 127.0.0.1:6380 STABLE_SYNC\r\n",
		`in "127.0.0.1:6379"  copying/FULL_SYNC keys=-1 copied=-1 err="" retries=-1; out "127.0.0.1:6380"  copying/STABLE_SYNC keys=-1 copied=-1 err="" retries=-1`)
	f("*1\r\n*4\r\n$3\r\nout\r\n$2\r\nn2\r\n$4\r\nSYNC\r\n:1\r\n", `error: not understood: "[out n2 SYNC 1]"`)
	f("*1\r\n$5\r\nhello\r\n", `error: not understood: "hello"`)
	f("-ERR unknown command `DFLYCLUSTER`\r\n", "error: ERR unknown command `DFLYCLUSTER`")
}

func TestPikaForms(t *testing.T) {
	f := checker(t, parsePika)
	f("$35\r\n# Stats\r\nis_slots_migrating:No, , 0\r\n", "")
	f("$45\r\n# Stats\r\nis_slots_migrating:Yes, , 1795223538\r\n", `out ""  copying/migrating keys=-1 copied=-1 err="" retries=-1`)
	f("$7\r\n# Stats\r\n", "")
	f("-ERR NOAUTH Authentication required.\r\n", "error: ERR NOAUTH Authentication required.")
}

func TestCodisForms(t *testing.T) {
	f := checker(t, parseCodis)
	f("*-1\r\n", "")
	f("_\r\n", "")
	f("*6\r\n$4\r\nhost\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n:6380\r\n$4\r\nused\r\n:1\r\n", `out "127.0.0.1:6380"  copying/migrating keys=-1 copied=-1 err="" retries=-1`)
	f("*6\r\n$4\r\nhost\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n:6380\r\n$4\r\nused\r\n:0\r\n", "")
	f("%1\r\n$4\r\nport\r\n:6380\r\n", `error: not understood: "[port 6380]"`)
}

func TestKvrocksForms(t *testing.T) {
	f := checker(t, func(v control.Value) ([]report, error) {
		return parseKvrocks(control.Value{Kind: control.Bulk, Text: strings.ReplaceAll(v.Text, "|", "\r\n")})
	})
	f("+cluster_state:ok|cluster_my_epoch:2|\r\n", "")
	f("+cluster_state:ok|migrating_slot(s): 10-20|destination_node: abc|migrating_state: start|\r\n", `out "abc" 10-20 copying/start keys=-1 copied=-1 err="" retries=-1`)
	f("+migrating_slot: 5|destination_node: abc|migrating_state: fail|\r\n", `out "abc" 5 failed/fail keys=-1 copied=-1 err="" retries=-1`)
	f("+importing_slot(s): 10-20|import_state: success|\r\n", `in "" 10-20 finished/success keys=-1 copied=-1 err="" retries=-1`)
	f("+migrating_slot(s): |destination_node: |migrating_state: none|\r\n", "")
}

func TestRedisForms(t *testing.T) {
	f := checker(t, parseRedis)
	f("*0\r\n", "")
	const task = "$2\r\nid\r\n$1\r\na\r\n$5\r\nslots\r\n$13\r\n0-100 200-300\r\n$6\r\nsource\r\n$2\r\nn1\r\n$4\r\ndest\r\n$2\r\nn2\r\n" +
		"$9\r\noperation\r\n$7\r\nmigrate\r\n$5\r\nstate\r\n$7\r\nhandoff\r\n$10\r\nlast_error\r\n$0\r\n\r\n$7\r\nretries\r\n$1\r\n2\r\n"
	want := `out "n2" 0-100,200-300 finalising/handoff keys=-1 copied=-1 err="" retries=2`
	f("*1\r\n*16\r\n"+task, want)
	f("*1\r\n%8\r\n"+task, want)
	failed := strings.NewReplacer("$7\r\nmigrate", "$6\r\nimport", "$7\r\nhandoff", "$6\r\nfailed", "$0\r\n\r\n", "$5\r\nlost!\r\n").Replace(task)
	f("*1\r\n*16\r\n"+failed, `in "n1" 0-100,200-300 connecting/failed keys=-1 copied=-1 err="lost!" retries=2`)
	f("-ERR unknown subcommand 'MIGRATION'. Try CLUSTER HELP.\r\n", "error: ERR unknown subcommand 'MIGRATION'. Try CLUSTER HELP.")
}

func TestValkeyForms(t *testing.T) {
	f := checker(t, parseValkey)
	f("*0\r\n", "")
	const job = "$4\r\nname\r\n$1\r\na\r\n$9\r\noperation\r\n$6\r\nEXPORT\r\n$11\r\nslot_ranges\r\n$3\r\n0-9\r\n$11\r\ntarget_node\r\n$2\r\nn2\r\n" +
		"$11\r\nsource_node\r\n$2\r\nn1\r\n$5\r\nstate\r\n$6\r\nfailed\r\n$7\r\nmessage\r\n$4\r\noops\r\n"
	want := `out "n2" 0-9 failed/failed keys=-1 copied=-1 err="oops" retries=-1`
	f("*1\r\n*14\r\n"+job, want)
	f("*1\r\n%7\r\n"+job, want)
	f("*1\r\n%7\r\n"+strings.NewReplacer("EXPORT", "IMPORT", "$6\r\nfailed", "$20\r\nwaiting-for-snapshot").Replace(job),
		`in "n1" 0-9 copying/waiting-for-snapshot keys=-1 copied=-1 err="oops" retries=-1`)
}

func TestSlotList(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := slotList(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("", "")
	f("[0, 5]", "0-5")
	f("[0, 5], [7, 7]", "0-5,7")
	f("0-5 7-9", "0-5,7-9")
	f("616", "616")
	f("all of them", "all of them")
}

func FuzzReply(f *testing.F) {
	f.Add("*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$4\r\nSYNC\r\n:201242\r\n$1\r\n0\r\n")
	f.Add("%1\r\n+a\r\n~1\r\n(5\r\n")
	f.Fuzz(func(t *testing.T, reply string) {
		v, err := control.NewReader(strings.NewReader(reply), control.Limits{}).Read()
		if err != nil {
			return
		}
		for _, fam := range families {
			for _, q := range fam.questions {
				q.parse(v)
			}
		}
	})
}
