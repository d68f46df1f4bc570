package testbed

import (
	"net"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	before := net.DefaultResolver
	names := InstallNames()
	defer func() { net.DefaultResolver = before }()
	f := func(name string, want ...string) {
		t.Helper()
		got, err := net.DefaultResolver.LookupHost(t.Context(), name)
		slices.Sort(got)
		if !slices.Equal(got, want) || (err != nil) != (len(want) == 0) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	names.Set("a.sluice.test", "127.0.0.2")
	f("a.sluice.test", "127.0.0.2")
	names.Set("a.sluice.test", "127.0.0.3", "127.0.0.4")
	f("a.sluice.test", "127.0.0.3", "127.0.0.4")
	f("b.sluice.test")
	if n := names.Asked("a.sluice.test"); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
