package codis

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"sluice/internal/control"
)

// Codis 3.2 lets every proxy follow failovers by itself: the dashboard tells it the sentinels, which know the
// master of group N as PRODUCT-N. What more than half of them say counts when it is news, that is, something else
// than they said before; routes tells until when.

const (
	// sentinelPeriod is the time between two looks at the sentinels.
	sentinelPeriod = time.Second
	// sentinelTime bounds the questions to one sentinel.
	sentinelTime = time.Second
)

// sentinelLimits are for one answer: two strings, a null or an error.
var sentinelLimits = control.Limits{Bytes: 64 << 10, Elements: 1 << 12}

// watchSentinels runs until ctx ends.
func (s *Source) watchSentinels(ctx context.Context) {
	tick := time.NewTicker(cmp.Or(s.cfg.SentinelEvery, sentinelPeriod))
	defer tick.Stop()
	var silent silence
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		servers, groups := s.sentinels, s.routes.groups()
		s.mu.Unlock()
		if len(servers) > 0 && len(groups) > 0 {
			s.switchMasters(ctx, servers, s.askSentinels(ctx, servers, groups, &silent))
		}
	}
}

// askSentinels returns the master of each group that more than half of the sentinels agree on.
func (s *Source) askSentinels(ctx context.Context, servers []string, groups []int, silent *silence) map[int]string {
	votes := make(map[int]map[string]int)
	answers, errs := make([]map[int]string, len(servers)), make([]error, len(servers))
	var all sync.WaitGroup
	for i, addr := range servers {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, sentinelTime)
			defer cancel()
			answers[i], errs[i] = askSentinel(ctx, addr, s.cfg.Product, groups)
		})
	}
	all.Wait()
	silent.tell(s.cfg.Log, servers, errs)
	for _, masters := range answers {
		for group, addr := range masters {
			if votes[group] == nil {
				votes[group] = make(map[string]int)
			}
			votes[group][addr]++
		}
	}
	agreed := make(map[int]string)
	for group, count := range votes {
		for addr, n := range count {
			if n > len(servers)/2 {
				agreed[group] = addr
			}
		}
	}
	return agreed
}

// askSentinel asks one sentinel for the masters of groups. What it does not answer is left out.
func askSentinel(ctx context.Context, addr, product string, groups []int) (map[int]string, error) {
	c, err := control.Dial(ctx, addr, control.Options{Limits: sentinelLimits})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	masters := make(map[int]string)
	for _, group := range groups {
		v, err := c.Do(ctx, "SENTINEL", "get-master-addr-by-name", fmt.Sprintf("%s-%d", product, group))
		if err != nil {
			return masters, err
		}
		if len(v.Elems) == 2 {
			masters[group] = net.JoinHostPort(v.At(0).Text, v.At(1).Text)
		}
	}
	return masters, nil
}

// silence is which sentinels gave no answer the last time. Owned by the goroutine that asks them.
type silence map[string]bool

// tell logs the sentinels that have fallen silent, once.
func (s *silence) tell(log *slog.Logger, servers []string, errs []error) {
	now := make(silence)
	for i, addr := range servers {
		if errs[i] == nil {
			continue
		}
		if now[addr] = true; !(*s)[addr] {
			log.Warn("codis: a sentinel does not answer", "sentinel", addr, "err", errs[i])
		}
	}
	*s = now
}

// switchMasters puts masters into force that servers did not name before.
func (s *Source) switchMasters(ctx context.Context, servers []string, masters map[int]string) {
	s.fills.Lock()
	defer s.fills.Unlock()
	s.mu.Lock()
	said, known := s.said, s.routes
	asked := slices.Equal(servers, s.sentinels)
	s.mu.Unlock()
	news := make(map[int]string)
	for group, addr := range masters {
		if said[group] != addr {
			news[group] = addr
		}
	}
	if len(news) == 0 || !asked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	if err := s.putIntoForce(ctx, known.switched(news)); err != nil {
		s.cfg.Log.Warn("codis: the masters that the sentinels name are not in force", "masters", news, "err", err)
		return
	}
	s.mu.Lock()
	s.said = maps.Clone(s.said)
	if s.said == nil {
		s.said = make(map[int]string)
	}
	maps.Copy(s.said, news)
	s.mu.Unlock()
	s.cfg.Log.Info("codis: masters by the sentinels", "masters", news)
}

// follow takes the sentinels that the dashboard names. What they say is news. Without any, the dashboard alone counts.
func (s *Source) follow(ctx context.Context, servers []string) error {
	s.fills.Lock()
	defer s.fills.Unlock()
	s.mu.Lock()
	s.sentinels, s.said = servers, nil
	known := s.routes
	s.mu.Unlock()
	if len(servers) > 0 || len(known.masters) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	return s.putIntoForce(ctx, known.bare())
}
