package peer

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestMeasureSeesWorkAndMemory(t *testing.T) {
	runtime.LockOSThread() // ThreadCPU is that of one thread.
	defer runtime.UnlockOSThread()
	before, err := Measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.RSSBytes == 0 || before.PeakBytes < before.RSSBytes {
		t.Errorf("RSS %d, peak %d", before.RSSBytes, before.PeakBytes)
	}
	const work = 20 * time.Millisecond
	thread := ThreadCPU()
	for began := ThreadCPU(); ThreadCPU()-began < work; {
		_ = began
	}
	after, err := Measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got := after.CPU - before.CPU; got < work*9/10 {
		t.Errorf("%s of CPU time measured, %s used", got, ThreadCPU()-thread)
	}
	if _, err := Measure(1 << 22); err == nil { // above the largest process id
		t.Error("a process that is not there can be measured")
	}
}
