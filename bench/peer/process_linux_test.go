package peer

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestPausedProcessStops(t *testing.T) {
	p, err := start("sleeper", t.TempDir(), script(t, "exec sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		return rest[:1]
	}
	p.Pause()
	for state() != "T" {
		runtime.Gosched()
	}
	p.Resume()
	for state() == "T" {
		runtime.Gosched()
	}
	p.Pause()
	p.Stop() // Ends it all the same, and at once.
	if err := p.obituary(); !strings.Contains(err.Error(), "terminated") {
		t.Errorf("obituary: %v", err)
	}
}
