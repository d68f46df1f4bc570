package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// A password that is changed in the server and in its file is in force without a reload, whichever comes first.
func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	file := filepath.Join(t.TempDir(), "password")
	change := func(password string) {
		t.Helper()
		for _, request := range [][]string{{"CONFIG", "SET", "requirepass", password}, {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}} {
			if v := server.Do(request...); v.Error() != nil {
				t.Fatal(v)
			}
		}
	}
	write(t, file, "one\n")
	change("one")
	s := serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = %q
slots = "0-1023"
[pool.backend]
probe_interval = "100ms"
[pool.auth]
backend_password_file = %q
`, server.Addr(), file))
	conn := connect(t, s.addr)
	want := func(what string, fits func(reply string) bool) {
		t.Helper()
		testbed.Eventually(t, func() error {
			if got := do(t, conn, "SET k v"); !fits(got) {
				return fmt.Errorf("%s: %s", what, got)
			}
			return nil
		}, time.Minute)
	}
	served := func(reply string) bool { return reply == "+OK" }
	want("at the start", served)
	if got := do(t, conn, "CONFIG SET hold.max_wait 7s"); got != "+OK" {
		t.Fatal(got)
	}
	change("two")
	want("before the file has it", func(reply string) bool { return strings.Contains(reply, "WRONGPASS") })
	write(t, file, "two\n")
	want("in the server first", served)
	write(t, file, "three\n")
	change("three")
	want("in the file first", served)
	if got := do(t, conn, "CONFIG GET hold.max_wait"); !strings.Contains(got, "*2") && !strings.Contains(got, "7s") {
		t.Errorf("CONFIG SET is over: %s", got)
	}
}
