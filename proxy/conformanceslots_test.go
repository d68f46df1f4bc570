package proxy

import (
	"regexp"
	"slices"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/command"
	"sluice/router"
)

// TestConformanceOverSlots runs the suite without hash tags: what belongs together is in many slots of one group, and is
// to be answered exactly as one server answers it.
func TestConformanceOverSlots(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t, swift...)
	scripts := withoutTags(withoutCrossSlot(conformanceScripts(t)))
	for _, groups := range []int{1, 3} {
		top := togetherTopology(t, scripts, groups)
		for _, proto := range []string{"2", "3"} {
			for _, sc := range scripts {
				flush(t, direct)
				want := converseInTurn(t, direct.Addr(), proto, sc.list, direct)
				t.Run(sc.name, func(t *testing.T) { sc.compareThrough(t, top, proto, want) })
			}
		}
		shared := uint64(0)
		for _, n := range top.pool.MultiSlot() {
			shared += n
		}
		if shared < 800 {
			t.Errorf("%d groups: only %d requests had keys in several slots", groups, shared)
		}
	}
}

var hashTag = regexp.MustCompile(`\{(\w+)\}`)

// withoutTags takes the braces out of the keys. What is said of tags is not among the rest.
func withoutTags(scripts []conformanceScript) []conformanceScript {
	for i := range scripts {
		if scripts[i].name == "cluster" {
			continue
		}
		for k, s := range scripts[i].list {
			args := slices.Clone(s.args)
			for a := range args {
				args[a] = hashTag.ReplaceAllString(args[a], "$1.")
			}
			scripts[i].list[k].args = args
		}
	}
	return scripts
}

// togetherTopology spreads the slots over groups so that those of keys which scripts use together have one owner.
func togetherTopology(t *testing.T, scripts []conformanceScript, groups int) *topology {
	t.Helper()
	model := router.CodisModel(router.ClusterSlots)
	with := make([]int, model.Slots()) // A slot of the same set, to the one that stands for all.
	for i := range with {
		with[i] = i
	}
	var find func(slot int) int
	find = func(slot int) int {
		if with[slot] != slot {
			with[slot] = find(with[slot])
		}
		return with[slot]
	}
	for _, sc := range scripts {
		open := make(map[byte]int) // by connection: a slot of its transaction
		for _, s := range sc.list {
			args := make([][]byte, len(s.args))
			for i, arg := range s.args {
				args[i] = []byte(arg)
			}
			if len(args) == 0 {
				continue
			}
			cmd := command.Resolve(args)
			if cmd == nil {
				continue
			}
			switch cmd.Name {
			case "multi":
				open[s.conn] = -1
			case "exec", "discard":
				delete(open, s.conn)
			}
			last, inside := open[s.conn]
			if !inside {
				last = -1
			}
			keys, _ := cmd.AppendKeys(nil, args)
			for _, k := range keys {
				slot := int(model.Slot(args[k]))
				if last >= 0 {
					with[find(slot)] = find(last)
				}
				last = slot
			}
			if inside || cmd.Name == "watch" {
				open[s.conn] = last
			}
		}
	}
	top := &topology{model: model}
	specs := evenly(model, make([]string, groups)...)
	for i := range specs {
		node := testbed.Redis(t, swift...)
		top.nodes = append(top.nodes, node)
		specs[i].Master, specs[i].Slots = node.Addr(), router.RangesOf(model.Slots(), func(slot router.Slot) bool {
			return find(int(slot))%groups == i
		})
	}
	top.testProxy = startProxy(t, model, specs, patient)
	return top
}
