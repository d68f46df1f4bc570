package codis

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
)

// A failover by real sentinels: the topology follows, and the dashboard has the last word again.
func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	const failoverWait = 60 * time.Second // Sentinels of a busy machine may try twice.
	master := testbed.Redis(t)
	replica := testbed.Replica(t, master)
	sentinels := testbed.Sentinels(t, 3)
	testbed.WatchMaster(t, sentinels, "demo-1", master.Addr(), 1)
	var servers []string
	for _, s := range sentinels {
		servers = append(servers, s.Addr())
	}
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.SentinelEvery = 100 * time.Millisecond })
	d := startDashboard(t, func(o *dashboard.Options) { o.Sentinels = servers },
		dashboard.Group{ID: 1, Servers: []string{master.Addr(), replica.Addr()}, ReplicaReads: true},
		dashboard.Group{ID: 2, Servers: []string{addrB}})
	must(t, d.Assign(t.Context(), 1, 0, 1))
	must(t, d.Assign(t.Context(), 2, 2))
	must(t, d.Online(t.Context(), s.addr))
	s.wants(fmt.Sprintf("0-1 1:%s +%s\n2-2 2:%s\n3-1023 offline", master.Addr(), replica.Addr(), addrB))
	eventually(t, master.Addr(), func() string { st, _ := d.Proxy(s.addr); return st.Sentinels.Masters["1"] })
	if st, _ := d.Proxy(s.addr); st.Sentinels.Switched || len(st.Sentinels.Masters) != 1 {
		t.Errorf("before the failover: %+v", st.Sentinels)
	}

	must(t, master.Kill())
	followed := fmt.Sprintf("0-1 1:%s\n2-2 2:%s\n3-1023 offline", replica.Addr(), addrB)
	testbed.Eventually(t, func() error {
		if got := strings.ReplaceAll(describe(s.table()), " +"+master.Addr(), ""); got != followed {
			return fmt.Errorf("%s, want %s", got, followed)
		}
		return nil
	}, failoverWait)
	eventually(t, true, func() bool { st, _ := d.Proxy(s.addr); return st.Sentinels.Switched })

	// A dashboard that has not heard of it yet moves a slot: that changes nothing in what the sentinels have said.
	must(t, d.Assign(t.Context(), 1, 1, 2))
	if got, want := describeSlot(s.table(), 2), "1:"+replica.Addr(); !strings.HasPrefix(got, want) {
		t.Errorf("slot 2: %s, want %s", got, want)
	}
	must(t, d.SwitchMaster(1, replica.Addr()))
	must(t, d.Resync(t.Context(), 1))
	s.wants(fmt.Sprintf("0-2 1:%s +%s\n3-1023 offline", replica.Addr(), master.Addr()))
	eventually(t, false, func() bool { st, _ := d.Proxy(s.addr); return st.Sentinels.Switched })
	// Whatever the dashboard names next counts, although the sentinels repeat themselves.
	must(t, d.SwitchMaster(1, master.Addr()))
	must(t, d.Resync(t.Context(), 1))
	looks := func() int { return connectionsOf(sentinels[0].Do("INFO", "stats").String()) }
	before := looks()
	eventually(t, true, func() bool { return looks() > before+6 })
	s.wants(fmt.Sprintf("0-2 1:%s +%s\n3-1023 offline", master.Addr(), replica.Addr()))
}

// connectionsOf reads total_connections_received of INFO stats: every look at a sentinel is a connection.
func connectionsOf(info string) (n int) {
	_, rest, _ := strings.Cut(info, "total_connections_received:")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// liar is a sentinel that says what it is told to. mu guards the fields below it.
type liar struct {
	addr string

	mu      sync.Mutex
	masters map[string]string
	asked   int
}

func startLiar(t *testing.T, masters map[string]string) *liar {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := &liar{addr: ln.Addr().String(), masters: masters}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() { l.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		work.Wait()
	})
	return l
}

func (l *liar) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r, w := resp.NewReader(conn), resp.NewWriter(conn)
	for {
		v, _, err := r.ReadValue()
		if err != nil {
			return
		}
		args := v.Array()
		l.mu.Lock()
		l.asked++
		addr, known := l.masters[args[len(args)-1].String()]
		l.mu.Unlock()
		host, port, _ := net.SplitHostPort(addr)
		reply := resp.ArrayValue([]resp.Value{resp.StringValue(host), resp.StringValue(port)})
		if !known {
			reply = resp.NullValue()
		}
		if err := w.WriteValue(reply); err != nil {
			return
		}
	}
}

// say changes what the sentinel says, and returns when it has said that.
func (l *liar) say(t *testing.T, masters map[string]string) {
	t.Helper()
	l.mu.Lock()
	l.masters = maps.Clone(masters)
	l.mu.Unlock()
	l.heard(t, 2) // The first may have been on its way.
}

// heard returns when the sentinel was asked n times more, and what it said has had its effect but for the last time.
func (l *liar) heard(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	until := l.asked + n + 1
	l.mu.Unlock()
	eventually(t, true, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.asked >= until
	})
}

// What sentinels say counts when more than half of those that there are say it, and when it is news.
func TestSentinelsThatDisagree(t *testing.T) {
	t.Parallel()
	const name = "demo-1"
	var liars []*liar
	var servers []string
	for range 2 {
		l := startLiar(t, map[string]string{name: addrA})
		liars, servers = append(liars, l), append(servers, l.addr)
	}
	gone := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.SentinelEvery = 10 * time.Millisecond })
	set := func(servers ...string) {
		t.Helper()
		body := `{"servers": ["` + strings.Join(servers, `", "`) + `"], "out_of_sync": false}`
		s.api(http.MethodPut, "sentinels", "", body).is(http.StatusOK, "OK")
	}
	both := func(addr string) {
		t.Helper()
		for _, l := range liars {
			l.say(t, map[string]string{name: addr, "demo-2": addrD, "other-1": addrD})
		}
		liars[0].heard(t, 2)
	}
	first := "0-0 1:127.0.0.1:1\n1-1023 offline"
	second := "0-0 1:127.0.0.1:2\n1-1023 offline"
	s.fillIn(owned(0, 1, addrA))
	set(servers[0], servers[1], gone)
	liars[0].heard(t, 2)
	s.wants(first)
	liars[0].say(t, map[string]string{name: addrB})
	s.wants(first) // One of three.
	liars[0].say(t, nil)
	s.wants(first)
	both(addrB)
	s.wants(second) // Two of three.
	if n := s.applied(); n != 2 {
		t.Errorf("%d tables, want 2", n)
	}

	// The dashboard repeats itself: no news. It names another master: that counts, also when the sentinels repeat themselves.
	s.fillIn(owned(0, 1, addrA))
	s.wants(second)
	s.fillIn(owned(0, 1, addrC))
	liars[0].heard(t, 2)
	s.wants("0-0 1:127.0.0.1:3\n1-1023 offline")
	both(addrA)
	s.wants(first)

	// Rewatch makes news of what they say.
	s.fillIn(owned(0, 1, addrD))
	liars[0].heard(t, 2)
	s.wants("0-0 1:127.0.0.1:4\n1-1023 offline")
	s.api(http.MethodPut, "sentinels", "/rewatch", "").is(http.StatusOK, "OK")
	liars[0].heard(t, 3)
	s.wants(first)

	// The source of a move follows, too.
	s.fillIn(dashboard.Slot{ID: 0, BackendAddr: addrC, BackendAddrGroupID: 3, MigrateFrom: addrD, MigrateFromGroupID: 1})
	s.wants("0-0 3:127.0.0.1:3, moving from group 1 to group 3 at 127.0.0.1:1, sync\n1-1023 offline")

	// Without sentinels the dashboard alone counts.
	s.api(http.MethodPut, "sentinels", "", "{}").is(http.StatusOK, "OK")
	s.wants("0-0 3:127.0.0.1:3, moving from group 1 to group 3 at 127.0.0.1:4, sync\n1-1023 offline")
}
