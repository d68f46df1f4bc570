package codis

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/resp"
)

// Codis 3.2 lets every proxy follow failovers by itself: the dashboard tells it the sentinels, which know the
// master of group N as PRODUCT-N. What more than half of them say counts until they say something else, or the
// dashboard fills in the group's slots with another master.

const (
	// sentinelPeriod is the time between two looks at the sentinels.
	sentinelPeriod = time.Second
	// sentinelTime bounds the questions to one sentinel.
	sentinelTime = time.Second
)

// watchSentinels runs until ctx ends.
func (s *Source) watchSentinels(ctx context.Context) {
	tick := time.NewTicker(sentinelPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		servers, groups := slices.Clone(s.sentinels), groupsOf(s.slots)
		s.mu.Unlock()
		if len(servers) == 0 || len(groups) == 0 {
			continue
		}
		s.switchMasters(ctx, s.askSentinels(ctx, servers, groups))
	}
}

// groupsOf lists the numbers of the groups that own slots.
func groupsOf(slots []Slot) []int {
	seen := make(map[int]bool)
	for _, slot := range slots {
		if slot.BackendAddr != "" && slot.BackendAddrGroupID > 0 {
			seen[slot.BackendAddrGroupID] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// askSentinels returns the master of each group that more than half of the sentinels agree on.
func (s *Source) askSentinels(ctx context.Context, servers []string, groups []int) map[string]string {
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
	agreed := make(map[string]string)
	for group, count := range votes {
		for addr, n := range count {
			if n > len(servers)/2 {
				agreed[strconv.Itoa(group)] = addr
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

// switchMasters puts masters into force that differ from what the dashboard has filled in.
func (s *Source) switchMasters(ctx context.Context, masters map[string]string) {
	s.fills.Lock()
	defer s.fills.Unlock()
	s.mu.Lock()
	slots, before := slices.Clone(s.slots), s.masters
	merged := maps.Clone(before)
	if merged == nil {
		merged = make(map[string]string)
	}
	maps.Copy(merged, masters)
	if maps.Equal(before, merged) || len(s.sentinels) == 0 {
		s.mu.Unlock()
		return
	}
	s.masters = merged
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	if err := s.putIntoForce(ctx, slots); err != nil {
		s.cfg.Log.Warn("codis: the masters that the sentinels name are not in force", "masters", merged, "err", err)
		return
	}
	s.cfg.Log.Info("codis: masters by the sentinels", "masters", merged)
}

// switched replaces the masters of groups by those that the sentinels name.
func switched(slots []Slot, masters map[string]string) []Slot {
	if len(masters) == 0 {
		return slots
	}
	slots = slices.Clone(slots)
	for i := range slots {
		slot := &slots[i]
		if addr := masters[strconv.Itoa(slot.BackendAddrGroupID)]; addr != "" && slot.BackendAddr != "" {
			slot.BackendAddr = addr
		}
		if addr := masters[strconv.Itoa(slot.MigrateFromGroupID)]; addr != "" && slot.MigrateFrom != "" {
			slot.MigrateFrom = addr
		}
	}
	return slots
}
