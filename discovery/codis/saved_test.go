package codis

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/statefile"
	"sluice/internal/testbed/dashboard"
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

// A fill is answered when the file has it. A file that can't be written is gone, and said to be.
func TestStateFileIsWrittenBeforeTheAnswer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.StateFile, cfg.MaxStateAge = path, time.Hour })
	has := func(master string) {
		t.Helper()
		state, err := readSaved(path, "demo", 1024)
		if err != nil || len(state.Slots) == 0 || state.Slots[5].BackendAddr != master {
			t.Errorf("the file has %v, %v", state.Slots[:min(6, len(state.Slots))], err)
		}
	}
	for _, master := range []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"} {
		s.fillIn(dashboard.Slot{ID: 5, BackendAddr: master, BackendAddrGroupID: 1})
		has(master)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	s.fillIn(dashboard.Slot{ID: 5, BackendAddr: "10.0.0.4:1", BackendAddrGroupID: 1})
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), path+" can't be written") {
		t.Errorf("%v", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	s.fillIn(dashboard.Slot{ID: 5, BackendAddr: "10.0.0.5:1", BackendAddrGroupID: 1})
	has("10.0.0.5:1")
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}
