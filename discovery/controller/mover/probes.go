package mover

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/internal/control"
)

// probes ask both sides of a batch how long they take to answer, ten times a second, and the target each second whether
// it has room. They go on until stop. Safe for concurrent use.
type probes struct {
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex // guards the fields below it
	times [2][]time.Duration
	full  error // the target has no room
}

const (
	probeEvery = 100 * time.Millisecond
	// probesKept are those of two seconds.
	probesKept = 20
	// roomEvery is how often the target is asked for its memory, in probes.
	roomEvery = 10
	// reserve is the part of its maxmemory that a move leaves free at the target.
	reserve = 0.05
)

// probe begins to ask both sides. Each has a connection of its own.
func (b *Batch) probe(ctx context.Context) (*probes, error) {
	p := new(probes)
	var conns []*control.Conn
	for _, addr := range []string{b.Source, b.Target} {
		c, err := b.dial(ctx, addr)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, err
		}
		conns = append(conns, c)
	}
	p.room(ctx, conns[1])
	ctx, p.cancel = context.WithCancel(ctx)
	for side, c := range conns {
		p.work.Go(func() {
			defer c.Close()
			p.ask(ctx, side, c)
		})
	}
	return p, nil
}

func (p *probes) stop() {
	p.cancel()
	p.work.Wait()
}

// ask asks one side until ctx ends, or the server does not answer: the mover's own commands say what is wrong then.
func (p *probes) ask(ctx context.Context, side int, c *control.Conn) {
	for n := 1; pause(ctx, probeEvery) == nil; n++ {
		began := time.Now()
		_, err := ask(ctx, c, "PING")
		p.took(side, time.Since(began))
		if err != nil {
			return
		}
		if side == 1 && n%roomEvery == 0 {
			p.room(ctx, c)
		}
	}
}

// room notes whether the target has room. One that does not tell has.
func (p *probes) room(ctx context.Context, c *control.Conn) {
	full, err := roomAt(ctx, c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.full = full
	}
}

func (p *probes) took(side int, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times[side] = append(p.times[side], d)
	p.times[side] = p.times[side][max(0, len(p.times[side])-probesKept):]
}

// latency is what the slower side takes: all but one of its answers came sooner.
func (p *probes) latency() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := time.Duration(0)
	for _, times := range p.times {
		if len(times) > 1 {
			sorted := slices.Sorted(slices.Values(times))
			worst = max(worst, sorted[len(sorted)-2])
		}
	}
	return worst
}

// trouble says that the target has no room.
func (p *probes) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.full
}

// roomAt says that a server is close to its maxmemory: it would refuse writes, or evict keys. A server without that limit
// has room.
func roomAt(ctx context.Context, c *control.Conn) (full, err error) {
	v, err := ask(ctx, c, "INFO", "memory")
	if err != nil {
		return nil, err
	}
	used, limit := infoNumber(v.Text, "used_memory"), infoNumber(v.Text, "maxmemory")
	if keep := int64(float64(limit) * reserve); limit > 0 && limit-used < keep {
		return fmt.Errorf("%s has %d MB free of its maxmemory of %d MB, and a move leaves %d MB free: it goes on when there is room",
			c.Addr(), max(0, limit-used)>>20, limit>>20, keep>>20), nil
	}
	return nil, nil
}

// infoNumber is a field of INFO, 0 when there is none.
func infoNumber(info, field string) int64 {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}
