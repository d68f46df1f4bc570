package proxy

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/router"
)

// A script without keys runs on the same node always, by its body and by its SHA-1.
func TestScriptWithoutKeysHasItsNode(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		resetStats(t, top.nodes)
		c := top.dial(t)
		nodes := 0
		for i := range 20 {
			body := fmt.Sprint("return ", i)
			id := scriptIDOf([]byte(body))
			for range 3 {
				c.want(fmt.Sprintf(":%d\r\n", i), "EVAL", body, "0")
				c.want(fmt.Sprintf(":%d\r\n", i), "EVALSHA", string(id[:]), "0")
				c.want(fmt.Sprintf(":%d\r\n", i), "EVALSHA", strings.ToUpper(string(id[:])), "0")
			}
			has := 0
			for _, n := range top.nodes {
				has += n.Do("SCRIPT", "EXISTS", string(id[:])).Array()[0].Integer()
			}
			if has != 1 {
				t.Errorf("%q is on %d nodes", body, has)
			}
		}
		for _, n := range top.nodes {
			if strings.Contains(n.Do("INFO", "commandstats").String(), "cmdstat_eval:") {
				nodes++
			}
		}
		if nodes != len(top.nodes) {
			t.Errorf("scripts ran on %d of %d nodes", nodes, len(top.nodes))
		}
	})
}

// A server that has lost its scripts gets those that are asked for, and the client does not notice.
// A command behind EVALSHA in a pipeline has run before anybody knew that the script is missing. The script must not run behind
// it then, and the client gets what the server has said.
// A script that ends in the words of NOSCRIPT has run, and must not run again.
// SCRIPT LOAD stands directly before the EVALSHA, and a second NOSCRIPT is the client's.
// Of a crowd that meets a server without the script nobody gets a NOSCRIPT, whenever they come.
// In the wrapper of a moving slot's source the script is loaded at the source.
func TestScriptCacheIsBounded(t *testing.T) {
	var s scriptCache
	put := func(i int, loaded bool) scriptID {
		body := fmt.Sprint(i, strings.Repeat("x", 100_000))
		id := scriptIDOf([]byte(body))
		if got := s.add(id, body, loaded); got != body {
			t.Fatalf("script %d: another body is kept", i)
		}
		return id
	}
	first, kept := put(-1, false), put(-2, true)
	used := put(-3, false)
	for i := range 1000 {
		put(i, false)
		if s.bytes > maxScriptBytes {
			t.Fatalf("%d bytes", s.bytes)
		}
		if _, ok := s.body(used); !ok {
			t.Fatalf("script that is used was forgotten behind %d others", i)
		}
	}
	if _, ok := s.body(first); ok {
		t.Error("script that was not used for long is kept")
	}
	if _, ok := s.body(kept); !ok {
		t.Error("script of SCRIPT LOAD went before those of EVAL")
	}
	size := 0
	for _, e := range s.byID {
		size += len(e.Value.(*knownScript).body) + scriptOverhead
	}
	if size != s.bytes || s.loaded.Len()+s.seen.Len() != len(s.byID) || s.generation.Load() == 0 {
		t.Errorf("%d bytes counted, %d are there; generation %d", s.bytes, size, s.generation.Load())
	}
	s.add(scriptID{}, strings.Repeat("x", maxScript+1), true)
	if _, ok := s.body(scriptID{}); ok {
		t.Error("script beyond the limit is kept")
	}
	s.clear()
	if _, ok := s.body(kept); ok || s.bytes != 0 {
		t.Error("scripts are left behind clear")
	}
	put(1, true)
}

// What a loop remembers goes when the cache has forgotten it.
func TestLoopForgetsScriptsWithTheCache(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	id := scriptIDOf([]byte("return 1"))
	for range 2 {
		c.want(":1\r\n", "EVAL", "return 1", "0")
		if body := top.pool.scriptBody([]byte(strings.ToUpper(string(id[:])))); string(body) != "return 1" {
			t.Errorf("kept: %q", body)
		}
		top.pool.scripts.clear()
		if body := top.pool.scriptBody(id[:]); body != nil {
			t.Errorf("kept: %q", body)
		}
	}
	if body := top.pool.scriptBody([]byte("short")); body != nil {
		t.Errorf("kept: %q", body)
	}
}

// A script that has been sent is found without any allocation or lock.
func TestKnownScriptCostsNothing(t *testing.T) {
	p, l := new(Pool), new(loop)
	body := []byte("return 1")
	l.scriptID(p, body)
	if n := testing.AllocsPerRun(100, func() { l.scriptID(p, body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The slot of a script without keys is one that somebody owns, or the only one that is known.
func TestScriptIsHeldWithItsSlot(t *testing.T) {
	server := testbed.Redis(t)
	specs := []router.GroupSpec{{ID: "1", Master: server.Addr(), Slots: []router.Range{{From: 5, To: 5}}}}
	p := startProxy(t, codisModel, specs, holding(never))
	c := p.dial(t)
	c.want(":1\r\n", "EVAL", "return 1", "0")
	p.setTable(t, specs, router.MoveSpec{Slots: []router.Range{{From: 5, To: 5}}, Phase: router.Locked})
	c.request("EVAL", "return 1", "0")
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	c.wantReply(":1\r\n")
}
