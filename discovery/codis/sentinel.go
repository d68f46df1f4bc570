package codis

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/tidwall/resp"
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

// watchSentinels runs until ctx ends.
func (s *Source) watchSentinels(ctx context.Context) {
	tick := time.NewTicker(cmp.Or(s.cfg.SentinelEvery, sentinelPeriod))
	defer tick.Stop()
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
			s.switchMasters(ctx, servers, s.askSentinels(ctx, servers, groups))
		}
	}
}

// askSentinels returns the master of each group that more than half of the sentinels agree on.
func (s *Source) askSentinels(ctx context.Context, servers []string, groups []int) map[int]string {
	votes := make(map[int]map[string]int)
	answers := make([]map[int]string, len(servers))
	done := make(chan struct{})
	for i, addr := range servers {
		go func() {
			answers[i] = askSentinel(ctx, addr, s.cfg.Product, groups)
			done <- struct{}{}
		}()
	}
	for range servers {
		<-done
	}
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
func askSentinel(ctx context.Context, addr, product string, groups []int) map[int]string {
	ctx, cancel := context.WithTimeout(ctx, sentinelTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	masters := make(map[int]string)
	w, r := resp.NewWriter(conn), resp.NewReader(conn)
	for _, group := range groups {
		if err := w.WriteMultiBulk("SENTINEL", "get-master-addr-by-name", fmt.Sprintf("%s-%d", product, group)); err != nil {
			return masters
		}
		v, _, err := r.ReadValue()
		if err != nil {
			return masters
		}
		if pair := v.Array(); len(pair) == 2 {
			masters[group] = net.JoinHostPort(pair[0].String(), pair[1].String())
		}
	}
	return masters
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
