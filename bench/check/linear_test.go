package check

import (
	"testing"
	"time"
)

// history makes a generation whose operations are one after another, 10 ns each.
func history(c class, ops ...sharedOp) *generation {
	g := &generation{key: "k", class: c}
	for i, o := range ops {
		if o.ret == 0 {
			o.call, o.ret = int64(10*i), int64(10*i+5)
		}
		g.history = append(g.history, o)
	}
	return g
}

func judgeHistory(g *generation, complete, undone bool) Linear {
	return linearize([]*generation{g}, func(*generation) bool { return complete }, undone, time.Now().Add(10*time.Second), func(*generation, int) {})
}

func TestLinearize(t *testing.T) {
	f := func(want bool, c class, ops ...sharedOp) {
		t.Helper()
		got := judgeHistory(history(c, ops...), true, false)
		if (got.Good == 1) != want || got.Good+got.Bad != 1 {
			t.Errorf("got %+v, want linearizable = %t", got, want)
		}
	}
	set := func(client int, v string) sharedOp { return sharedOp{client: client, op: opSet, arg: v} }
	get := func(client int, v string) sharedOp { return sharedOp{client: client, op: opGet, text: v} }
	incr := func(n int64) sharedOp { return sharedOp{op: opIncr, number: n} }
	count := func(n int64) sharedOp { return sharedOp{client: 1, op: opCount, number: n} }
	lost := func(o sharedOp) sharedOp {
		o.unknown = true
		return o
	}
	during := func(o sharedOp, call, ret int64) sharedOp {
		o.call, o.ret = call, ret
		return o
	}

	f(true, classValue, get(0, ""), set(1, "a"), get(0, "a"))
	f(false, classValue, set(1, "a"), set(1, "b"), get(0, "a"))
	f(true, classValue, during(set(1, "a"), 1, 50), during(set(2, "b"), 1, 50), during(get(0, "b"), 60, 70))
	f(false, classValue, during(set(1, "a"), 1, 50), during(set(1, "b"), 1, 50), during(get(0, "a"), 60, 70)) // One connection's order.
	f(true, classValue, set(1, "a"), lost(set(1, "b")), get(0, "a"), get(0, "b"))
	f(true, classValue, set(1, "a"), lost(set(1, "b")), get(0, "a"), get(0, "a"))
	f(false, classValue, set(1, "a"), lost(set(1, "b")), get(0, "b"), get(0, "a"))
	f(true, classValue, set(1, "a"), sharedOp{op: opGetSet, arg: "b", text: "a"}, get(1, "b"))
	f(false, classValue, set(1, "a"), sharedOp{op: opGetSet, arg: "b", text: ""}, get(1, "b"))

	f(true, classCounter, count(0), incr(1), incr(2), count(2))
	f(false, classCounter, incr(1), incr(3))
	f(false, classCounter, incr(1), incr(1))
	f(true, classCounter, incr(1), lost(incr(0)), incr(2), count(2), count(3))
	f(true, classCounter, incr(1), lost(incr(0)), lost(incr(0)), incr(4))
	f(false, classCounter, incr(1), lost(incr(0)), count(3))

	token := func(n int) string { return (&list{tag: "s", version: n}).next() }
	push := func(n int, length int64) sharedOp { return sharedOp{op: opPush, arg: token(n), number: length} }
	read := func(ns ...int) sharedOp {
		o := sharedOp{op: opRange, client: 1}
		for _, n := range ns {
			o.text += token(n)
		}
		return o
	}
	f(true, classList, push(1, 1), push(2, 2), read(1, 2))
	f(false, classList, push(1, 1), push(2, 2), read(2, 1))
	f(false, classList, push(1, 1), read(1, 1))
	f(true, classList, push(1, 1), lost(push(2, 0)), push(3, 2), read(1, 3), read(1, 3, 2))
	f(true, classList, push(1, 1), lost(push(2, 0)), push(3, 2), read(1, 3))
	f(false, classList, push(1, 1), push(3, 3), lost(push(2, 0)), read(1, 2, 3))
}

// TestWhatIsInDoubtMayBeUndone: it was seen, and is lost then; but not what was acknowledged, or has another write behind it.
func TestWhatIsInDoubtMayBeUndone(t *testing.T) {
	f := func(want bool, c class, ops ...sharedOp) {
		t.Helper()
		if got := judgeHistory(history(c, ops...), true, true); (got.Good == 1) != want || got.Good+got.Bad != 1 {
			t.Errorf("got %+v, want good = %t", got, want)
		}
	}
	set := func(v string, unknown bool) sharedOp { return sharedOp{op: opSet, arg: v, unknown: unknown} }
	get := func(v string) sharedOp { return sharedOp{client: 1, op: opGet, text: v} }
	incr := func(n int64, unknown bool) sharedOp { return sharedOp{op: opIncr, number: n, unknown: unknown} }
	count := func(n int64) sharedOp { return sharedOp{client: 1, op: opCount, number: n} }
	f(true, classValue, set("a", false), set("b", true), get("b"), get("a"))
	f(true, classValue, set("a", false), set("b", true), set("c", true), get("b"), get("c"), get("a"))
	f(false, classValue, set("a", false), set("b", true), get("b"), get(""))
	f(false, classValue, set("a", false), set("b", true), get("b"), set("c", false), get("c"), get("a"))
	f(false, classValue, set("a", false), set("b", false), get("b"), get("a"))
	f(true, classCounter, incr(1, false), incr(0, true), count(2), count(1), incr(2, false))
	f(false, classCounter, incr(1, false), incr(0, true), incr(3, false), count(2))

	c := &counter{start: 100, base: 100, sent: 9, undone: true}
	c.maybe()
	accept(t, "seen", c.observe(101, 0))
	accept(t, "undone", c.observe(100, 0))
	expect(t, "less", c.observe(99, 0), Wrong)
	c = &counter{start: 100, base: 100, sent: 9, undone: true}
	c.maybe()
	accept(t, "acknowledged behind it", c.observe(102, 1))
	expect(t, "undone", c.observe(101, 0), Stale)
}

func TestNoTimeIsReportedAsUndecided(t *testing.T) {
	g := history(classCounter, sharedOp{op: opIncr, number: 7})
	got := linearize([]*generation{g}, sharedCompleteOf, false, time.Now(), func(*generation, int) { t.Error("called bad") })
	if want := (Linear{Keys: 1, Operations: 1, Unknown: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func sharedCompleteOf(g *generation) bool { return sharedComplete(g.history) }
