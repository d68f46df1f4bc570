package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// A master that answers and takes no writes is not called well, serving, up or ready.
func TestStatusKnowsAMasterThatIsNone(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	s := serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[pool.discovery]
kind = "static"
[[pool.group]]
id = "1"
master = %q
slots = "0-1023"
[pool.backend]
probe_interval = "50ms"
`, server.Addr()))
	says := func(path string, code int, words string) {
		t.Helper()
		testbed.Eventually(t, func() error {
			if got, body := get(t, s.admin+path); got != code || !strings.Contains(body, words) {
				return fmt.Errorf("%s: %d %s", path, got, body)
			}
			return nil
		}, time.Minute)
	}
	up := fmt.Sprintf("sluice_backend_up{pool=\"main\",backend=%q} ", server.Addr())
	well := func() {
		t.Helper()
		says("/api/v1/status", 200, `"well": true`)
		says("/api/v1/status", 200, `"groups_serving": 1`)
		says("/-/ready", 200, "ready")
		says("/metrics", 200, up+"1\n")
	}
	well()
	if err := server.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(testbed.FreePort(t))).Error(); err != nil {
		t.Fatal(err)
	}
	says("/api/v1/status", 200, "pool main: group 1: master "+server.Addr()+" does not serve: says that it is a replica of 127.0.0.1:")
	says("/api/v1/status", 200, `"groups_serving": 0`)
	says("/-/ready", 503, "does not serve: says that it is a replica of")
	says("/metrics", 200, up+"0\n")
	if err := server.Do("REPLICAOF", "NO", "ONE").Error(); err != nil {
		t.Fatal(err)
	}
	well()
}
