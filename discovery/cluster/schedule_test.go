package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/discovery"
)

// looks runs a Source whose only seed is played by node, inside a synctest bubble, and returns when it was
// asked, counted from the start. node may be nil: then nobody is there. during runs meanwhile.
func looks(t *testing.T, node *fakeNode, during func(*Source)) []time.Duration {
	t.Helper()
	var (
		mu  sync.Mutex // guards at
		at  []time.Duration
		wg  sync.WaitGroup
		beg = time.Now()
	)
	src := New(Config{Seeds: []string{"seed:1"}, Dial: func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Since(beg))
		if node == nil {
			return nil, errors.New("nobody there")
		}
		client, server := net.Pipe()
		wg.Go(func() { node.talk(server) })
		return client, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if err := src.Run(ctx, func(discovery.Snapshot) {}); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	during(src)
	cancel()
	wg.Wait()
	return at
}

func wellNode() *fakeNode {
	return &fakeNode{answers: map[string]string{
		"CLUSTER INFO":   bulk("cluster_state:ok\r\n"),
		"CLUSTER SHARDS": shardsReply(shardOf(0, 16383, "seed:1")),
	}}
}

// gaps are the times between looks.
func gaps(at []time.Duration) []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i]-at[i-1])
	}
	return gaps
}

func TestLooksArePeriodicWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := looks(t, wellNode(), func(*Source) { time.Sleep(1000 * time.Second) })
		if len(at) < 84 || len(at) > 125 || at[0] != 0 {
			t.Errorf("%d looks in 1000 s, the first at %s", len(at), at[0])
		}
		different := make(map[time.Duration]bool)
		for _, gap := range gaps(at) {
			different[gap] = true
			if gap < 8*time.Second || gap > 12*time.Second {
				t.Errorf("a gap of %s", gap)
			}
		}
		if len(different) < 10 {
			t.Errorf("only %d different gaps: no jitter", len(different))
		}
	})
}

func TestRefreshLooksAtOnceAfterAQuietTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := looks(t, wellNode(), func(src *Source) {
			time.Sleep(5 * time.Second)
			src.Refresh()
			synctest.Wait()
			time.Sleep(time.Second)
			src.Refresh()
			synctest.Wait()
		})
		if len(at) != 3 || at[1] != 5*time.Second || at[2] != 6*time.Second {
			t.Errorf("looks at %v", at)
		}
	})
}

func TestRefreshWithoutEndIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := looks(t, wellNode(), func(src *Source) {
			for range 10000 {
				src.Refresh()
				time.Sleep(time.Millisecond)
			}
		})
		got := gaps(at)
		for i, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			if got[i] != want*time.Millisecond {
				t.Fatalf("gaps %v, want %dms at %d", got, want, i)
			}
		}
		if len(at) != 13 { // 0, 0.1, 0.3, 0.7, 1.5, 2.5 … 9.5 s
			t.Errorf("%d looks in 10 s", len(at))
		}
	})
}

func TestGapShrinksAgainAfterAQuietTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := looks(t, wellNode(), func(src *Source) {
			for range 3000 {
				src.Refresh()
				time.Sleep(time.Millisecond)
			}
			time.Sleep(3 * time.Second)
			src.Refresh()
			src.Refresh()
			synctest.Wait()
			src.Refresh() // Within the gap of the look before.
			time.Sleep(time.Second)
		})
		got := gaps(at)
		if last := got[len(got)-1]; last != minGap {
			t.Errorf("the last gap is %s of %v", last, got)
		}
	})
}

func TestFailedLooksBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := looks(t, nil, func(src *Source) {
			time.Sleep(60 * time.Second)
			if err := src.Err(); err == nil {
				t.Error("no error")
			}
		})
		got := gaps(at)
		for i, want := range []time.Duration{250, 500, 1000, 2000, 4000, 5000, 5000} {
			want *= time.Millisecond
			if got[i] < want*8/10 || got[i] > want*12/10 {
				t.Errorf("gap %d is %s, want %s ± a fifth", i, got[i], want)
			}
		}
	})
}

func TestRefreshNeverBlocks(t *testing.T) {
	src := New(Config{})
	for range 3 { // Nobody runs the source.
		src.Refresh()
	}
}

// A look that began with the old seeds must not bring the old cluster back.
func TestLookAtOldSeedsIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		release := make(chan struct{})
		src := New(Config{Seeds: []string{"old:1"}, Timeout: time.Hour, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			client, server := net.Pipe()
			wg.Go(func() {
				if addr == "old:1" {
					<-release
				}
				node := wellNode()
				node.set("CLUSTER SHARDS", shardsReply(shardOf(0, 16383, addr)))
				node.talk(server)
			})
			return client, nil
		}})
		var seen []string
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			_ = src.Run(ctx, func(s discovery.Snapshot) { seen = append(seen, describeGroups(s.Groups)) })
		})
		synctest.Wait()
		src.SetConfig(Config{Seeds: []string{"new:1"}})
		close(release)
		synctest.Wait()
		cancel()
		wg.Wait()
		for _, got := range seen {
			if got != "0-16383 new:1" {
				t.Errorf("published %s", got)
			}
		}
		if len(seen) == 0 {
			t.Error("nothing was published")
		}
	})
}
