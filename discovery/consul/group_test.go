package consul

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/router"
	"sluice/router/lag"
)

// world is what the catalog and the nodes say in a test of a group.
type world struct {
	t      *testing.T
	g      *group
	now    time.Time
	listed []instance
	probes map[string]evidence
}

const flap = 3 * time.Second

func emptyWorld(t *testing.T) *world {
	g := &group{id: "1", members: make(map[string]*member)}
	return &world{t: t, g: g, now: time.Unix(1e9, 0), probes: make(map[string]evidence)}
}

func newWorld(t *testing.T, addrs ...string) *world {
	w := emptyWorld(t)
	for i, addr := range addrs {
		w.list(addr, "passing")
		if w.replica(addr, addrs[0]); i == 0 {
			w.master(addr)
		}
	}
	w.settle()
	return w
}

// list changes the status of a node in the catalog; "" takes it out.
func (w *world) list(addr, status string) {
	w.listed = slices.DeleteFunc(slices.Clone(w.listed), func(n instance) bool { return n.addr == addr })
	if status != "" {
		w.listed = append(w.listed, instance{group: "1", addr: addr, passing: status == "passing", leaving: status == "maintenance", status: status})
	}
}

func (w *world) master(addr string) {
	w.probes[addr] = evidence{asked: true, repl: lag.Replication{Role: lag.Master, ID: "id of " + addr}}
}

func (w *world) replica(addr, of string) {
	w.probes[addr] = evidence{asked: true, repl: lag.Replication{Role: lag.Replica, MasterAddr: of, ID: "id of " + of}}
}

// silent makes a node one that has not answered for long.
func (w *world) silent(addr string) {
	w.probes[addr] = evidence{asked: true, err: errors.New("refused"), failures: lostProbes, failing: w.now.Add(-flap)}
}

// missed adds a question without an answer.
func (w *world) missed(addr string) {
	before := w.probes[addr]
	late := evidence{asked: true, err: errors.New("late"), begun: before.counted.Add(minAskGap), answered: w.now}
	w.probes[addr] = late.after(before)
}

// at says when the answer of now was asked for and given.
func (w *world) at(addr string, begun, answered time.Time) {
	p := w.probes[addr]
	p.begun, p.answered = begun, answered
	w.probes[addr] = p
}

func (w *world) settle() {
	w.g.settle(nil, w.listed, func(addr string) evidence { return w.probes[addr] }, flap, w.now)
}

// after lets time pass.
func (w *world) after(d time.Duration) {
	w.now = w.now.Add(d)
	w.settle()
}

// wants checks master and members: "a: a b".
func (w *world) wants(want string) {
	w.t.Helper()
	w.settle()
	got := w.g.master + ": " + strings.Join(slices.Sorted(maps.Keys(w.g.members)), " ")
	if got != want {
		w.t.Errorf("group is %q, want %q", got, want)
	}
}

func TestMembersByCatalogAndProbe(t *testing.T) {
	f := func(status string, answers bool, atOnce, afterFlap string) {
		t.Helper()
		w := newWorld(t, "a", "b", "c")
		w.list("b", status)
		if !answers {
			w.silent("b")
		}
		w.wants(atOnce)
		w.after(flap - time.Millisecond)
		w.wants(atOnce)
		w.after(time.Millisecond)
		w.wants(afterFlap)
		w.list("b", "passing")
		w.wants("a: a b c")
	}
	f("passing", true, "a: a b c", "a: a b c")
	f("passing", false, "a: a b c", "a: a b c")
	f("critical", true, "a: a b c", "a: a b c")
	f("critical", false, "a: a b c", "a: a c")
	f("maintenance", true, "a: a b c", "a: a c")
	f("maintenance", false, "a: a b c", "a: a c")
	f("", true, "a: a b c", "a: a c")
	f("", false, "a: a c", "a: a c")
}

func TestFlapBeginsAnewWithEveryTrouble(t *testing.T) {
	w := newWorld(t, "a", "b")
	for range 5 {
		w.list("b", "")
		w.after(flap - time.Millisecond)
		w.list("b", "passing")
		w.after(time.Hour)
	}
	w.wants("a: a b")
}

func TestMasterByWhatTheNodesSay(t *testing.T) {
	f := func(name, want string, change func(w *world)) {
		t.Helper()
		w := newWorld(t, "a", "b", "c")
		change(w)
		w.settle()
		if w.g.master != want {
			t.Errorf("%s: master %q, want %q", name, w.g.master, want)
		}
	}
	f("nothing", "a", func(*world) {})
	f("nobody", "a", func(w *world) { w.silent("a") })
	f("failover", "b", func(w *world) { w.silent("a"); w.master("b") })
	f("two, one is followed", "b", func(w *world) { w.master("b"); w.replica("c", "b") })
	f("two, the present one is followed", "a", func(w *world) { w.master("b") })
	f("two, nobody is followed", "a", func(w *world) { w.master("b"); w.silent("c") })
	f("switchover", "b", func(w *world) { w.master("b"); w.replica("a", "b"); w.replica("c", "b") })
	f("the followers know it by another address", "b", func(w *world) {
		w.master("b")
		w.replica("c", "b")
		p := w.probes["c"]
		p.repl.MasterAddr = "10.9.9.9:1"
		w.probes["c"] = p
	})
	f("a stranger", "a", func(w *world) { w.list("s", "passing"); w.master("s"); w.silent("a") })
	f("a stranger that was promoted before we came", "s", func(w *world) {
		w.list("s", "passing")
		w.probes["s"] = evidence{asked: true, repl: lag.Replication{Role: lag.Master, ID: "x", ID2: "y"}}
		w.silent("a")
	})
	f("a stranger, and an heir", "b", func(w *world) {
		w.list("s", "passing")
		w.master("s")
		w.silent("a")
		w.silent("c")
		w.settle()
		w.master("b")
	})
	f("somebody was not asked", "a", func(w *world) { w.list("s", "passing"); w.silent("a"); w.master("b") })
	f("the master leaves, and nobody is one", "a", func(w *world) { w.list("a", ""); w.silent("a"); w.after(flap) })
	f("the master leaves, and has an heir", "b", func(w *world) { w.list("a", ""); w.master("b") })
}

// warns checks that the group has a warning with that text.
func (w *world) warns(text string) {
	w.t.Helper()
	if !strings.Contains(w.g.warning, text) || text == "" && w.g.warning != "" {
		w.t.Errorf("warning %q, want %q", w.g.warning, text)
	}
}

func TestMasterStaysWhenItIsLate(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.master("b")
	w.missed("a")
	w.wants("a: a b c")
	w.warns("stays for now")
	w.now = w.now.Add(flap)
	w.wants("a: a b c") // Once is not often enough.
	w.master("a")
	w.wants("a: a b c")
	w.missed("a")
	w.missed("a")
	w.missed("a")
	w.wants("a: a b c")
	w.after(flap - time.Millisecond)
	w.wants("a: a b c") // Not for long enough.
	w.after(time.Millisecond)
	w.wants("b: a b c")

	w = newWorld(t, "a", "b") // It says itself that it is none.
	w.master("b")
	w.missed("a")
	w.wants("a: a b")
	w.replica("a", "b")
	w.wants("b: a b")
}

func TestMasterBesideALivingOneNeedsAMajority(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.master("b") // Detached by hand.
	w.at("b", w.now, w.now)
	w.at("a", w.now.Add(time.Second), w.now.Add(time.Second))
	w.wants("a: a b c")
	w.silent("a")
	w.wants("a: a b c")
	w.warns("nothing shows that it has the data")
	w.replica("c", "b")
	w.wants("b: a b c")
	w.master("a")
	w.wants("b: a b c")

	w = newWorld(t, "a", "b", "c") // Promoted after the death of a, whose last answer is from before.
	w.master("b")
	w.at("b", w.now, w.now)
	w.at("a", w.now.Add(-time.Second), w.now.Add(-time.Second))
	w.wants("a: a b c")
	w.silent("a")
	w.wants("b: a b c")
}

func TestFirstElectionWhileTheMasterIsAway(t *testing.T) {
	f := func(want, warning string, change func(w *world)) {
		t.Helper()
		w := emptyWorld(t)
		for _, addr := range []string{"a", "b", "c"} {
			w.list(addr, "passing")
		}
		w.missed("a")
		w.replica("b", "a")
		w.master("c") // Empty.
		change(w)
		w.settle()
		w.wants(want)
		w.warns(warning)
	}
	f(": a b c", "follow a", func(*world) {})
	f("a: a b c", "", func(w *world) { w.settle(); w.master("a") })
	f("c: a b c", "", func(w *world) { w.replica("b", "c") })
	f("c: a b c", "", func(w *world) { w.replica("b", "10.9.9.9:1") })
	f("c: a b c", "", func(w *world) { w.missed("b"); w.replica("a", "c") })
	f("a: a b c", "follow a", func(w *world) { w.settle(); w.g.master = "a"; w.silent("a") }) // From the last good file.
}

func TestEmptyGroupTakesTheFirstMasterWhenAllWereAsked(t *testing.T) {
	w := emptyWorld(t)
	w.list("a", "passing")
	w.list("b", "passing")
	w.list("c", "critical")
	w.wants(": a b")
	w.master("b")
	w.wants(": a b")
	w.replica("a", "b")
	w.wants("b: a b")
}

func TestNodeMayChangeItsGroup(t *testing.T) {
	model := router.CodisModel(slots)
	before := newTopology(document([]string{"a:1", "r:1"}, []string{"b:1"}), model, nil)
	probes := map[string]evidence{"r:1": {asked: true, repl: lag.Replication{Role: lag.Replica}}}
	for _, addr := range []string{"a:1", "b:1"} {
		probes[addr] = evidence{asked: true, repl: lag.Replication{Role: lag.Master}}
	}
	ask := func(addr string) evidence { return probes[addr] }
	before.settle(nil, ask, flap, time.Unix(1e9, 0))
	next := newTopology(document([]string{"a:1"}, []string{"b:1", "r:1"}), model, before)
	next.settle(nil, ask, flap, time.Unix(1e9, 0))
	snap, err := next.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Validate(model); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(snap.Groups); got != "[{1 a:1 [] [0-7] map[]} {2 b:1 [r:1] [8-15] map[]}]" {
		t.Errorf("groups %s", got)
	}
	if before.groups["1"].members["r:1"] == nil {
		t.Error("the topology in force was changed")
	}
}
