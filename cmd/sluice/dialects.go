package main

import (
	"context"
	"strings"
	"time"

	"sluice/conf"
)

// dialectPause is the time between two looks for masters whose family is not known.
const dialectPause = time.Second

// watchDialects asks each master once what it is, and warns when the pool's dialect is another one: what its replies
// prove would be read wrongly, and nothing else would say so. It runs until ctx ends.
func (in *instance) watchDialects(ctx context.Context, pool int) {
	s, want := in.sources[pool], in.started.Pools[pool].Dialect
	asked := make(map[string]bool)
	pause := time.NewTicker(dialectPause)
	defer pause.Stop()
	for {
		if t := s.pool.Table(); t != nil {
			for _, g := range t.Groups {
				if addr := g.Master.Addr; !asked[addr] {
					asked[addr] = in.checkDialect(ctx, s, addr, want)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// checkDialect reports whether the node has answered.
func (in *instance) checkDialect(ctx context.Context, s *source, addr string, want conf.Dialect) bool {
	n := nodeAt(s.pool, addr)
	if n == nil || !n.Answers() {
		return false
	}
	ctx, cancel := within(ctx)
	defer cancel()
	info, err := n.Ask(ctx, "INFO", "server")
	if err != nil || info.Err() != nil {
		return err == nil // One that does not tell is not asked again.
	}
	name := serverName(infoFields(info.Text))
	if family, _, _ := strings.Cut(name, " "); !speaks(want, family) {
		in.log.Error("a server is of another family than the dialect of its pool: its replies are misunderstood; set dialect, or correct the address",
			"pool", s.pool.Name, "node", addr, "server", name, "dialect", string(want))
	}
	return true
}
