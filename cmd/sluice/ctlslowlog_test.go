package main

import (
	"bufio"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"sluice/conf"
	"sluice/internal/testbed"
	"sluice/proxy/admin"
)

const someSlow = `{"requests": [
  {"id": 7, "time": "2026-11-21T12:00:00Z", "total_us": 31200, "held_us": 0, "backend_us": 31200, "backend": "127.0.0.1:7001", "pool": "main",
   "client": "127.0.0.1:50000", "name": "app", "args": ["MGET", "a", "b"], "slowest_part": ["mget", "b"]},
  {"id": 6, "time": "2026-11-21T12:00:00Z", "total_us": 2000000, "held_us": 1999000, "backend_us": 1000, "backend": "127.0.0.1:7002", "pool": "main",
   "client": "127.0.0.1:50001", "args": ["SET", "k\u001b[2J\n", "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"]}]}`

func TestCtlSlowlogPrintsATable(t *testing.T) {
	t.Parallel()
	out, notes, err := runCtl(t, "slowlog", "--admin", answering(t, 200, "application/json", someSlow))
	lines := strings.Split(out, "\n")
	if err != nil || notes != "" || len(lines) != 4 || !strings.HasPrefix(lines[0], "ID  TIME") {
		t.Fatalf("%v %s\n%s", err, notes, out)
	}
	if got := strings.Join(strings.Fields(lines[1])[3:], " "); got != "31.2ms 0s 31.2ms 127.0.0.1:7001 main 127.0.0.1:50000 app MGET a b mget b" {
		t.Error(got)
	}
	if got := strings.Join(strings.Fields(lines[2])[3:], " "); !strings.HasPrefix(got, "2s 1.999s 1ms 127.0.0.1:7002 main 127.0.0.1:50001 SET k [2J v") ||
		!strings.HasSuffix(got, "v… -") {
		t.Error(got)
	}
	out, _, err = runCtl(t, "slowlog", "-o", "json", "--admin", answering(t, 200, "application/json", someSlow))
	if err != nil || out != someSlow {
		t.Errorf("%v %s", err, out)
	}
}

// What CONFIG SET has set is in force, and shown, until the configuration is read again.
func TestConfigSetLastsUntilTheNextReload(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	s := serve(t, configFor(a.Addr(), b.Addr(), 511))
	conn := connect(t, s.addr)
	if got := do(t, conn, "CONFIG SET slowlog-log-slower-than 0 hold.max_wait 7s maxclients 77 loglevel debug"); got != "+OK" {
		t.Fatal(got)
	}
	if got := do(t, conn, "SET foo bar"); got != "+OK" {
		t.Fatal(got)
	}
	out, _, err := runCtl(t, "slowlog", "-o", "json", "--admin", s.admin)
	var list admin.SlowLog
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	if err != nil || len(list.Requests) != 1 || strings.Join(list.Requests[0].Args, " ") != "SET foo bar" || list.Requests[0].Pool != "main" ||
		list.Requests[0].Backend != a.Addr() && list.Requests[0].Backend != b.Addr() || list.Requests[0].TotalMicros <= 0 {
		t.Errorf("%v %s", err, out)
	}
	shown := func() string {
		text := ""
		for _, name := range []string{"slowlog-log-slower-than", "hold.max_wait", "maxclients", "loglevel"} {
			r := bufio.NewReader(conn)
			if _, err := io.WriteString(conn, "CONFIG GET "+name+"\r\n"); err != nil {
				t.Fatal(err)
			}
			if head := readReply(t, r) + " " + readReply(t, r); head != "*2 "+name {
				t.Fatal(head)
			}
			text += readReply(t, r) + "; "
		}
		return text
	}
	if got := shown(); got != "0; 7s; 77; debug; " {
		t.Error(got)
	}
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, "configuration reloaded")
	if got := shown(); got != "10000; 2s; 10000; notice; " {
		t.Error(got)
	}
}

// CONFIG SET has the bounds of the configuration.
func TestConfigSetHasTheBoundsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	s := serve(t, configFor(testbed.Redis(t).Addr(), testbed.Redis(t).Addr(), 511))
	conn := connect(t, s.addr)
	f := func(prefix string, table any) {
		t.Helper()
		for i := range reflect.TypeOf(table).NumField() {
			field := reflect.TypeOf(table).Field(i)
			name := prefix + field.Tag.Get("toml")
			for _, bound := range []string{field.Tag.Get("min"), field.Tag.Get("max")} {
				got := do(t, conn, "CONFIG SET "+name+" "+bound)
				if bound != "" && got != "+OK" && !strings.HasPrefix(got, "-ERR Unknown option") {
					t.Errorf("CONFIG SET %s %s: %s", name, bound, got)
				}
				if unknown := strings.HasPrefix(got, "-ERR Unknown option"); unknown && prefix == "hold." {
					t.Errorf("CONFIG SET does not know %s", name)
				}
			}
		}
	}
	f("hold.", conf.Hold{})
	f("backend.", conf.Backend{})
}
