package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/scan"
	"sluice/router"
)

// wideServer has keys, and cursors like those of Kvrocks: numbers of 64 bits of which no two are the same.
type wideServer struct {
	*fakeBackend
	scans chan string // the cursors that it was asked for
}

func startWide(t *testing.T, keys func() []string) *wideServer {
	t.Helper()
	w := &wideServer{scans: make(chan string, 100_000)}
	at := make(map[string]int)
	turn := make(chan struct{}, 1)
	w.fakeBackend = startFake(t, func(c *scriptedConn, args []string) {
		turn <- struct{}{}
		defer func() { <-turn }()
		w.scans <- args[1]
		all := keys()
		from := at[args[1]] // An unknown cursor is 0, as with Kvrocks.
		to := min(from+2, len(all))
		next := "0"
		if to < len(all) {
			next = strconv.FormatUint(1<<63|rand.Uint64(), 10)
			at[next] = to
		}
		c.reply("*2\r\n" + bulkReply(next) + arrayOf(all[from:to]))
	})
	return w
}

func arrayOf(keys []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(keys))
	for _, key := range keys {
		b.WriteString(bulkReply(key))
	}
	return b.String()
}

// lastScan is the cursor that the server was asked for last.
func (w *wideServer) lastScan(t testing.TB) (last string) {
	t.Helper()
	for len(w.scans) > 0 {
		last = <-w.scans
	}
	return last
}

// wideTopology is a pool of several groups whose servers have such cursors, and their keys.
func wideTopology(t *testing.T, groups int) (servers []*wideServer, specs []router.GroupSpec, keys []string) {
	t.Helper()
	of := make([][]string, groups)
	var addrs []string
	for i := range groups {
		w := startWide(t, func() []string { return of[i] })
		servers, addrs = append(servers, w), append(addrs, w.addr())
	}
	for i := range 20 * groups {
		key := fmt.Sprint("key:", i)
		slot := int(codisModel.Slot([]byte(key)))
		at := min(slot/(codisModel.Slots()/groups), groups-1)
		of[at], keys = append(of[at], key), append(keys, key)
	}
	return servers, evenly(codisModel, addrs...), keys
}

func wantOnce(t testing.TB, seen map[string]int, keys []string) {
	t.Helper()
	wantSeen(t, seen, keys)
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", key, n)
		}
	}
}

func TestScanOfServersWithWideCursors(t *testing.T) {
	servers, specs, keys := wideTopology(t, 3)
	c := startProxy(t, codisModel, specs, faultOptions(nil)).dial(t)
	wantOnce(t, scanAll(t, c, nothing), keys)

	// A cursor may come twice, as when the reply was lost, and goes on at the same place.
	_, first := scanOnce(t, c, "0")
	second, _ := scanOnce(t, c, "0")
	third, got := scanOnce(t, c, second)
	asked := servers[0].lastScan(t)
	if asked == "0" {
		t.Error("the scan did not go on at the server")
	}
	other, again := scanOnce(t, c, second)
	if len(first) != 2 || !slices.Equal(got, again) || servers[0].lastScan(t) != asked {
		t.Errorf("%q, and again %q", got, again)
	}
	if third == other {
		t.Errorf("two cursors of the server are %s", third)
	}
}

// A cursor that was forgotten begins its group anew, not the others.
func TestScanWithAForgottenCursor(t *testing.T) {
	servers, specs, keys := wideTopology(t, 3)
	p := startProxy(t, codisModel, specs, faultOptions(nil))
	c := p.dial(t)
	forgotten := false
	seen := scanAll(t, c, func(step int) {
		if !forgotten && servers[1].lastScan(t) != "" && step%2 == 1 {
			forgotten = true
			for i := range uint64(scan.MaxKept) {
				p.pool.cursors.For(1, i|1<<63)
			}
		}
	})
	wantSeen(t, seen, keys)
	for _, key := range keys {
		// The server is at its second step or later.
		if at := p.pool.Table().Owner(codisModel.Slot([]byte(key))).Master.Addr; at != servers[1].addr() && seen[key] != 1 {
			t.Errorf("%s of another group was seen %d times", key, seen[key])
		}
	}
	if twice := len(seen); !forgotten || sum(seen) == twice {
		t.Error("nothing was scanned twice: the test has made nothing forgotten")
	}
}

func sum(seen map[string]int) (n int) {
	for _, times := range seen {
		n += times
	}
	return n
}

// scanAcross scans at one proxy for some steps, and at another to the end.
func scanAcross(t testing.TB, a, b *testClient, steps int, options ...string) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	cursor := "0"
	for step := 0; ; step++ {
		at := a
		if step >= steps {
			at = b
		}
		next, keys := scanOnce(t, at, cursor, options...)
		for _, key := range keys {
			seen[key]++
		}
		if next == "0" {
			return seen
		}
		cursor = asDouble(t, next)
	}
}

// Two sidecars that have seen the same groups in the same order know each other's cursors.
func TestScanGoesOnAtAnotherSidecar(t *testing.T) {
	_, specs := realGroups(t, 3)
	open := func(specs []router.GroupSpec, option func(*Config, *PoolConfig)) *testClient {
		return startProxy(t, codisModel, specs, option).dial(t)
	}
	a, b := open(specs, patient), open(specs, patient)
	keys := fill(t, a, 200)
	for steps := range 12 {
		wantOnce(t, scanAcross(t, a, b, steps, "COUNT", "10"), keys)
	}

	// Of cursors with no room the other one knows the group.
	servers, wide, keys := wideTopology(t, 2)
	a, b = open(wide, faultOptions(nil)), open(wide, faultOptions(nil))
	cursor := "0"
	for asked := ""; asked != "0"; asked = servers[1].lastScan(t) {
		cursor, _ = scanOnce(t, a, cursor)
	}
	for len(servers[0].scans) > 0 {
		<-servers[0].scans
	}
	scanOnce(t, b, cursor)
	if at, first := servers[1].lastScan(t), servers[0].lastScan(t); at != "0" || first != "" {
		t.Errorf("the second server was asked for %q, and the first one, which was through, for %q", at, first)
	}
	wantSeen(t, scanAcross(t, a, b, 13), keys)
}

// One that has seen them come in another way knows no place behind the first difference, and begins anew.
func TestScanMissesNothingAtASidecarWithOtherPlaces(t *testing.T) {
	t.Parallel()
	servers, specs := realGroups(t, 3)
	spare := testbed.Redis(t)
	old := slices.Clone(specs)
	old[0].Master = spare.Addr()
	a := startProxy(t, codisModel, old, patient) // There group 1 is scanned last, since it has another master now.
	a.setTable(t, specs)
	b := startProxy(t, codisModel, specs, patient)
	keys := fill(t, b.dial(t), 200)
	if len(servers) != 3 || a.pool.view.Load().shares[2].master.Addr != servers[0].Addr() {
		t.Fatal("the groups have the same places at both")
	}
	atA, atB := a.dial(t), b.dial(t)
	for steps := range 25 {
		wantSeen(t, scanAcross(t, atA, atB, steps, "COUNT", "10"), keys)
		wantSeen(t, scanAcross(t, atB, atA, steps, "COUNT", "10"), keys)
	}
}

func realGroups(t *testing.T, n int) (servers []*testbed.Server, specs []router.GroupSpec) {
	t.Helper()
	var addrs []string
	for range n {
		s := testbed.Redis(t)
		servers, addrs = append(servers, s), append(addrs, s.Addr())
	}
	return servers, evenly(codisModel, addrs...)
}

func TestScanOfManyGroups(t *testing.T) {
	t.Parallel()
	_, specs := realGroups(t, 6)
	c := startProxy(t, codisModel, specs, patient).dial(t)
	keys := fill(t, c, 500)
	for _, count := range []string{"1", "10", "1000"} {
		wantOnce(t, scanAll(t, c, nothing, "COUNT", count), keys)
	}
}

// Each failover is a place more. That they are used up in the middle of a scan, and given out anew, is no exception.
func TestScanAfterManyFailovers(t *testing.T) {
	t.Parallel()
	servers, specs := realGroups(t, 2)
	spare := testbed.Redis(t)
	p := startProxy(t, codisModel, specs, patient)
	c := p.dial(t)
	keys := fill(t, c, 200)
	for _, key := range servers[0].Do("KEYS", "*").Array() {
		spare.Do("SET", key.String(), "v")
	}
	masters := []string{spare.Addr(), servers[0].Addr()}
	failovers := 0
	failOver := func(n int) {
		for range n {
			specs[0].Master = masters[failovers%2]
			failovers++
			p.setTable(t, specs)
		}
	}
	for _, n := range []int{1, 2, 3, 100} {
		failOver(n)
		wantOnce(t, scanAll(t, c, nothing, "COUNT", "10"), keys)
		wantSeen(t, scanAll(t, c, func(step int) {
			if step == 3 {
				failOver(n)
			}
		}, "COUNT", "10"), keys)
	}
	for before := range 15 {
		p.pool.viewMu.Lock()
		there := p.pool.Table().Groups
		all := slices.Clone(there)
		for i := len(p.pool.places.Marks()); i < scan.MaxPlaces-1; i++ {
			all = append(all, &router.Group{ID: router.GroupID(fmt.Sprint("gone", before, i)),
				Master: &router.Node{Addr: "m"}})
		}
		p.pool.places.Assign(all)
		p.pool.places.Assign(there)
		p.pool.viewMu.Unlock()
		wantSeen(t, scanAll(t, c, func(step int) {
			if step == before {
				failOver(3)
			}
		}, "COUNT", "10"), keys)
		if n := len(p.pool.view.Load().marks); n > 10 {
			t.Errorf("%d places: they were not given out anew", n)
		}
	}
}
