package mover

import (
	"testing"

	"sluice/discovery/controller"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// Both ways of a codis-server, and the one of a Pika that there is, leave nothing of the slots behind.
func TestCodisMovesTheSlots(t *testing.T) {
	t.Parallel()
	f := func(name, family, method string, source, target *fakecodis.Server) {
		t.Helper()
		b := batch(source.Addr(), target.Addr())
		b.Model = router.CodisModel(1024)
		for slot := range router.Slot(1024) {
			if slot > 7 {
				b.Slots = append(b.Slots, slot)
			}
		}
		for i := range 40 {
			source.Do("SET", string(rune('a'+i)), "v")
		}
		m, err := New(family).Of(method)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error { return m.Check(t.Context(), b) },
			func() error { return m.Prepare(t.Context(), b) },
		} {
			if err := step(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		var last controller.Progress
		if err := m.Copy(t.Context(), b, func(p controller.Progress) { last = p }); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := m.Verify(t.Context(), b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(target.Keys()); n != 40 || len(source.Keys()) != 0 || last.Keys != 40 || last.Left != 0 {
			t.Errorf("%s: the target has %d keys, the source %d, reported %+v", name, n, len(source.Keys()), last)
		}
		source.Do("SET", "late", "v")
		wantError(t, m.Verify(t.Context(), b), "somebody may have written to it past the proxies")
	}
	codis := func() *fakecodis.Server { return fakecodis.StartCodisServer(t, fakecodis.Options{}) }
	pika := func() *fakecodis.Server { return fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{}) }
	f("codis, semi-async", "codis", "", codis(), codis())
	f("codis, sync", "codis", "sync", codis(), codis())
	f("pika, sync", "pika", "sync", pika(), pika())
}

// The cache of a Pika is cleared once, and again when slots have left it.
func TestPikaCacheIsCleared(t *testing.T) {
	t.Parallel()
	a := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
	b := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
	m, err := New("pika").Of("sync")
	if err != nil {
		t.Fatal(err)
	}
	there, back := batch(a.Addr(), b.Addr()), batch(b.Addr(), a.Addr())
	for i, x := range []struct {
		b    Batch
		a, c int // CLEARCACHEs that the two have had then
	}{{there, 0, 1}, {there, 0, 1}, {back, 1, 1}, {there, 1, 2}} {
		if err := m.Prepare(t.Context(), x.b); err != nil {
			t.Fatal(err)
		}
		if got, want := a.Calls("CLEARCACHE").Seen, x.a; got != want {
			t.Errorf("after %d: the first has had %d CLEARCACHE, want %d", i, got, want)
		}
		if got, want := b.Calls("CLEARCACHE").Seen, x.c; got != want {
			t.Errorf("after %d: the second has had %d CLEARCACHE, want %d", i, got, want)
		}
	}
}

// What can't be moved is said before anything is locked.
func TestMoversSayWhatTheyCanNot(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ family, method string }{
		{"pika", ""}, {"pika", "semi-async"}, {"dragonfly", ""}, {"kvrocks", ""},
	} {
		if m, err := New(x.family).Of(x.method); err == nil {
			t.Errorf("%s %q: there is %T", x.family, x.method, m)
		}
	}
	s := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
	target := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
	s.Do("CONFIG", "SET", "slotmigrate", "no")
	m, err := New("pika").Of("sync")
	if err != nil {
		t.Fatal(err)
	}
	wantFinal(t, m.Check(t.Context(), batch(s.Addr(), target.Addr())), "CONFIG SET slotmigrate yes, then SLOTSRELOAD")
}
