package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

func TestServiceKnowsItsOwnErrors(t *testing.T) {
	f := func(reply string, failed bool) {
		t.Helper()
		var s served
		s.failure([]byte(reply + "\r\n"))
		if (s.failed == 1) != failed {
			t.Errorf("%s: counted %d times", reply, s.failed)
		}
		if failed && string(s.last) != reply[1:] {
			t.Errorf("%s is shown as %q", reply, s.last)
		}
	}
	f("-READONLY You can't write against a read only replica.", true)
	f("-ERR 4 connections to backend 127.0.0.1:1 are taken by WATCH and blocking commands, see max_dedicated", true)
	f("-TRYAGAIN slot 1 is locked (held 2.0s)", true)
	f("-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.", true)
	f("-EXECABORT Transaction discarded because of previous errors.", false)
	f("-WRONGTYPE Operation against a key holding the wrong kind of value", false)
	f("-ERR unknown command 'x'", false)
	f("-NOSCRIPT No matching script. Please use EVAL.", false)
	f("-NOAUTH Authentication required.", false)
}

func TestServiceOfAPool(t *testing.T) {
	second := int64(time.Second)
	s := new(service)
	want := func(now int64, want bool) {
		t.Helper()
		if got := s.trouble(now * second); (got != "") != want {
			t.Errorf("second %d: %q", now, got)
		}
	}
	add := func(at int64, requests, failed uint64) { s.add(at*second+second/2, requests, failed, []byte("OOM")) }
	want(100, false)
	add(100, 1000, 10) // One percent is tolerated.
	add(101, 1000, 10)
	want(102, false)
	add(102, 1000, 6)
	add(102, 1000, 15) // Of another loop.
	want(103, false)   // It takes two seconds.
	add(103, 1, 1)
	want(103, false) // That is not over.
	want(104, true)
	if got, want := s.trouble(104*second), "22 of 2001 requests were not served in two seconds, such as: OOM"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	want(120, true) // Nobody has asked for anything since.
	want(163, true)
	want(200, false)
	add(201, 10, 0)
	add(202, 10, 1)
	want(203, false)
	want(203+2*serviceSeconds, false)
}

// Whatever keeps requests from being served is said while it lasts, and not any more when it is over.
func TestTroubleOfAPool(t *testing.T) {
	t.Parallel()
	f := func(name, says string, bring func(p *testProxy, s *testbed.Server), mend func(p *testProxy, s *testbed.Server)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testbed.Redis(t)
			p := startProxy(t, codisModel, evenly(codisModel, s.Addr()), holding(50*time.Millisecond), func(_ *Config, pool *PoolConfig) {
				pool.Backend.RequestTimeout, pool.Backend.BreakerFailures = never, 1<<30
			})
			c := p.dial(t)
			c.want("+OK\r\n", "SET", "k", "v")
			await := func(want func(trouble string) bool) {
				t.Helper()
				testbed.Eventually(t, func() error {
					for range 10 {
						c.do("APPEND", "k", "x")
					}
					c.do("LLEN", "k") // An error that is an answer.
					if trouble := p.pool.Trouble(); !want(trouble) {
						return fmt.Errorf("trouble %q", trouble)
					}
					return nil
				}, replyWait)
			}
			bring(p, s)
			await(func(trouble string) bool { return strings.Contains(trouble, says) })
			mend(p, s)
			await(func(trouble string) bool { return trouble == "" })
		})
	}
	do := func(args ...string) func(*testProxy, *testbed.Server) {
		return func(_ *testProxy, s *testbed.Server) {
			if err := s.Do(args...).Error(); err != nil {
				t.Error(err)
			}
		}
	}
	none := fmt.Sprint(testbed.FreePort(t))
	f("the master is a replica", "TRYAGAIN slot ", do("REPLICAOF", "127.0.0.1", none), do("REPLICAOF", "NO", "ONE"))
	f("no memory", "OOM ", do("CONFIG", "SET", "maxmemory", "1"), do("CONFIG", "SET", "maxmemory", "0"))
	f("too few replicas", "NOREPLICAS ", do("CONFIG", "SET", "min-replicas-to-write", "1"), do("CONFIG", "SET", "min-replicas-to-write", "0"))
	f("a lock that is forgotten", " is locked in group 1", func(p *testProxy, s *testbed.Server) {
		p.setTable(t, evenly(codisModel, s.Addr()), lock(codisModel, "k"))
	}, func(p *testProxy, s *testbed.Server) { p.setTable(t, evenly(codisModel, s.Addr())) })
	f("frozen", "outcome unknown: ", func(p *testProxy, s *testbed.Server) {
		p.setTimeout(shortTimeout)
		_ = s.Stop()
	}, func(p *testProxy, s *testbed.Server) {
		_ = s.Cont()
		p.setTimeout(never)
	})
	f("nobody owns the slots", "CLUSTERDOWN ", func(p *testProxy, s *testbed.Server) {
		p.setTable(t, []router.GroupSpec{{ID: "1", Master: s.Addr(), Slots: []router.Range{{From: 0, To: 0}}}})
	}, func(p *testProxy, s *testbed.Server) { p.setTable(t, evenly(codisModel, s.Addr())) })
}
