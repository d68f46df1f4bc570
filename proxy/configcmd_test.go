package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/resp"
)

// CONFIG SET changes what is in force, everything or nothing, and says so in the log.
func TestConfigSetIsAllOrNothing(t *testing.T) {
	p := codisTopology(t, holding(never), func(cfg *Config, _ *PoolConfig) { cfg.AffordableClients = 5000 })
	c := p.dial(t)
	get := func(name, want string) {
		t.Helper()
		c.want("*2\r\n"+string(resp.AppendBulk(resp.AppendBulk(nil, name), want)), "CONFIG", "GET", name)
	}
	c.want("+OK\r\n", "CONFIG", "SET", "hold.max_wait", "1m", "backend.request_timeout", "250ms", "MaxClients", "4000", "hold.dry_run", "yes",
		"hold.max_bytes", "64mb", "slowlog-log-slower-than", "5000", "loglevel", "debug", "proxy.limits.pubsub_output", "128kb", "backend.max_dedicated", "3")
	s, pool := p.settings.Load(), p.pool.Settings()
	if pool.Hold.MaxWait != time.Minute || pool.Backend.RequestTimeout != 250*time.Millisecond || s.MaxClients != 4000 || !pool.Hold.DryRun ||
		pool.Hold.MaxBytes != 64<<20 || s.SlowlogSlowerThan != 5*time.Millisecond {
		t.Errorf("%+v %+v", s, pool)
	}
	for _, n := range p.pool.Nodes() {
		if got := n.Options().RequestTimeout; got != 250*time.Millisecond {
			t.Errorf("%s has a request timeout of %s", n.Addr, got)
		}
	}
	get("hold.max_wait", "1m")
	get("backend.request_timeout", "250ms")
	get("proxy.max_clients", "4000")
	get("hold.max_bytes", "67108864")
	get("backend.max_dedicated", "3")
	get("proxy.limits.pubsub_output", "131072")
	if got := c.do("CONFIG", "GET", "client-output-buffer-limit"); !strings.HasSuffix(got, " pubsub 131072 0 0\r\n") {
		t.Errorf("%q", got)
	}
	get("loglevel", "debug")
	if log := p.logs.String(); !strings.Contains(log, "until the next reload") || !strings.Contains(log, "hold.max_wait=1m backend.request_timeout=250ms") {
		t.Errorf("log: %s", log)
	}
	const failed = "-ERR CONFIG SET failed (possibly related to argument '%') - "
	for _, bad := range []struct{ name, value, text string }{
		{"hold.max_wait", "1", `argument must be a duration with a unit, such as "500ms"`},
		{"hold.max_wait", "6m", "argument must be between 0s and 5m inclusive"},
		{"maxclients", "5001", "The operating system is not able to handle the specified number of clients, try with 5000"},
		{"hold.dry_run", "maybe", "argument must be 'yes' or 'no'"},
		{"hold.max_bytes", "64qb", "argument must be a memory value"},
		{"hold.max_bytes", "99999999999gb", "argument must be a memory value"},
		{"proxy.limits.max_bulk", "1gb", "proxy.limits.max_unparsed must be greater than proxy.limits.max_bulk"},
		{"cluster-enabled", "yes", "can't set immutable config"},
		{"timeout", "1", "can't set immutable config"},
	} {
		c.want(strings.ReplaceAll(failed, "%", bad.name)+bad.text+"\r\n", "CONFIG", "SET", bad.name, bad.value)
		c.do("CONFIG", "SET", "slowlog-max-len", "7", bad.name, bad.value)
		get("slowlog-max-len", "128")
	}
	if now := p.settings.Load(); *now != *s {
		t.Errorf("changed to %+v", now)
	}
}

// Every parameter that can be set takes the value that it shows.
func TestConfigParamsTakeWhatTheyShow(t *testing.T) {
	p := codisTopology(t, holding(never))
	c := p.dial(t)
	before, pool := *p.settings.Load(), *p.pool.Settings()
	var settable int
	for _, param := range configParams {
		lines := strings.Split(c.do("CONFIG", "GET", param.Name), "\r\n")
		if len(lines) < 5 || lines[0] != "*2" || lines[2] != param.Name {
			t.Errorf("%s: %q", param.Name, lines)
			continue
		}
		if param.Set == nil {
			continue
		}
		settable++
		if got := c.do("CONFIG", "SET", param.Name, lines[4]); got != "+OK\r\n" && !strings.HasPrefix(param.Name, "hold.") {
			t.Errorf("CONFIG SET %s %s: %q", param.Name, lines[4], got)
		}
	}
	now, poolNow := p.settings.Load(), p.pool.Settings()
	if *now != before || poolNow.Hold != pool.Hold || poolNow.Backend != pool.Backend || settable < 20 {
		t.Errorf("%d parameters; changed to %+v, %+v", settable, now, poolNow)
	}
}

// CONFIG RESETSTAT sets INFO to 0, and leaves the counters of the metrics alone.
func TestConfigResetStat(t *testing.T) {
	p := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	c := p.dial(t)
	for range 10 {
		c.want("+OK\r\n", "SET", "k", "v")
		c.do("LPUSH", "k", "wrong")
	}
	c.want("+OK\r\n", "CONFIG", "RESETSTAT")
	c.want("$1\r\nv\r\n", "GET", "k")
	info := infoSectionsOf(t, c.do("INFO", "stats", "commandstats"))
	if got := info["Stats"]; got["total_error_replies"] != "0" || got["total_commands_processed"] != "2" || got["total_connections_received"] != "0" {
		t.Errorf("%v", got)
	}
	if got := info["Commandstats"]; got["cmdstat_set"] != "" || !strings.HasPrefix(got["cmdstat_get"], "calls=1,") {
		t.Errorf("%v", got)
	}
	if s := p.Stats(); s.Errors != 10 || s.ClientsOpened != 1 {
		t.Errorf("%d errors, %d clients", s.Errors, s.ClientsOpened)
	}
}

// A CONFIG SET changes what is in force from reading it to replacing it, and nothing comes in between: a user that a reload takes
// away stays away.
func TestConfigSetDoesNotUndoAReload(t *testing.T) {
	reading, read := make(chan struct{}), make(chan struct{})
	all := configParams
	t.Cleanup(func() { configParams = all }) // When no loop reads it any more.
	configParams = append(slices.Clone(all), param{
		Name: "test.between", OfPool: true, Get: func(*configuration) string { return "" },
		Set: func(*configuration, string) string { // CONFIG SET has read what is in force.
			close(reading)
			<-read
			return ""
		},
	})
	p := codisTopology(t, holding(never))
	before := *p.pool.Settings()
	before.Users = []User{{Name: "default", Passwords: []PasswordHash{HashPassword("pw")}}, {Name: "revoked", Passwords: []PasswordHash{HashPassword("pw")}}}
	p.Reconfigure(func() { p.pool.SetSettings(before) })
	c := p.dial(t)
	c.want("+OK\r\n", "AUTH", "pw")
	c.request("CONFIG", "SET", "hold.max_wait", "1m", "test.between", "x")
	<-reading
	if p.configMu.TryLock() {
		t.Error("a reload could come between reading and replacing")
		p.configMu.Unlock()
	}
	reloaded := make(chan []string)
	go func() {
		after := before
		after.Users = before.Users[:1]
		reloaded <- p.Reconfigure(func() {
			if p.configMu.TryLock() {
				t.Error("a CONFIG SET could come between what a reload replaces")
				p.configMu.Unlock()
			}
			p.pool.SetSettings(after)
		})
	}()
	close(read)
	c.wantReply("+OK\r\n")
	if ended := <-reloaded; !slices.Equal(ended, []string{"hold.max_wait", "test.between"}) {
		t.Errorf("the reload ends %q", ended)
	}
	if s := p.pool.Settings(); len(s.Users) != 1 || s.Hold.MaxWait != before.Hold.MaxWait {
		t.Errorf("in force after the reload: %d users, hold.max_wait %s", len(s.Users), s.Hold.MaxWait)
	}
	if ended := p.Reconfigure(func() {}); len(ended) > 0 {
		t.Errorf("the next reload ends %q", ended)
	}
}
