package report

import "time"

// Report is everything that one comparison saw.
type Report struct {
	When     time.Time
	Machine  Machine
	Settings Settings
	Peers    []Peer
	Cells    []Cell
	Runs     []Run
	Memory   []MemoryRow
	Control  []ControlRow
	Profiles []Profile
}

// Machine describes where the figures come from.
type Machine struct {
	CPU    string
	Cores  int
	Kernel string
	Go     string
	// LoadBefore and LoadAfter are load averages as the kernel prints them.
	LoadBefore, LoadAfter string
}

// Settings are how the comparison was run.
type Settings struct {
	Command  string
	Rounds   int
	Duration time.Duration
	Open     time.Duration // that of open loops
	Warmup   time.Duration
	Idle     time.Duration // between load and the last reading of the memory section
	Servers  int
	Server   string // version
}

// Peer is one of the compared programs, also when it did not take part.
type Peer struct {
	Name    string
	Version string
	Note    string
	// Problem says why there are no or not all figures; empty if there are.
	Problem string
	// Check is the outcome of the verified run before the measurement.
	Check string
}

// Cell is one kind of load.
type Cell struct {
	Name       string
	Conns      int
	Depth      int
	ValueBytes int
	Command    string
	// Rate is the requests per second of an open loop, 0 for a closed one.
	Rate int
}

// Run is one cell of one peer in one round.
type Run struct {
	Round int
	Cell  string
	Peer  string

	Throughput     float64 // requests per second
	P50, P99, P999 time.Duration
	// CorrectedP99 estimates what clients with their own timetable would see.
	CorrectedP99 time.Duration
	// CPU is the peer's own CPU time per request, User the user part of it (0..1).
	CPU  time.Duration
	User float64
	// Generator is the load generator's CPU time per request.
	Generator time.Duration
	// RSSBytes is read under load at the end of the run, PeakBytes is the most
	// during it.
	RSSBytes, PeakBytes int64
	// Failures makes the run worthless: it is shown and used for nothing.
	Failures uint64
	Failure  string // the most frequent text
}

// MemoryRow is a reading of the memory section.
type MemoryRow struct {
	Peer                string
	Stage               Stage
	RSSBytes, PeakBytes int64
}

// ControlRow is a run in an open loop while the control side works.
type ControlRow struct {
	Work                string
	P50, P99, P999, Max time.Duration
	Late                time.Duration // p99.9 of what the generator itself was late
	// Turns of the event loop and waits for them, those over 1 ms, and bounds of the longest.
	Turns, LongTurns, Waits, LongWaits uint64
	LongestTurn, LongestWait           time.Duration
}

// Stage is a point of the memory section, in this order, in one fresh process.
type Stage string

// The stages of the memory section.
const (
	StageStart Stage = "after start"
	StageSmall Stage = "50 connections, small values"
	StageLarge Stage = "500 connections, P 64, 1 KiB"
	StageIdle  Stage = "idle after that"
)

// Stages lists the stages in their order.
func Stages() []Stage { return []Stage{StageStart, StageSmall, StageLarge, StageIdle} }

// Profile shows where CPU time goes in a cell that missed its target.
type Profile struct {
	Cell string
	Text string
}

// Peer names that the package compares by.
const (
	Direct    = "direct"
	Sluice    = "sluice"
	Sluice2   = "sluice-2"
	Reads     = "sluice-reads"
	Predixy   = "predixy"
	Predixy2  = "predixy-2"
	Twemproxy = "twemproxy"
	Codis     = "codis-proxy"
)
