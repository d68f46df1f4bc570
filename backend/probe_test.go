package backend

import (
	"sync"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// watchedNode runs the probe of a node, which asks once and then only when somebody wants it, until the test ends.
func watchedNode(t *testing.T, addr string) (*Node, <-chan Observation) {
	t.Helper()
	opts := testOptions()
	opts.ProbeInterval, opts.BreakerOpen = time.Hour, time.Hour
	n, seen := NewNode(0, addr, &opts), make(chan Observation)
	n.OnProbe(func(o Observation) {
		select {
		case seen <- o:
		case <-n.ctx.Done():
		}
	})
	var work sync.WaitGroup
	work.Go(n.Run)
	t.Cleanup(func() {
		n.Retire()
		work.Wait()
	})
	return n, seen
}

// next is the next outcome of a probe.
func next(t *testing.T, seen <-chan Observation) Observation {
	t.Helper()
	select {
	case o := <-seen:
		return o
	case <-time.After(testWait):
		t.Fatal("there was no probe")
		return Observation{}
	}
}

// TestEndedConnectionIsNoAnswer: a server that was restarted has closed the connection, and is not silent.
func TestEndedConnectionIsNoAnswer(t *testing.T) {
	s := testbed.Redis(t)
	n, seen := watchedNode(t, s.Addr())
	first := next(t, seen)
	f := func(what string, change func() error, ended, answers bool) {
		t.Helper()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		n.Kick()
		o := next(t, seen)
		if o.Err == nil || o.Ended != ended {
			t.Fatalf("%s: error %v, ended %t, want %t", what, o.Err, o.Ended, ended)
		}
		if !ended {
			return
		}
		o = next(t, seen) // Without a kick.
		if (o.Err == nil) != answers || o.Ended {
			t.Errorf("%s: asked again: error %v, ended %t", what, o.Err, o.Ended)
		}
		if answers && (o.Life == first.Life || o.Asked == 0 || o.Answered < o.Asked) {
			t.Errorf("%s: asked again: %+v", what, o)
		}
	}
	f("restarted", s.Restart, true, true)
	f("gone", s.Kill, true, false)
	f("still gone", func() error { return nil }, false, false)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	n.Kick()
	if o := next(t, seen); o.Err != nil {
		t.Fatal(o.Err)
	}
	opts := *n.Options()
	opts.DialTimeout = 100 * time.Millisecond // How long it waits for a server that is frozen.
	n.SetOptions(&opts)
	f("frozen", s.Stop, false, false)
	if err := s.Cont(); err != nil {
		t.Fatal(err)
	}
}

func TestWatchedNodeIsAskedAsOftenAsWanted(t *testing.T) {
	n, seen := watchedNode(t, testbed.Redis(t).Addr())
	next(t, seen)
	n.SetWatch(time.Millisecond)
	n.Kick()
	for range 5 {
		next(t, seen)
	}

	f := func(role string, interval, watch, want time.Duration) {
		t.Helper()
		opts := testOptions()
		opts.ProbeInterval, opts.BreakerOpen = interval, time.Hour
		n := NewNode(0, "127.0.0.1:0", &opts)
		defer n.Retire()
		n.setStatus(Status{Role: role})
		n.SetWatch(watch)
		if got := n.probeWait(); got != want {
			t.Errorf("%s, interval %s, watched every %s: waits %s, want %s", role, interval, watch, got, want)
		}
	}
	f("master", time.Hour, 0, time.Hour)
	f("master", time.Hour, time.Second, time.Second)
	f("master", 100*time.Millisecond, time.Second, 100*time.Millisecond)
	f("replica", 100*time.Millisecond, 0, 125*time.Millisecond)
	f("replica", 100*time.Millisecond, time.Second, 125*time.Millisecond)
	f("replica", time.Second, time.Second, 1200*time.Millisecond)
}
