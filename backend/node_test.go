package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed"
)

var errEvent = errors.New("event")

// breakerNode is a node whose breaker opens after three failures, for a minute.
func breakerNode() (*Node, Options) {
	opts := testOptions()
	opts.BreakerFailures, opts.BreakerOpen = 3, time.Minute
	return NewNode(0, "192.0.2.1:6379", &opts), opts
}

func report(n *Node, events ...error) {
	for _, err := range events {
		n.Report(err)
	}
}

func TestBreakerTransitions(t *testing.T) {
	f := func(want bool, run func(n *Node)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			n, _ := breakerNode()
			defer n.Retire()
			run(n)
			if got := n.Available(); got != want {
				t.Errorf("available %v, want %v", got, want)
			}
		})
	}
	open := func(n *Node) { report(n, errEvent, errEvent, errEvent) }
	f(true, func(*Node) {})
	f(true, func(n *Node) { report(n, errEvent, errEvent) })
	f(false, open)
	// A success in between starts the count again.
	f(true, func(n *Node) { report(n, errEvent, errEvent, nil, errEvent, errEvent) })
	f(false, func(n *Node) { report(n, errEvent, errEvent, nil, errEvent, errEvent, errEvent) })
	// A reply is a success, and costs nothing when there was no failure.
	f(true, func(n *Node) { report(n, errEvent, errEvent); n.succeeded(); report(n, errEvent, errEvent) })
	// Open, it stays open for its time, whatever is reported.
	f(false, func(n *Node) { open(n); report(n, nil, nil) })
	f(false, func(n *Node) { open(n); time.Sleep(time.Minute - 1); report(n, nil) })
	f(false, func(n *Node) { open(n); time.Sleep(2 * time.Minute) }) // Time alone does not close it.
	f(true, func(n *Node) { open(n); time.Sleep(time.Minute + 1); report(n, nil) })
	// Half open, one failure is enough, for another full time.
	f(false, func(n *Node) { open(n); time.Sleep(time.Minute + 1); report(n, errEvent, nil) })
	f(false, func(n *Node) {
		open(n)
		time.Sleep(time.Minute + 1)
		report(n, errEvent)
		time.Sleep(time.Minute - 1)
		report(n, nil)
	})
	f(true, func(n *Node) {
		open(n)
		time.Sleep(time.Minute + 1)
		report(n, errEvent)
		time.Sleep(time.Minute + 1)
		report(n, nil)
	})
	// Closed again, it takes three failures again.
	f(true, func(n *Node) { open(n); time.Sleep(time.Minute + 1); report(n, nil, errEvent, errEvent) })
	f(false, func(n *Node) { open(n); time.Sleep(time.Minute + 1); report(n, nil); open(n) })
}

// What is silent while a migration is known may be paused; what refuses or breaks a connection is not.
func TestPatientNode(t *testing.T) {
	f := func(want bool, err error) {
		t.Helper()
		n, _ := breakerNode()
		defer n.Retire()
		n.SetPatient(true)
		report(n, err, err, err)
		if got := n.Available(); got != want {
			t.Errorf("%v: available %v, want %v", err, got, want)
		}
		if n.Serves() || n.Paused() != want {
			t.Errorf("%v: it serves: %v, paused: %v", err, n.Serves(), n.Paused())
		}
		if n.succeeded(); !n.Serves() && want {
			t.Errorf("%v: it has answered, and does not serve", err)
		}
	}
	f(true, ErrTimeout)
	f(true, fmt.Errorf("PING: %w", context.DeadlineExceeded))
	f(true, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded})
	f(false, errEvent)
	f(false, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})

	n, _ := breakerNode()
	defer n.Retire()
	troubles := 0
	n.OnFailure(func(string) { troubles++ })
	n.SetPatient(true)
	report(n, ErrTimeout, ErrTimeout, ErrTimeout, ErrTimeout)
	n.SetPatient(false)
	if n.Paused() {
		t.Error("paused without patience")
	}
	report(n, ErrTimeout, ErrTimeout)
	if !n.Available() || troubles != 2 {
		t.Errorf("what was silent before counts: available %v, %d troubles", n.Available(), troubles)
	}
	report(n, ErrTimeout)
	if n.Available() {
		t.Error("patience for ever")
	}
}

func TestBreakerTakesNewOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, opts := breakerNode()
		defer n.Retire()
		opts.BreakerFailures = 1
		n.SetOptions(&opts)
		report(n, errEvent)
		if n.Available() {
			t.Error("still three failures")
		}
		shorter := opts
		shorter.BreakerOpen = time.Second
		n.SetOptions(&shorter)
		report(n, errEvent)
		time.Sleep(time.Second + 1)
		report(n, nil)
		if !n.Available() {
			t.Error("still open for a minute")
		}
	})
}

// What was wrong with a node that no topology has named for a while is not held against it when one does again.
func TestBreakerForgetsWhileUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := breakerNode()
		report(n, errEvent, errEvent, errEvent)
		for _, c := range []struct {
			away      time.Duration
			available bool
		}{{time.Second, false}, {forgetAfter, true}} {
			n.SetWanted(false)
			time.Sleep(c.away)
			n.SetWanted(true)
			if got := n.Available(); got != c.available || got != (n.DownSince() == 0) {
				t.Errorf("after %s unwanted: available %t, down since %d", c.away, got, n.DownSince())
			}
		}
	})
}

// An event that began under the old breaker says nothing about the new one.
func TestBreakerReplacedWhileAnEventIsUnderWay(t *testing.T) {
	n, opts := breakerNode()
	defer n.Retire()
	report(n, errEvent, errEvent)
	done, err := n.breaker.Load().Allow()
	if err != nil {
		t.Fatal(err)
	}
	opts.BreakerOpen = time.Hour
	n.SetOptions(&opts)
	done(errEvent)
	report(n, nil, nil, nil)
	if !n.Available() {
		t.Error("the node is unavailable for ever: its breaker is closed and won't say so again")
	}
}

func TestBreakerIsSafeForConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := breakerNode()
		defer n.Retire()
		var work sync.WaitGroup
		for i := range 8 {
			work.Go(func() {
				for j := range 1000 {
					if (i+j)%3 == 0 {
						n.succeeded()
						n.Report(nil)
					} else {
						n.Report(errEvent)
					}
					_ = n.Available()
				}
			})
		}
		work.Wait()
		time.Sleep(time.Minute + 1)
		report(n, nil)
		if !n.Available() {
			t.Error("it does not close")
		}
		report(n, errEvent, errEvent, errEvent)
		if n.Available() {
			t.Error("it does not open")
		}
	})
}

func awaitStatus(t testing.TB, n *Node, what string, ok func(s *Status) bool) *Status {
	t.Helper()
	testbed.Eventually(t, func() error {
		if !ok(n.Status()) {
			return fmt.Errorf("%s: %s: %+v", n, what, *n.Status())
		}
		return nil
	}, testWait)
	return n.Status()
}

// probed runs the probe of a node until the test ends.
func probed(t testing.TB, addr string, change func(*Options)) *Node {
	t.Helper()
	opts := testOptions()
	opts.ProbeInterval, opts.BreakerOpen = 5*time.Millisecond, time.Millisecond
	if change != nil {
		change(&opts)
	}
	n := NewNode(0, addr, &opts)
	var work sync.WaitGroup
	work.Go(n.Run)
	t.Cleanup(func() {
		n.Retire()
		work.Wait()
	})
	return n
}

func TestProbeLearnsWhatTheServerIs(t *testing.T) {
	master := testbed.Redis(t)
	replica := testbed.Replica(t, master)
	version := ""
	for line := range strings.Lines(master.Do("INFO", "server").String()) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			version = strings.TrimSpace(v)
		}
	}
	for addr, role := range map[string]string{master.Addr(): "master", replica.Addr(): "replica"} {
		s := awaitStatus(t, probed(t, addr, nil), "answered", func(s *Status) bool { return s.RTT > 0 })
		if s.RESP3 != Supported || s.Version != version || s.Role != role || s.Err != "" {
			t.Errorf("%+v, want a %s of version %s with RESP3", *s, role, version)
		}
	}
}

// The probe opens the breaker of a server that is gone or frozen, says why, and closes it again.
func TestProbeFollowsTheServer(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	// How long it waits for a server that is frozen.
	n := probed(t, s.Addr(), func(o *Options) { o.DialTimeout = 100 * time.Millisecond })
	up := awaitStatus(t, n, "answered", func(s *Status) bool { return s.RTT > 0 })
	f := func(why string, down, back func() error) {
		t.Helper()
		if err := down(); err != nil {
			t.Fatal(err)
		}
		st := awaitStatus(t, n, "failed", func(s *Status) bool { return strings.Contains(s.Err, why) })
		awaitAvailable(t, n, false)
		if !st.Since.After(up.Since) {
			t.Error("Since did not move when the server failed")
		}
		if err := back(); err != nil {
			t.Fatal(err)
		}
		awaitAvailable(t, n, true)
		awaitStatus(t, n, "answered again", func(s *Status) bool { return s.Err == "" && s.Since.After(st.Since) })
	}
	f("connection refused", s.Kill, s.Restart)
	f("no reply in time", s.Stop, s.Cont)
}

func awaitAvailable(t testing.TB, n *Node, want bool) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if n.Available() != want {
			return fmt.Errorf("available: %v, status %+v", !want, *n.Status())
		}
		return nil
	}, testWait)
}

// answering is a server that answers every connection by the lines it gets, see greetWith.
func answering(t testing.TB, answers map[string]string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				r := resp.NewReader(conn)
				for {
					v, _, err := r.ReadValue()
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte(answers[v.Array()[0].String()]))
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		work.Wait() // The nodes that were connected are retired by now: cleanups run last in, first out.
	})
	return ln.Addr().String()
}

func TestProbeOfOtherServers(t *testing.T) {
	info := "redis_version:3.2.11\r\nrole:slave\r\n"
	infoReply := fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
	unknown := "-ERR unknown command 'HELLO'\r\n"
	f := func(ping, hello string, ok func(s *Status) bool) {
		t.Helper()
		addr := answering(t, map[string]string{
			"PING": ping, "HELLO": hello, "INFO": infoReply,
		})
		awaitStatus(t, probed(t, addr, nil), "ping "+ping, ok)
	}
	f("+PONG\r\n", unknown, func(s *Status) bool {
		return s.Err == "" && s.RTT > 0 && s.RESP3 == Unsupported && s.Version == "3.2.11" && s.Role == "replica"
	})
	// It lives, whatever else is wrong.
	f("-LOADING Redis is loading the dataset in memory\r\n", unknown, func(s *Status) bool { return s.Err == "" && s.RTT > 0 })
	f("-MASTERDOWN Link with MASTER is down\r\n", unknown, func(s *Status) bool { return s.Err == "" && s.RTT > 0 })
	f("-NOAUTH Authentication required.\r\n", unknown, func(s *Status) bool {
		return s.Err == "greeting refused: PING: NOAUTH Authentication required."
	})
	f("HTTP/1.1 400\r\n", unknown, func(s *Status) bool { return strings.Contains(s.Err, "unknown reply type 'H'") })
}

// The end of a node, or of the time for a probe, may come at any moment of it.
func TestProbeIsCutShort(t *testing.T) {
	addr := answering(t, map[string]string{
		"PING": "+PONG\r\n", "HELLO": "-ERR unknown command\r\n", "INFO": "$0\r\n\r\n",
	})
	opts := testOptions()
	n := NewNode(0, addr, &opts)
	defer n.Retire()
	for range 300 {
		p := probe{node: n}
		if err := p.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = p.once(ended) // It may get its answer all the same.
		p.close()
	}
}
