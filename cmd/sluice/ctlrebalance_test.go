package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/discovery/controller"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// planOf is the answer of a rebalance or a drain.
func (o *operator) planOf(args ...string) (p movePlan) {
	o.Helper()
	if err := json.Unmarshal([]byte(o.does(append(args, "-o", "json")...)), &p); err != nil {
		o.Fatal(err)
	}
	return p
}

// moves are those that were asked for: "to: slots", by their group.
func (o *operator) asked() map[string]string {
	o.Helper()
	var moves []controller.Move
	if err := json.Unmarshal([]byte(o.does("moves", "-o", "json")), &moves); err != nil {
		o.Fatal(err)
	}
	asked := make(map[string]string)
	for _, m := range moves {
		asked[m.To] = m.Slots
	}
	return asked
}

// A plan by slots is shown, and asked for when somebody agrees: a move for each group that gets slots. Those slots are
// left alone by the next plan.
func TestCtlRebalanceBySlots(t *testing.T) {
	t.Parallel()
	o := newOperator(t, "redis", "1,2")
	o.prints("GROUP  WEIGHT  SLOTS  THEN\n"+
		"1      1       512    512\n"+
		"2      1       512    512\n"+
		"no slot has to move\n", "rebalance")
	for _, id := range []string{"3", "4"} {
		o.does("group", "add", id, "--master", testbed.Redis(t).Addr(), "--yes")
	}
	plan := "GROUP  WEIGHT  SLOTS  THEN\n" +
		"1      1       512    342\n" +
		"2      1       512    341\n" +
		"3      1       0      341\n" +
		"4      0       0      0\n" +
		"\n" +
		"FROM  TO  SLOTS  WHICH\n" +
		"1     3   170    342-511\n" +
		"2     3   171    853-1023\n" +
		"341 slot(s) move, in 2 batch(es) of at most 256\n"
	args := []string{"rebalance", "--weight", "4=0"}
	o.prints(plan, append(args, "--dry-run")...)
	if out, err := o.run("n\n", args...); err == nil || out != plan+"move them? [y/N] " {
		t.Errorf("%v\n%s", err, out)
	}
	if asked := o.asked(); len(asked) > 0 {
		t.Errorf("after a no there are moves: %v", asked)
	}
	out, err := o.run("y\n", append(args, "--slots-at-most", "20")...)
	if err != nil || !strings.Contains(out, "to group 3 is asked for\n`sluice ctl moves` shows how far it is\n"+noController) {
		t.Errorf("%v\n%s", err, out)
	}
	if asked := o.asked(); len(asked) != 1 || asked["3"] != "502-511,1014-1023" {
		t.Errorf("asked for: %v", asked)
	}
	p := o.planOf("rebalance", "--yes", "--batch", "8")
	if len(p.Moves) != 2 || len(p.Left) != 1 || p.Left[0].Slots != "502-511,1014-1023" ||
		!strings.Contains(p.Left[0].Why, "to group 3, which is waiting") {
		t.Errorf("%+v", p)
	}
	for _, g := range p.Groups {
		if g.SlotsThen != 256 {
			t.Errorf("group %s has %d slots then", g.ID, g.SlotsThen)
		}
	}
	if asked := o.asked(); countSlots(asked["3"]) != 236 || countSlots(asked["4"]) != 256 {
		t.Errorf("asked for: %v", asked)
	}
}

// What is wrong with a request is said before anything is asked for.
func TestCtlRebalanceRefuses(t *testing.T) {
	t.Parallel()
	o := newOperator(t, "redis", "1,2")
	o.refused(`--by "weight" is not known; it is one of slots, keys, memory`, "rebalance", "--by", "weight")
	o.refused(`--weight: there is no group "9"; there are 1, 2`, "rebalance", "--weight", "9=1")
	o.refused("weight -1 of group 2: weights are 0, which empties a group, to 1000", "rebalance", "--weight", "2=-1")
	o.refused("no group may have what the others are to give", "rebalance", "--weight", "1=0,2=0")
	o.refused("a batch has one slot at least", "rebalance", "--batch", "-1")
	o.refused("--slots-at-most -1", "rebalance", "--slots-at-most", "-1")
	o.refused("with --output json nobody is asked", "rebalance", "--weight", "2=0", "-o", "json")
	o.refused(`there is no group "9"; there are 1, 2`, "group", "drain", "9")
	o.refused("group 1 has no master now: 0 server(s) are known", "rebalance", "--by", "keys")
	pika := newOperator(t, "pika", "1,2")
	pika.refused("slots of a Pika are moved with --method sync only", "rebalance")
	pika.refused(`--by memory: servers of dialect "pika" do not tell how much memory a key takes: go by keys or by slots`,
		"rebalance", "--by", "memory", "--method", "sync")
}

// Keys and memory are asked of the masters, and a few heavy slots move instead of many.
func TestCtlRebalanceByWeight(t *testing.T) {
	t.Parallel()
	model := router.CodisModel(1024)
	keyOf := func(slot router.Slot, n int) string {
		for i := n; ; i++ {
			if key := fmt.Sprintf("key:%d", i); model.Slot([]byte(key)) == slot {
				return key
			}
		}
	}
	a, b := testbed.Redis(t), testbed.Redis(t)
	o := newOperator(t, "redis", "1="+a.Addr(), "2="+b.Addr())
	for _, slot := range []router.Slot{7, 8} {
		key := keyOf(slot, 0)
		a.Do("EVAL", "for i = 1, 600 do redis.call('SET', '{' .. ARGV[1] .. '}' .. i, 'x') end", "0", key)
	}
	for _, slot := range []router.Slot{20, 21} {
		a.Do("SET", keyOf(slot, 0), strings.Repeat("x", 100_000))
	}
	p := o.planOf("rebalance", "--by", "keys", "--dry-run")
	if len(p.Transfers) != 1 || p.Transfers[0].Count != 1 || p.Transfers[0].From != "1" || p.Transfers[0].To != "2" ||
		p.Transfers[0].Slots != "8" || *p.Groups[0].Load != 1202 || *p.Groups[1].LoadThen != 600 {
		t.Errorf("by keys: %+v", p)
	}
	if asked := o.asked(); len(asked) > 0 {
		t.Errorf("a dry run has asked for %v", asked)
	}
	p = o.planOf("rebalance", "--by", "memory", "--dry-run")
	heavy := make(map[string]bool)
	for _, x := range p.Transfers {
		for _, slot := range []router.Slot{20, 21} {
			if r, err := router.ParseRanges(x.Slots); err != nil || router.InRanges(r, slot) {
				heavy[x.To] = true
			}
		}
	}
	if then, half := *p.Groups[1].LoadThen, (*p.Groups[0].Load)/2; !heavy["2"] || then < half*9/10 || then > half*11/10 {
		t.Errorf("by memory group 2 gets %d bytes, half is %d: %+v", then, half, p)
	}
	out := o.does("rebalance", "--by", "memory", "--dry-run")
	if !strings.HasPrefix(out, "GROUP  WEIGHT  SLOTS  THEN  MEMORY  THEN\n") {
		t.Error(out)
	}
	codis := fakecodis.StartCodisServer(t, fakecodis.Options{})
	o = newOperator(t, "codis", "1="+codis.Addr(), "2="+fakecodis.StartCodisServer(t, fakecodis.Options{}).Addr())
	for i := range 40 {
		codis.Do("SET", keyOf(router.Slot(i), 0), "v")
	}
	p = o.planOf("rebalance", "--by", "keys", "--yes")
	if *p.Groups[0].Load != 40 || len(p.Moves) != 1 || o.asked()["2"] != p.Transfers[0].Slots {
		t.Errorf("of codis-servers: %+v", p)
	}
}

// A plan that does not fit any more what is there is not asked for.
func TestCtlRebalanceSeesWhatHasChanged(t *testing.T) {
	t.Parallel()
	o := newOperator(t, "redis", "1,2")
	o.does("group", "add", "3", "--master", testbed.Redis(t).Addr(), "--yes")
	cmd := ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(new(strings.Builder))
	cmd.SetArgs([]string{"rebalance", "--config", o.file})
	cmd.SetIn(readerFunc(func(p []byte) (int, error) {
		o.does("move", "--slots", "500-511", "--to", "2", "--yes")
		return copy(p, "y\n"), nil
	}))
	err := cmd.ExecuteContext(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "nothing is asked for: slot 500 is one of move ") {
		t.Error(err)
	}
	if asked := o.asked(); len(asked) != 1 {
		t.Errorf("asked for: %v", asked)
	}
}

// A group is added to a pool that serves, gets its share, gives it back and is removed: no client sees an error, nothing
// is lost, and the server of the group is empty at the end.
func TestGroupComesAndGoesUnderLoad(t *testing.T) {
	t.Parallel()
	s := startSite(t, 2, testbed.ConsulOptions{InMemory: true}, "")
	s.awaitEpoch(1)
	const moving = 32
	sessions := oldSessions()
	sessions.Pops = 0 // As in migration.load.
	runs := s.load(moving, sessions)
	warmAll(t, runs)
	c := s.controllers()
	c.start().waitFor(t, "the active controller")
	three := testbed.Redis(t)
	c.ctl("group", "add", "3", "--master", three.Addr(), "--yes")
	// One slot in eight, so that the test takes seconds.
	weights := []string{"--weight", "1=7,2=7,3=2", "--batch", "32", "--yes", "-o", "json"}
	c.awaitPlan(append([]string{"rebalance"}, weights...)...)
	if n := c.slotsOf("3"); n != 128 {
		t.Errorf("group 3 has %d slots, want 128", n)
	}
	warmAll(t, runs)
	if three.Do("DBSIZE").Integer() == 0 {
		t.Error("group 3 has slots and no keys")
	}
	c.awaitPlan("group", "drain", "3", "--by", "keys", "--batch", "32", "--yes", "-o", "json")
	if n := c.slotsOf("3"); n != 0 {
		t.Errorf("group 3 has %d slots still", n)
	}
	warmAll(t, runs)
	c.ctl("group", "remove", "3", "--yes")
	warmAll(t, runs)
	s.finish(runs)
	if n := three.Do("DBSIZE").Integer(); n != 0 {
		t.Errorf("the server of a group that is gone has %d keys", n)
	}
	if shown := c.ctl("topology", "show"); strings.Contains(shown, three.Addr()) {
		t.Error(shown)
	}
	t.Log(c.ctl("moves"))
}

// awaitPlan asks for the moves of a plan, and waits until they are done.
func (c *controllers) awaitPlan(args ...string) {
	c.Helper()
	var p movePlan
	out := c.ctl(args...)
	if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Moves) == 0 {
		c.Fatalf("%v: %s", err, out)
	}
	for _, id := range p.Moves {
		c.await(id, "done", done)
	}
}

// slotsOf is how many slots a group has.
func (c *controllers) slotsOf(group string) (n int) {
	c.Helper()
	var shown topologyFile
	if err := json.Unmarshal([]byte(c.ctl("topology", "export", "-o", "json")), &shown); err != nil {
		c.Fatal(err)
	}
	for _, s := range shown.Slots {
		if s.Group == group {
			n += countSlots(s.Slots)
		}
	}
	return n
}
