package main

import (
	"os"
	"runtime"
	"strings"

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

func readLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
