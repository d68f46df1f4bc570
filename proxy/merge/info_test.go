package merge

import (
	"strings"
	"testing"
)

func TestMergeOfInfo(t *testing.T) {
	f := func(name, want string, values ...string) {
		t.Helper()
		s := &Fields{title: "X", values: map[string][]string{name: values, "m": {"1000", "1000000"}}}
		if strings.HasPrefix(name, "db") {
			s.title = "Keyspace"
		}
		if got := s.value(name); got != want {
			t.Errorf("%s of %q: %s, want %s", name, values, got, want)
		}
	}
	f("evicted_keys", "7", "3", "4")
	f("used_cpu_sys", "1.500000", "0.250000", "1.250000")
	f("mem_fragmentation_ratio", "12.50", "1.50", "12.50")
	f("used_memory_peak_perc", "99.50%", "50.01%", "99.50%")
	f("allocator_active", "30", "10", "20")
	f("maxmemory", "0", "0", "100", "5")
	f("maxmemory", "105", "100", "5")
	f("rdb_last_save_time", "5", "9", "5", "7")
	f("rdb_last_bgsave_time_sec", "3", "-1", "3")
	f("rdb_last_bgsave_status", "ok|err", "ok", "err", "ok")
	f("redis_git_sha1", "00000000", "00000000", "00000000")
	f("loading", "1", "0", "1")
	f("hz", "10", "10", "10")
	f("m_human", "977.54K", "x", "y")
	f("errorstat_ERR", "count=5", "count=2", "count=3")
	f("latency_percentiles_usec_get", "p50=2.007,p99=9.023", "p50=1.003,p99=9.023", "p50=2.007,p99=3.007")
	f("db0", "keys=30,expires=4,avg_ttl=250", "keys=10,expires=1,avg_ttl=1000", "keys=20,expires=3,avg_ttl=0")
	f("db1", "keys=1,expires=0,avg_ttl=0", "keys=1,expires=0,avg_ttl=0")
	merged := Info([]string{"# Server\r\nredis_version:7\r\n\r\n# Modules\r\nmodule:name=a,ver=1\r\nmodule:name=b,ver=1\r\n",
		"# Modules\nmodule:name=a,ver=1\n# Time:2026-01-01 00:00:00\nx:1\nnothing\n"})
	var b strings.Builder
	merged["modules"].Write(&b, func(string) bool { return false })
	if want := "module:name=a,ver=1\r\nmodule:name=b,ver=1\r\nx:1\r\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
