package consul

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/router"
)

func TestValidateFindsAllProblems(t *testing.T) {
	model := router.CodisModel(slots)
	if err := document([]string{"a:1"}, []string{"b:1"}).Validate(model); err != nil {
		t.Fatal(err)
	}
	d := &Document{
		Format: Format{Version: 1, Slots: 1024, Hash: "crc32"},
		Groups: []Group{
			{ID: "1", Nodes: []Node{{Addr: "a:1"}, {Addr: "nonsense"}}}, {ID: "1"}, {ID: "x/y"}, {ID: "2", Nodes: []Node{{Addr: "a:1"}}},
		},
		Slots: []SlotRange{
			{Slots: "0-3", Group: "1", State: Stable}, {Slots: "3-4", Group: "2", State: Moving},
			{Slots: "5", Group: "2", State: Stable, To: "1"}, {Slots: "6", Group: "7", State: "stabel"},
			{Slots: "7", Group: "1", State: Locked, To: "1"}, {Slots: "8", Group: "1", State: Moving, To: "8", Method: "fast"},
			{Slots: "9-x", Group: "1", State: Stable}, {Slots: "15-16", Group: "1", State: Stable},
		},
	}
	err := d.Validate(model)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"it is for 1024 slots by crc32, the pool is configured for 16 by crc32", "group 1 is listed twice",
		`no usable id: "x/y"`, `address "nonsense" is not host:port`, "a:1 is in group 1 and in group 2",
		"slots 3-4 (group 2) are listed twice", "slots 3-4: they move to nowhere", "slots 5: they are stable and move",
		`slots 6: there is no group "7"`, `unknown state "stabel"`, "slots 7: they move from group 1 to itself",
		`there is no group "8" to move to`, `unknown method "fast"`, `slots "9-x": "x" is no slot`,
		"slots 15-16 are outside 0-15", "slots 9-15 have no group",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestSlotRangesAreTheOppositeOfAssignments(t *testing.T) {
	d := document([]string{"a:1"}, []string{"b:1"})
	d.Slots = []SlotRange{
		{Slots: "0-3,9", Group: "1", State: Stable}, {Slots: "4-8", Group: "1", State: Moving, To: "2", Method: MethodSync},
		{Slots: "10-15", Group: "2", State: Stable},
	}
	list, err := d.Assignments(router.CodisModel(slots))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Slots, SlotRanges(list)); diff != "" {
		t.Error(diff)
	}
}

func TestDiff(t *testing.T) {
	a := document([]string{"a:1", "r:1"}, []string{"b:1"})
	b := document([]string{"a:1"}, []string{"b:1"}, []string{"c:1"})
	b.Groups[1].Nodes[0].Zone = "east"
	b.Slots = []SlotRange{
		{Slots: "0-5", Group: "1", State: Stable}, {Slots: "6,7", Group: "1", State: Moving, To: "3", Method: MethodSync},
		{Slots: "8-15", Group: "2", State: Stable},
	}
	want := []string{
		"group 1: node r:1 removed", `group 2: node b:1: zone "" -> "east"`, "group 3: new, c:1",
		"slots 6-7: group 1 -> group 1, moving to 3 (sync)",
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
	if lines := Diff(a, a); len(lines) > 0 {
		t.Errorf("nothing has changed: %q", lines)
	}
}

func TestDocumentIsWrittenAsAWholeOrNotAtAll(t *testing.T) {
	server := sharedConsul(t)
	kv := newClient(t, ClientConfig{Address: server.URL()}).KV()
	root := fmt.Sprintf("sluice/layout-%d/", pools.Add(1))
	if _, index, err := ReadDocument(t.Context(), kv, root); !errors.Is(err, ErrNoTopology) || index != 0 {
		t.Fatalf("index %d, error %v", index, err)
	}
	d := document([]string{"a:1"}, []string{"b:1"})
	if err := WriteDocument(t.Context(), kv, root, 0, d); err != nil {
		t.Fatal(err)
	}
	if err := WriteDocument(t.Context(), kv, root, 0, document([]string{"c:1"})); !errors.Is(err, ErrConflict) {
		t.Errorf("error %v, want a conflict", err)
	}
	read, index, err := ReadDocument(t.Context(), kv, root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, read); diff != "" || read.Epoch.Epoch != 1 {
		t.Errorf("epoch %d, difference: %s", read.Epoch.Epoch, diff)
	}

	// One of many writers at a time wins, and nobody reads a mix.
	var won sync.Map
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			mine := document([]string{"a:1"}, []string{"b:1"}[:1])
			mine.Epoch.Epoch = 1
			mine.Epoch.Change = string(rune('a' + i))
			if err := WriteDocument(t.Context(), kv, root, index, mine); err == nil {
				won.Store(i, true)
			} else if !errors.Is(err, ErrConflict) {
				t.Errorf("error %v, want a conflict", err)
			}
		})
		work.Go(func() {
			if _, _, err := ReadDocument(t.Context(), kv, root); err != nil {
				t.Errorf("read in between: %v", err)
			}
		})
	}
	work.Wait()
	winners := 0
	won.Range(func(any, any) bool { winners++; return true })
	if winners != 1 {
		t.Errorf("%d writers have won, want 1", winners)
	}

	other := document([]string{"a:1"})
	other.Format = FormatOf(router.CodisModel(1024))
	if _, err := kv.DeleteTree(root+keyTopology, nil); err != nil {
		t.Fatal(err)
	}
	if err := WriteDocument(t.Context(), kv, root, 0, other); err == nil || !strings.Contains(err.Error(), "never changes") {
		t.Errorf("error %v, want that the format never changes", err)
	}
}

func TestFenceStopsADeposedController(t *testing.T) {
	server := sharedConsul(t)
	client := newClient(t, ClientConfig{Address: server.URL()})
	root := fmt.Sprintf("sluice/fence-%d/", pools.Add(1))
	session, _, err := client.Session().CreateNoChecks(&api.SessionEntry{TTL: "10s"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	leader := &api.KVPair{Key: root + "controller/leader", Session: session}
	if ok, _, err := client.KV().Acquire(leader, nil); err != nil || !ok {
		t.Fatal(ok, err)
	}
	d := document([]string{"a:1"})
	if err := WriteDocument(t.Context(), client.KV(), root, 0, d, Fence(leader.Key, session)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Session().Destroy(session, nil); err != nil {
		t.Fatal(err)
	}
	_, index, err := ReadDocument(t.Context(), client.KV(), root)
	if err != nil {
		t.Fatal(err)
	}
	err = WriteDocument(t.Context(), client.KV(), root, index, d, Fence(leader.Key, session))
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "session") || d.Epoch.Epoch != 1 {
		t.Errorf("error %v, epoch %d", err, d.Epoch.Epoch)
	}
	big := document([]string{"a:1"})
	big.Epoch.Change = strings.Repeat("x", 600<<10)
	if err := WriteDocument(t.Context(), client.KV(), root, index, big); err == nil || !strings.Contains(err.Error(), "more than Consul takes") {
		t.Errorf("error %v, want that it is too large", err)
	}
}
