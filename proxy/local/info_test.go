package local

import (
	"strings"
	"testing"

	"sluice/proxy/merge"
)

// writeOwn is what is Sluice's own.
func writeOwn(b *strings.Builder, section string) {
	b.WriteString(map[string]string{
		"Server": "redis_version:7.0.15\r\n", "Memory": "used_memory:0\r\n", "Cluster": "cluster_enabled:1\r\n",
		"Commandstats": "cmdstat_get:calls=4\r\n",
	}[section])
}

func TestInfoOfSluiceAndItsServers(t *testing.T) {
	servers := merge.Info([]string{"# Server\r\nredis_version:6\r\ngcc_version:12\r\nexecutable:/x\r\n" +
		"# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n" +
		"# Memory\r\nused_memory:100\r\n# Cluster\r\ncluster_enabled:0\r\n"})
	f := func(servers merge.Sections, want string, names ...string) {
		t.Helper()
		got := string(WantedInfo(bytesOf(names)).Append(nil, writeOwn, servers, true))
		if _, text, _ := strings.Cut(got, "txt:"); text != want+"\r\n" {
			t.Errorf("INFO %s: %q, want %q", names, text, want)
		}
	}
	f(servers, "", "nosuch")
	f(servers, "# Memory\r\nused_memory:100\r\n\r\n# Cluster\r\ncluster_enabled:1\r\n\r\n"+
		"# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n", "keyspace", "CLUSTER", "memory")
	f(nil, "# Memory\r\nused_memory:0\r\n\r\n# Modules\r\n", "memory", "modules")
	f(servers, "# Commandstats\r\ncmdstat_get:calls=4\r\n", "commandstats")
	f(servers, "# Server\r\nredis_version:7.0.15\r\ngcc_version:12\r\n", "server")
	got := string(WantedInfo(nil).Append(nil, writeOwn, nil, false))
	if got[0] != '$' || strings.Contains(got, "Commandstats") {
		t.Errorf("INFO: %q", got)
	}
}

func TestInfoAsksTheServersOnlyWhereItMust(t *testing.T) {
	for names, want := range map[string]bool{
		"": true, "proxy": false, "proxy replication cluster backends commandstats": false, "proxy keyspace": true,
		"all": true, "x": false,
	} {
		if got := WantedInfo(bytesOf(strings.Fields(names))).OfServers(); got != want {
			t.Errorf("INFO %s: %v", names, got)
		}
	}
}
