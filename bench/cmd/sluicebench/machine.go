package main

import (
	"os"
	"runtime"
	"strings"
	"syscall"

	"sluice/bench/report"
)

// thisMachine describes the machine without naming it.
func thisMachine() report.Machine {
	return report.Machine{
		CPU:        cpuModel(),
		Cores:      runtime.NumCPU(),
		Kernel:     readLine("/proc/sys/kernel/osrelease"),
		Go:         runtime.Version(),
		LoadBefore: loadAverage(),
	}
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// loadAverage returns the three averages of the kernel.
func loadAverage() string {
	fields := strings.Fields(readLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// raiseFileLimit lets this process and those that it starts have as many descriptors as they may. The runtime raises
// the limit by itself, but gives children what it had been before.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

func readLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
