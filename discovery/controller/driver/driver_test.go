package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/discovery/controller/mover"
	"sluice/internal/control"
	"sluice/internal/leaktest"
	"sluice/internal/testbed"
	"sluice/router"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// pool is a pool of two redis-servers whose topology is in a real Consul, with proxies that acknowledge what they see.
type pool struct {
	*testing.T
	client *api.Client
	root   string
	a, b   *testbed.Server
	model  router.Model
}

func newPool(t *testing.T) *pool {
	t.Helper()
	server := testbed.Consul(t, testbed.ConsulOptions{})
	client, err := consul.NewClient(consul.ClientConfig{Address: server.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{T: t, client: client, root: "sluice/main/", model: router.CodisModel(64)}
	p.a, p.b = testbed.Redis(t), testbed.Redis(t)
	p.topology(consul.SlotRange{Slots: "0-63", Group: "1", State: consul.Stable})
	return p
}

func (p *pool) topology(slots ...consul.SlotRange) {
	p.Helper()
	d := &consul.Document{
		Format: consul.FormatOf(p.model), Epoch: consul.Epoch{Change: "first"},
		Groups: []consul.Group{{ID: "1"}, {ID: "2"}}, Slots: slots,
	}
	if err := consul.WriteDocument(p.Context(), p.client.KV(), p.root, 0, d); err != nil {
		p.Fatal(err)
	}
}

// fill writes keys to group 1.
func (p *pool) fill(n int) {
	p.Helper()
	for i := range n {
		p.a.Do("SET", fmt.Sprintf("key:%d", i), fmt.Sprint(i))
	}
}

// driver is a Driver of the pool, ready to run.
func (p *pool) driver(id string) *Driver { return p.driverWith(id, mover.New("redis").Of) }

func (p *pool) driverWith(id string, of func(method string) (mover.Mover, error)) *Driver {
	return New(Config{
		Client: p.client, Root: p.root, ID: id, Model: p.model,
		Master: func(group string) string { return map[string]string{"1": p.a.Addr(), "2": p.b.Addr()}[group] },
		Mover:  of,
		Access: func() control.Options { return control.Options{} },
		Log:    slog.New(slog.DiscardHandler), TTL: 10 * time.Second, LockDelay: time.Millisecond,
	})
}

// run runs a driver until the returned function is called, or the test ends.
func (p *pool) run(d *Driver) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { d.Run(ctx) })
	stop = func() {
		cancel()
		work.Wait()
	}
	p.Cleanup(stop)
	return stop
}

// proxy is a member that acknowledges every epoch that it sees, until the test ends or stop is called.
func (p *pool) proxy(id string) (stop func()) {
	p.Helper()
	p.put("members/"+id, consul.MemberRecord{ID: id})
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		var index uint64
		for ctx.Err() == nil {
			opts := &api.QueryOptions{WaitIndex: index, WaitTime: time.Second}
			pair, meta, err := p.client.KV().Get(p.root+"topology/epoch", opts.WithContext(ctx))
			if err != nil || pair == nil {
				continue
			}
			index = meta.LastIndex
			var e consul.Epoch
			if err := json.Unmarshal(pair.Value, &e); err != nil {
				p.Error(err)
				return
			}
			p.put("acks/"+id, consul.AckRecord{Epoch: e.Epoch, Digest: e.Digest})
		}
	})
	stop = func() {
		cancel()
		work.Wait()
	}
	p.Cleanup(stop)
	return stop
}

func (p *pool) put(name string, v any) {
	p.Helper()
	value, err := json.Marshal(v)
	if err == nil {
		_, err = p.client.KV().Put(&api.KVPair{Key: p.root + name, Value: value}, nil)
	}
	if err != nil {
		p.Error(err)
	}
}

// ask asks for a move to group 2, in batches.
func (p *pool) ask(id, slots string, batch int) {
	p.Helper()
	ranges, err := router.ParseRanges(slots)
	if err != nil {
		p.Fatal(err)
	}
	p.put(dirMoves+id, controller.New(id, "test", "2", ranges, batch, time.Now()))
}

// await waits until a move is as ok says, and returns it.
func (p *pool) await(id string, what string, ok func(m controller.Move) bool) (m controller.Move) {
	p.Helper()
	testbed.Eventually(p.T, func() error {
		pair, _, err := p.client.KV().Get(p.root+dirMoves+id, nil)
		if err != nil {
			return err
		}
		m = controller.Move{}
		if err := json.Unmarshal(pair.Value, &m); err != nil {
			return err
		}
		if !ok(m) {
			return fmt.Errorf("move %s is not %s: %s", id, what, pair.Value)
		}
		return nil
	}, 2*time.Minute)
	return m
}

func isState(want controller.State) func(controller.Move) bool {
	return func(m controller.Move) bool { return m.State == want }
}

// wantKeys checks that each server has the keys of its slots, and no other.
func (p *pool) wantKeys(n int, moved func(slot router.Slot) bool) {
	p.Helper()
	for i := range n {
		key := fmt.Sprintf("key:%d", i)
		has, lacks := p.a, p.b
		if moved(p.model.Slot([]byte(key))) {
			has, lacks = p.b, p.a
		}
		if got := has.Do("GET", key).String(); got != fmt.Sprint(i) {
			p.Errorf("%s has %q for %s", has.Addr(), got, key)
		}
		if n := lacks.Do("EXISTS", key).Integer(); n != 0 {
			p.Errorf("%s has %s, too", lacks.Addr(), key)
		}
	}
}

// A move in batches takes its slots, all their keys, and nothing else; the topology says so at the end.
func TestMove(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(500)
	p.proxy("p1")
	p.proxy("p2")
	p.run(p.driver("c1"))
	p.ask("m1", "0-19,40", 8)
	m := p.await("m1", "done", isState(controller.Done))
	p.wantKeys(500, func(s router.Slot) bool { return s < 20 || s == 40 })
	doc, _, err := consul.ReadDocument(t.Context(), p.client.KV(), p.root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(doc.Slots), "[{0-19,40 2 stable   0} {20-39,41-63 1 stable   0}]"; got != want {
		t.Errorf("the topology has %s, want %s", got, want)
	}
	if m.Moved != "0-19,40" || m.Left != "" || m.Progress.Keys == 0 || m.First != nil {
		t.Errorf("the document says %+v", m)
	}
}

// A driver that is stopped in the middle of a batch is followed by another one, which ends the move.
func TestAnotherDriverGoesOn(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(300)
	p.put("members/p1", consul.MemberRecord{ID: "p1"}) // It does not acknowledge anything yet.
	stop := p.run(p.driver("c1"))
	p.ask("m1", "0-31", 32)
	p.await("m1", "locked", func(m controller.Move) bool { return m.Batch != nil && m.Batch.Phase == controller.Locking })
	stop()
	p.proxy("p1")
	p.run(p.driver("c2"))
	p.await("m1", "done", isState(controller.Done))
	p.wantKeys(300, func(s router.Slot) bool { return s < 32 })
}

// A target that hangs while keys move is named, and the move goes on when it is back: nothing is lost, or there twice.
func TestTargetHangs(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(300)
	p.proxy("p1")
	gate := gated{copying: make(chan struct{}), goOn: make(chan struct{})}
	p.run(p.driverWith("c1", func(method string) (m mover.Mover, err error) {
		g := gate
		g.Mover, err = mover.New("redis").Of(method)
		return g, err
	}))
	p.ask("m1", "0-31", 32)
	<-gate.copying
	if err := p.b.Stop(); err != nil {
		t.Fatal(err)
	}
	close(gate.goOn)
	m := p.await("m1", "in trouble", func(m controller.Move) bool { return m.Last != nil && m.Last.Phase == controller.Copying })
	if !strings.Contains(m.Last.Text, p.b.Addr()) || m.State != controller.Running {
		t.Errorf("%s, its last error is %q, want one that names %s", m.State, m.Last.Text, p.b.Addr())
	}
	if err := p.b.Cont(); err != nil {
		t.Fatal(err)
	}
	p.await("m1", "done", isState(controller.Done))
	p.wantKeys(300, func(s router.Slot) bool { return s < 32 })
}

// gated waits before keys are copied.
type gated struct {
	mover.Mover
	copying, goOn chan struct{}
}

func (g gated) Copy(ctx context.Context, b mover.Batch, report func(controller.Progress)) error {
	select {
	case g.copying <- struct{}{}:
		<-g.goOn
	case <-g.goOn:
	}
	return g.Mover.Copy(ctx, b, report)
}

// A target that hangs when it is to be made ready costs its clients no more than that: the slots are theirs again, and
// the document names it.
func TestTargetHangsUnderTheLock(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(300)
	p.put("members/p1", consul.MemberRecord{ID: "p1"})
	p.run(p.driver("c1"))
	p.ask("m1", "0-31", 32)
	p.await("m1", "locked", func(m controller.Move) bool { return m.Batch != nil && m.Batch.Phase == controller.Locking })
	if err := p.b.Stop(); err != nil {
		t.Fatal(err)
	}
	p.proxy("p1")
	m := p.await("m1", "unlocked", func(m controller.Move) bool {
		return m.Last != nil && (m.Batch == nil || m.Batch.Phase == controller.Unlocking || m.Batch.Phase == controller.Checking)
	})
	if !strings.Contains(m.First.Text, p.b.Addr()) {
		t.Errorf("its first error is %q, want one that names %s", m.First.Text, p.b.Addr())
	}
	if err := p.b.Cont(); err != nil {
		t.Fatal(err)
	}
	p.await("m1", "done", isState(controller.Done))
	p.wantKeys(300, func(s router.Slot) bool { return s < 32 })
}

// intrusive writes a key to the source before the first look whether any is left.
type intrusive struct {
	mover.Mover
	once *sync.Once
	put  func()
}

func (m intrusive) Verify(ctx context.Context, b mover.Batch) error {
	m.once.Do(m.put)
	return m.Mover.Verify(ctx, b)
}

// A key that somebody has written to the source behind the copy is moved, too.
func TestKeyAtTheSourceBehindTheCopy(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(300)
	p.proxy("p1")
	late := ""
	for i := 300; late == ""; i++ {
		if k := fmt.Sprintf("key:%d", i); p.model.Slot([]byte(k)) < 32 {
			late = k
		}
	}
	once := new(sync.Once)
	p.run(p.driverWith("c1", func(method string) (mover.Mover, error) {
		m, err := mover.New("redis").Of(method)
		return intrusive{m, once, func() { p.a.Do("SET", late, "v") }}, err
	}))
	p.ask("m1", "0-31", 32)
	m := p.await("m1", "done", isState(controller.Done))
	if m.First == nil || !strings.Contains(m.First.Text, "such as \""+late+"\"") {
		t.Errorf("its first error is %+v, want one that names %s", m.First, late)
	}
	if p.a.Do("EXISTS", late).Integer() != 0 || p.b.Do("GET", late).String() != "v" {
		t.Error("the late key was not moved")
	}
	p.wantKeys(300, func(s router.Slot) bool { return s < 32 })
}

// A target that is flushed while keys move has lost the marker of the move: that begins again under a new lock.
func TestTargetIsFlushed(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(300)
	p.proxy("p1")
	gate := gated{copying: make(chan struct{}), goOn: make(chan struct{})}
	p.run(p.driverWith("c1", func(method string) (m mover.Mover, err error) {
		g := gate
		g.Mover, err = mover.New("redis").Of(method)
		return g, err
	}))
	p.ask("m1", "0-31", 32)
	<-gate.copying
	p.b.Do("FLUSHALL")
	close(gate.goOn)
	m := p.await("m1", "done", isState(controller.Done))
	if m.First == nil || !strings.Contains(m.First.Text, "knows of no such move") {
		t.Errorf("its first error is %+v", m.First)
	}
	p.wantKeys(300, func(s router.Slot) bool { return s < 32 })
}

// What is in the way stands in the document: keys at the target, and a proxy that has gone without a word.
func TestWaitsForWhatItSays(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.fill(100)
	key := ""
	for i := range 100 {
		if k := fmt.Sprintf("key:%d", i); p.model.Slot([]byte(k)) < 8 {
			key = k
		}
	}
	p.b.Do("SET", key, "left over")
	p.put("members/gone", consul.MemberRecord{ID: "gone"})
	p.run(p.driver("c1"))
	p.ask("m1", "0-7", 8)
	m := p.await("m1", "stopped", isState(controller.Stopped))
	if want := "has 1 keys of them already, such as \"" + key + "\""; !strings.Contains(m.Waits, want) {
		t.Errorf("it waits for %q, want %q", m.Waits, want)
	}
	p.b.Do("DEL", key)
	p.put(dirWishes+"m1", controller.Wish{Number: 1, By: "test"})
	m = p.await("m1", "put off", func(m controller.Move) bool { return m.Retries > 0 })
	want := "proxy gone (its session is over; `sluice ctl proxies forget gone` when its process has ended)"
	if !strings.Contains(m.Last.Text, want) {
		t.Errorf("its last error is %q, want %q", m.Last.Text, want)
	}
	p.put(dirWishes+"m1", controller.Wish{Number: 2, Verb: controller.AbortForward, By: "test"})
	if _, err := p.client.KV().Delete(p.root+"members/gone", nil); err != nil {
		t.Fatal(err)
	}
	p.await("m1", "aborted", isState(controller.Aborted))
	p.wantKeys(100, func(router.Slot) bool { return false })
}

// A driver that has lost the lock and does not know it writes neither a document nor a topology.
func TestDeposedDriverWritesNothing(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.proxy("p1")
	p.ask("m1", "0-7", 8)
	old := p.driver("old")
	session, err := old.createSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer old.destroySession(t.Context(), session)
	if err := old.lock(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	s, err := old.list(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	// The lock goes to somebody else, while this one decides by what it has read.
	if _, _, err := p.client.KV().Release(&api.KVPair{Key: old.lockKey(), Session: session}, nil); err != nil {
		t.Fatal(err)
	}
	late := &term{Driver: old, session: session, site: s, jobs: make(map[string]*job)}
	d := controller.Next(s.moves[0].Move, late.world("m1"))
	d.Change = &controller.Change{Owner: controller.Owner{Group: "2", State: controller.SlotStable}, Why: "too late"}
	for range 2 { // With a change of the topology, and without one.
		if err := late.write(t.Context(), s.moves[0], d); !errors.Is(err, errDeposed) {
			t.Errorf("the write of a deposed driver ends with %v", err)
		}
		d.Change = nil
	}
	now, err := old.list(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if now.doc.Epoch != s.doc.Epoch || now.moves[0].index != s.moves[0].index {
		t.Error("something was written")
	}
}
