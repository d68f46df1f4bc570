package proxy

import (
	"time"

	"sluice/internal/clock"
)

// wakeAt makes the loop look at what waits for a time of its clock: delayed retries and held clients. The ticker
// would come too late for a key that is on its way for a millisecond.
func (l *loop) wakeAt(at int64) {
	if l.alarmAt != 0 && l.alarmAt <= at {
		return
	}
	l.alarmAt = at
	wait := max(time.Duration(at-clock.Now()), 0)
	if l.alarm == nil {
		l.alarm = time.AfterFunc(wait, func() { l.execute(l.onAlarm) })
		return
	}
	l.alarm.Reset(wait)
}

// onAlarm does what wakeAt was for.
func (l *loop) onAlarm() {
	l.alarmAt = 0
	delayed := l.delayed
	l.delayed = nil
	for _, c := range delayed {
		c.delayed = false
		c.runRetries()
	}
	l.nextTurn()
	l.runHedges()
	l.checkHeld()
}

// settle is told that a pool has a new topology, or new settings.
func (l *loop) settle(p *Pool) {
	if v := p.view.Load(); v != nil {
		l.arrivedKeys.Prune(p.Name, v.table)
		l.connectReaders(v)
	}
	l.recallBlocked(p)
	if h := l.hubs[p]; h != nil {
		h.Settle()
	}
	l.checkHeld()
	delayed := l.delayed
	l.delayed = nil
	for _, c := range delayed {
		c.delayed = false
		if c.pool == p && !c.closed && len(c.retries) > 0 {
			c.retries[0].next.After = 0 // What it waits for may have come.
			for _, d := range c.retries {
				d.renewDeadline()
			}
		}
		c.runRetries()
	}
}
