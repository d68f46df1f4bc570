package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
)

// A thousand clients stand in front of a locked slot. The others are answered as before; the long form logs their
// latencies, which decide nothing here.
func TestHeldClientsAndTheOthersUnderLoad(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	admin := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	s := serve(t, fmt.Sprintf(`[proxy]
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
[pool.backend]
request_timeout = "30s"
[pool.hold]
max_wait = "1m"
`, admin))
	d := dashboard.Start(dashboard.Options{Product: "codis-demo"},
		dashboard.Group{ID: 1, Servers: []string{a.Addr()}}, dashboard.Group{ID: 2, Servers: []string{b.Addr()}})
	t.Cleanup(d.Close)
	if err := d.Assign(t.Context(), 1, dashboard.Slots(1, 1023)...); err != nil {
		t.Fatal(err)
	}
	if err := d.Online(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	cfg := check.Defaults(check.Baseline)
	cfg.Addr, cfg.Slot, cfg.WatchShare = s.addr, check.CodisSlot, 0
	cfg.Watch = func(key []byte) bool { return check.CodisSlot(key) == 0 } // Slot 0 has no owner: it is not used.
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	clients := make([]net.Conn, 1000)
	for i := range clients {
		clients[i] = connect(t, s.addr)
		if _, err := fmt.Fprintf(clients[i], "SET {}%d v\r\n", i); err != nil { // The empty tag: slot 0.
			t.Fatal(err)
		}
	}
	testbed.Eventually(t, func() error {
		_, body := get(t, s.admin+"/metrics")
		if want := `sluice_holds{pool="main",cause="no_topology"} 1000`; !strings.Contains(body, want) {
			return fmt.Errorf("no %s", want)
		}
		return nil
	}, 20*time.Second)
	run.Mark("1000 held")
	warm(t, run)
	if err := d.Assign(t.Context(), 2, 0); err != nil {
		t.Fatal(err)
	}
	run.Mark("after")
	for i, c := range clients {
		if got := readReply(t, bufio.NewReader(c)); got != "+OK" {
			t.Fatalf("client %d was answered %q", i, got)
		}
	}
	report := run.Stop()
	t.Logf("%s", report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}
