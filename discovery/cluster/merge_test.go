package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/discovery"
	"sluice/router"
)

// parseView reads a view as the tests write it: "FROM: 0-99 ID@MASTER! ID@REPLICA …; …". The addresses are
// short names, "!" marks a master that has failed, an id may be left out with its "@".
func parseView(t *testing.T, text string) view {
	t.Helper()
	from, rest, _ := strings.Cut(text, ": ")
	v := view{from: from}
	for part := range strings.SplitSeq(rest, "; ") {
		words := strings.Fields(part)
		var sh shard
		for r := range strings.SplitSeq(words[0], ",") {
			a, b, _ := strings.Cut(r, "-")
			lo, err1 := strconv.Atoi(a)
			hi, err2 := strconv.Atoi(b)
			if err1 != nil || err2 != nil {
				t.Fatalf("slots %q", r)
			}
			sh.slots = append(sh.slots, router.Range{From: router.Slot(lo), To: router.Slot(hi)})
		}
		for i, word := range words[1:] {
			word, failed := strings.CutSuffix(word, "!")
			id, addr, ok := strings.Cut(word, "@")
			if !ok {
				id, addr = "", id
			}
			if i == 0 {
				sh.master, sh.failed = node{id, addr}, failed
				continue
			}
			sh.replicas = append(sh.replicas, node{id, addr})
		}
		v.shards = append(v.shards, sh)
	}
	return v
}

func describeGroups(groups []router.GroupSpec) string {
	var parts []string
	for _, g := range groups {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", router.FormatRanges(g.Slots), g.Master, strings.Join(g.Replicas, " "))))
	}
	return strings.Join(parts, "; ")
}

func TestMajority(t *testing.T) {
	f := func(name, before, want string, views ...string) {
		t.Helper()
		var last []string
		if before != "" {
			last = merge([]view{parseView(t, "x: "+before)}, nil).owners
		}
		var vs []view
		for _, text := range views {
			vs = append(vs, parseView(t, text))
		}
		if got := describeGroups(merge(vs, last).groups); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	const one, two = "0-99 a; 100-199 b", "0-149 a; 150-199 b"
	f("nobody answers", one, "")
	f("one voice", "", one, "a: "+one)
	f("a minority is not believed", "", one, "a: "+one, "b: "+one, "c: "+two)
	f("nor if it was right before", two, one, "a: "+one, "b: "+one, "c: "+two)
	f("a tie keeps what was", two, two, "a: "+one, "b: "+two)
	f("a tie keeps what was, the other way", one, one, "a: "+one, "b: "+two)
	f("a tie without a past takes the lowest address", "", two, "a: "+one, "b: "+two)
	f("a tie whose past is another takes the lowest address", "0-199 z", "0-9 a", "a: 0-9 b", "b: 0-9 a")
	f("a node has one vote, however often it is asked", "", "0-9 a", "a: 0-9 a", "c: 0-9 b", "c: 0-9 b", "c: 0-9 b", "d: 0-9 a")
	f("a slot nobody names stays empty", "0-9 a", "0-4 a", "a: 0-4 a")
	f("each slot is decided for itself", "", "0-4 a; 5-9 b", "a: 0-9 a", "b: 0-4 a; 5-9 b", "c: 0-4 c; 5-9 b")

	f("a failed master stays while nobody replaces it", "", "0-9 a b", "b: 0-9 a! b", "c: 0-9 a! b")
	f("its successor counts more than all who still name it", "", "0-9 b", "b: 0-9 b", "c: 0-9 a!", "d: 0-9 a!")
	f("within a view the healthy claim counts", "", "0-9 b", "a: 0-9 a!; 0-9 b")
	f("and otherwise the first", "", "0-9 b", "a: 0-9 b; 0-9 a")

	f("replicas need more than half", "", "0-9 a r1", "a: 0-9 a r1 r2", "r1: 0-9 a r1 r3", "r2: 0-9 a")
	f("half is not enough", "", "0-9 a", "a: 0-9 a r", "b: 0-9 a")
	f("only views that know the master count", "", "0-4 a r; 5-9 b", "a: 0-4 a r; 5-9 b", "b: 5-9 b", "c: 5-9 b; 0-4 a r")
	f("an owner is nobody's replica", "", "0-4 a; 5-9 b", "a: 0-4 a b; 5-9 b")
	f("two masters, one replica", "", "0-4 a r; 5-9 b", "a: 0-4 a r; 5-9 b", "b: 0-4 a r; 5-9 b", "c: 5-9 b r")

	f("a node is known by its id", "", "0-9 a:1", "1: 0-9 1@localhost:1", "2: 0-9 1@a:1", "3: 0-9 1@a:1")
	f("a tie of addresses keeps the old one", "0-9 localhost:1", "0-9 localhost:1", "1: 0-9 1@localhost:1", "2: 0-9 1@a:1")
	f("else takes the lowest", "", "0-9 a:1", "1: 0-9 1@localhost:1", "2: 0-9 1@a:1")
	f("addresses don't split the vote for an owner", "", "0-9 a:1", "1: 0-9 1@x:1", "2: 0-9 1@a:1", "3: 0-9 2@b:1")
	f("a view has one vote for an address, in however many shards", "", "0-9 z:1", "1: 0-1 1@b:1; 2-3 1@b:1; 4-9 1@b:1", "2: 0-9 1@z:1", "3: 0-9 1@z:1")
	f("two ids of one address are one master", "", "0-9 a", "1: 0-4 1@a; 5-9 2@a", "2: 0-4 1@a; 5-9 2@a")
}

func TestMergeListsAllNodes(t *testing.T) {
	got := merge([]view{parseView(t, "1: 0-9 1@localhost:1 2@b"), parseView(t, "2: 0-9 1@a:1 2@b; 10-11 c")}, nil)
	if want := []string{"a:1", "b", "c"}; !slices.Equal(got.nodes, want) {
		t.Errorf("nodes %v, want %v", got.nodes, want)
	}
}

// drawViews makes views of a small cluster in every state of confusion.
func drawViews(t *rapid.T) []view {
	drawNode := rapid.Custom(func(t *rapid.T) node {
		n := rapid.IntRange(1, 5).Draw(t, "node")
		return node{
			id:   rapid.SampledFrom([]string{"", fmt.Sprint("id", n), fmt.Sprint("id", n)}).Draw(t, "id"),
			addr: fmt.Sprintf("%s:%d", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host"), n),
		}
	})
	drawShard := rapid.Custom(func(t *rapid.T) shard {
		from := rapid.IntRange(0, 40).Draw(t, "from")
		return shard{
			slots:    []router.Range{{From: router.Slot(from), To: router.Slot(from + rapid.IntRange(0, 20).Draw(t, "len"))}},
			master:   drawNode.Draw(t, "master"),
			failed:   rapid.Bool().Draw(t, "failed"),
			replicas: rapid.SliceOfN(drawNode, 0, 3).Draw(t, "replicas"),
		}
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) view {
		return view{
			from:   rapid.SampledFrom([]string{"v1", "v2", "v3", "v4", "v5", "v6"}).Draw(t, "from"),
			shards: rapid.SliceOfN(drawShard, 0, 4).Draw(t, "shards"),
		}
	}), 0, 6).Draw(t, "views")
}

func drawLast(t *rapid.T) []string {
	if rapid.Bool().Draw(t, "first") {
		return nil
	}
	return merge(drawViews(t), nil).owners
}

// What merge makes is a valid snapshot whatever the nodes say, or has no slots at all.
func TestMergeIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got := merge(drawViews(t), drawLast(t))
		if len(got.groups) == 0 {
			return
		}
		if err := (discovery.Snapshot{Groups: got.groups}).Validate(router.ClusterModel()); err != nil {
			t.Fatalf("%v\n%s", err, describeGroups(got.groups))
		}
	})
}

func TestMergeIgnoresTheOrderOfViews(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// One view per node: of two views of one node the first counts, by definition.
		views, last := oneVoteEach(drawViews(t)), drawLast(t)
		seed := rapid.Uint64().Draw(t, "seed")
		shuffled := slices.Clone(views)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		a, b := merge(views, last), merge(shuffled, last)
		if describeGroups(a.groups) != describeGroups(b.groups) || !slices.Equal(a.nodes, b.nodes) {
			t.Fatalf("%s\nand shuffled\n%s", describeGroups(a.groups), describeGroups(b.groups))
		}
	})
}

// An owner that more than half of the views name, and call healthy, is the owner, whatever the others say and
// whatever was before.
func TestMergeFollowsTheMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		views, last := oneVoteEach(drawViews(t)), drawLast(t)
		most := len(views) + 1
		owner := node{id: "winner", addr: "w:1"}
		for i := range most {
			views = append(views, view{from: fmt.Sprint("m", i), shards: []shard{{
				slots: []router.Range{{From: 10, To: 30}}, master: owner,
			}}})
		}
		got := merge(views, last)
		for slot := 10; slot <= 30; slot++ {
			if got.owners[slot] != owner.addr {
				t.Fatalf("slot %d is with %q", slot, got.owners[slot])
			}
		}
	})
}

// The optimised count agrees with a slot by slot one, and a merge of its own result changes nothing.
func TestMergeCountsVotes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		views, last := drawViews(t), drawLast(t)
		got := merge(views, last)
		unique := oneVoteEach(views)
		addrs := agreeOnAddresses(unique, last)
		for slot := range 64 {
			votes := map[bool]map[string]int{false: {}, true: {}} // by failed
			for _, v := range unique {
				if owner, failed := claimIn(v, addrs, slot); owner != "" {
					votes[failed][owner]++
				}
			}
			healthy := votes[false]
			if len(healthy) == 0 {
				healthy = votes[true]
			}
			most := 0
			for _, n := range healthy {
				most = max(most, n)
			}
			var winners []string
			for addr, n := range healthy {
				if n == most {
					winners = append(winners, addr)
				}
			}
			want := ""
			switch {
			case len(winners) == 0:
			case last != nil && slices.Contains(winners, last[slot]):
				want = last[slot]
			default:
				want = slices.Min(winners)
			}
			if got.owners[slot] != want {
				t.Fatalf("slot %d: %q, want %q", slot, got.owners[slot], want)
			}
		}
		again := merge([]view{{from: "x", shards: shardsOf(got.groups)}}, got.owners)
		if describeGroups(again.groups) != describeGroups(got.groups) {
			t.Fatalf("%s, of itself %s", describeGroups(got.groups), describeGroups(again.groups))
		}
	})
}

// claimIn is the first healthy claim of a view on a slot, else its first.
func claimIn(v view, addrs addresses, slot int) (owner string, failed bool) {
	for _, sh := range v.shards {
		for _, r := range sh.slots {
			if slot < int(r.From) || slot > int(r.To) {
				continue
			}
			if !sh.failed {
				return addrs.of(sh.master), false
			}
			if owner == "" {
				owner, failed = addrs.of(sh.master), true
			}
		}
	}
	return owner, failed
}

func shardsOf(groups []router.GroupSpec) []shard {
	var shards []shard
	for _, g := range groups {
		sh := shard{slots: g.Slots, master: node{addr: g.Master}}
		for _, addr := range g.Replicas {
			sh.replicas = append(sh.replicas, node{addr: addr})
		}
		shards = append(shards, sh)
	}
	return shards
}

func TestPick(t *testing.T) {
	reverse := func(addrs []string) { slices.Reverse(addrs) }
	f := func(masters, others, seeds string, lost bool, want string) {
		t.Helper()
		got := pick(strings.Fields(masters), strings.Fields(others), strings.Fields(seeds), 4, lost, reverse)
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s | %s | %s: %s, want %s", masters, others, seeds, s, want)
		}
	}
	f("", "", "s1 s2", false, "s2 s1")
	f("m1 m2", "r1 r2 m1", "s1", false, "m2 m1 s1 r2")
	f("m1 m2", "m1 m2", "m1 s1", false, "m2 m1 s1")
	f("m1 m2 m3 m4 m5", "r1", "s1", false, "m5 m4 m3 m2")
	f("m1 m2 m3 m4 m5", "r1", "s1", true, "s1 r1 m5 m4")
	f("", "", "", true, "")
}

// With more masters than may be asked at once, every one of them has its turn.
func TestPickIsFair(t *testing.T) {
	var masters []string
	for i := range 40 {
		masters = append(masters, fmt.Sprint("m", i))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	shuffle := func(a []string) { rng.Shuffle(len(a), func(i, j int) { a[i], a[j] = a[j], a[i] }) }
	count := make(map[string]int)
	for range 1000 {
		for _, addr := range pick(masters, []string{"r"}, []string{"s"}, maxAsked, false, shuffle) {
			count[addr]++
		}
	}
	for _, addr := range masters {
		if n := count[addr]; n < 300 || n > 500 { // 400 are expected; the standard deviation is 15.
			t.Errorf("%s was asked %d times of 1000", addr, n)
		}
	}
	if len(count) != 40 {
		t.Errorf("%d were asked", len(count))
	}
}

func BenchmarkMerge(b *testing.B) {
	// Eight masters, slots torn apart by a rebalance, 16 voices.
	var views []view
	for i := range 16 {
		v := view{from: fmt.Sprint(i)}
		for slot := 0; slot < router.ClusterSlots; slot += 8 {
			v.shards = append(v.shards, shard{
				slots:  []router.Range{{From: router.Slot(slot), To: router.Slot(slot + 7)}},
				master: node{id: fmt.Sprint("id", slot/8%8), addr: fmt.Sprintf("10.0.0.%d:7000", slot/8%8)},
			})
		}
		views = append(views, v)
	}
	last := merge(views, nil).owners
	b.ReportAllocs()
	for b.Loop() {
		merge(views, last)
	}
}
