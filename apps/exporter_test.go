package apps

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/internal/testbed"
)

// What the exporter has to show, whatever is behind the address it scrapes.
var exported = []string{
	`redis_up 1`,
	`redis_exporter_last_scrape_error\{err=""\} 0`,
	`redis_instance_info\{.*redis_version="[0-9.]+".*role="master".*\} 1`,
	`redis_uptime_in_seconds [0-9.e+]+`,
	`redis_connected_clients [1-9][0-9.e+]*`,
	`redis_memory_used_bytes [1-9][0-9.e+]*`,
	`redis_commands_processed_total [1-9][0-9.e+]*`,
	`redis_key_size\{db="db0",key="list"\} 3`,
	`redis_slowlog_length [0-9.e+]+`,
	`redis_db_keys\{db="db0"\} 2[01]`, // A master with a replica has one more from the start.
	`redis_db_keys_expiring\{db="db0"\} 5`,
	`redis_keyspace_hits_total [0-9.e+]+`,
	`redis_evicted_keys_total [0-9.e+]+`,
	`redis_mem_fragmentation_ratio [0-9.e+]+`,
}

// The exporter of Prometheus asks for what operators look at.
func TestRedisExporter(t *testing.T) {
	t.Parallel()
	for _, s := range sites {
		if s.needs != 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) { scrape(t, s.open(t)) })
	}
}

func scrape(t *testing.T, to *site) {
	fill(t, to)
	web := fmt.Sprint("127.0.0.1:", testbed.FreePort(t))
	exporter := testbed.StartProgram(t, nil, "/usr/bin/prometheus-redis-exporter",
		"--redis.addr", "redis://"+to.addr, "--web.listen-address", web, "--check-single-keys", "db0=list")
	var page string
	testbed.Eventually(t, func() error {
		reply, err := http.Get("http://" + web + "/metrics")
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		page = string(body)
		return err
	}, startWait)
	for _, want := range exported {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(page) {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", exporter.Output(), regexp.MustCompile(`(?m)^(#|go_|process_).*\n`).ReplaceAllString(page, ""))
	}
}

// fill writes twenty keys, five of them with an end.
func fill(t *testing.T, to *site) {
	t.Helper()
	db := redis.NewClient(&redis.Options{Addr: to.addr})
	defer db.Close()
	pipe := db.Pipeline()
	for i := range 19 {
		lifetime := time.Duration(0)
		if i < 5 {
			lifetime = time.Hour
		}
		pipe.Set(t.Context(), fmt.Sprint("key:", i), "v", lifetime)
	}
	pipe.RPush(t.Context(), "list", "a", "b", "c")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}
