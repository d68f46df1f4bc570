package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	var got map[string]int
	if err := Read(path, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for n := range 3 {
		if err := Write(path, map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
		if err := Read(path, &got); err != nil || got["n"] != n {
			t.Errorf("%v, %v, want %d", got, err, n)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "x", string(whole[:len(whole)/2]), strings.Replace(string(whole), `"n":2`, `"n":3`, 1), `{"sha256":"","state":[]}`} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Read(path, &got); err == nil || !strings.Contains(err.Error(), "it is damaged") {
			t.Errorf("%q: %v", damaged, err)
		}
	}
	if err := Write(filepath.Join(dir, "no", "state.json"), got); err == nil {
		t.Error("written into a directory that is not there")
	}
}
