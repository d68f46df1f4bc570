package check

import (
	"context"
	"errors"
	"net"
	"time"
)

// pace is the timetable of one client's batches. A client that is late goes on at
// once and does not catch up. Owned by its client; no locking.
type pace struct {
	interval time.Duration // 0: no timetable
	due      time.Time
	timer    *time.Timer
}

func newPace(cfg *Config, id int) *pace {
	p := &pace{due: time.Now()}
	if cfg.Rate > 0 {
		p.interval = time.Duration(float64(cfg.Pipeline*cfg.Clients) / cfg.Rate * float64(time.Second))
		p.due = p.due.Add(p.interval * time.Duration(id) / time.Duration(cfg.Clients))
		p.timer = time.NewTimer(time.Hour)
	}
	return p
}

func (p *pace) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// wait returns when the next batch is due; false when ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	if p.interval == 0 {
		return ctx.Err() == nil
	}
	if left := time.Until(p.due); left > 0 {
		p.timer.Reset(left)
		select {
		case <-ctx.Done():
			return false
		case <-p.timer.C:
		}
	}
	p.due = p.due.Add(p.interval)
	if now := time.Now(); p.due.Before(now) {
		p.due = now
	}
	return ctx.Err() == nil
}

// rest waits for d or the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
