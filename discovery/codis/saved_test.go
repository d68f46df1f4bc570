package codis

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/statefile"
)

func TestStateFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if s, err := readSaved(path, "demo", 2); err != nil || s.Token != "" {
		t.Errorf("no file: %+v, %v", s, err)
	}
	slots := []Slot{{ID: 0, BackendAddr: "10.0.0.1:1", BackendAddrGroupID: 1}, {ID: 1, BackendAddr: "10.0.0.1:1", BackendAddrGroupID: 1}}
	f := func(s saved, says string) {
		t.Helper()
		if err := statefile.Write(path, s); err != nil {
			t.Fatal(err)
		}
		got, err := readSaved(path, "demo", 2)
		switch {
		case says == "" && (err != nil || got.Token != s.Token || len(got.Slots) != len(s.Slots)):
			t.Errorf("%+v, %v", got, err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) || got.Token != ""):
			t.Errorf("%+v, %v, want %s", got, err, says)
		}
	}
	f(saved{Version: savedVersion, Product: "demo", Token: "t", Slots: slots}, "")
	f(saved{Version: savedVersion, Product: "demo", Token: "t"}, "")
	f(saved{Version: 9, Product: "demo", Token: "t"}, "it has version 9, known is 1")
	f(saved{Version: savedVersion, Product: "other", Token: "t"}, `it is of product "other", not of "demo"`)
	f(saved{Version: savedVersion, Product: "demo", Token: "t", Slots: slots[:1]}, "it has 1 slots, the pool has 2")
	f(saved{Version: savedVersion, Product: "demo", Token: "t", Slots: []Slot{slots[1], slots[0]}}, "slot 1 stands in place 0")
	f(saved{Version: savedVersion, Product: "demo", Token: "t", Slots: []Slot{slots[0], {ID: 1, MigrateFrom: "10.0.0.2:1"}}}, "to nowhere")
	if _, err := readSaved(filepath.Dir(path), "demo", 2); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: %v", err)
	}
}
