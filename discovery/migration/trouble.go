package migration

import "time"

const (
	// slowStart is how long a migration may be connecting before somebody is told: the target may get its configuration
	// after the source.
	slowStart = 5 * time.Second
	// slowEnd is how long a hand-over may take.
	slowEnd = 5 * time.Second
	// alarmTime is how long lost writes are spoken of after the end.
	alarmTime = time.Hour
)

// Trouble says what somebody should look at, "" when there is nothing.
func (m *Migration) Trouble(now time.Time) string {
	for _, wrong := range []bool{
		m.State == Failed && m.Ended.IsZero(),
		m.State == Reverted && (m.Ended.IsZero() || now.Sub(m.Ended) < alarmTime),
		m.State == Connecting && now.Sub(m.Changed) >= slowStart,
		m.State == Finalising && now.Sub(m.Changed) >= slowEnd,
		m.State.active() && (m.Stalled || m.SourceSide.Quiet != "" || m.TargetSide.Quiet != ""),
	} {
		if wrong {
			return m.Verdict
		}
	}
	return ""
}

// UnderWay reports whether keys are moving or soon will.
func (m *Migration) UnderWay() bool { return m.State.active() }
