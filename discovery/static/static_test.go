package static

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"sluice/discovery"
	"sluice/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func groups(master string) []router.GroupSpec {
	return []router.GroupSpec{{
		ID: "1", Master: master, Replicas: []string{"r:1"}, Slots: []router.Range{{From: 0, To: 15}},
	}}
}

func TestGroupsArePublishedAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		given := groups("a:1")
		src := New(given)
		var seen []discovery.Snapshot
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- src.Run(ctx, func(s discovery.Snapshot) { seen = append(seen, s) }) }()

		f := func(n int, want string) {
			t.Helper()
			synctest.Wait()
			if len(seen) != n || fmt.Sprint(seen[n-1].Groups) != want {
				t.Errorf("%d snapshots %v, want %d, the last %s", len(seen), seen, n, want)
			}
		}
		f(1, "[{1 a:1 [r:1] [0-15] map[]}]")
		src.Refresh()
		f(1, "[{1 a:1 [r:1] [0-15] map[]}]")
		given[0].Master, given[0].Replicas[0], given[0].Slots[0].To = "x:1", "x:1", 1
		f(1, "[{1 a:1 [r:1] [0-15] map[]}]") // The source has a copy.
		src.Set(groups("b:1"))
		f(2, "[{1 b:1 [r:1] [0-15] map[]}]")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestOnlyTheNewestGroupsArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := New(groups("a:1"))
		src.Set(groups("b:1"))
		src.Set(groups("c:1"))
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		done := make(chan error)
		go func() {
			done <- src.Run(ctx, func(s discovery.Snapshot) { seen = append(seen, s.Groups[0].Master) })
		}()
		synctest.Wait()
		cancel()
		<-done
		if fmt.Sprint(seen) != "[c:1]" {
			t.Errorf("published %v", seen)
		}
	})
}
