package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
)

// compare says in words how a suspect's data differs from its master's, "" when it does not.
func (w *Watcher) compare(ctx context.Context, s *suspect) (mismatch string, err error) {
	master, replica := w.cfg.Node(s.master), w.cfg.Node(s.replica)
	if master == nil || replica == nil {
		return "", context.Canceled
	}
	m, err := reach(ctx, master, false, s.masterProcess)
	if err != nil {
		return "", err
	}
	defer m.Close()
	r, err := reach(ctx, replica, true, s.replicaProcess)
	if err != nil {
		return "", err
	}
	defer r.Close()
	sampled, err := w.sampleBoth(ctx, m, r)
	if err != nil {
		return "", err
	}
	keys := sampled
	for try := 0; len(keys) > 0; try++ {
		differs, err := w.differences(ctx, s, m, r, keys)
		if err != nil {
			return "", err
		}
		if keys = differs; try == compareTries {
			break
		}
	}
	if keys, err = lasting(ctx, m, r, keys); err != nil || len(keys) == 0 {
		return "", err
	}
	named := make([]string, 0, namedKeys)
	for _, key := range keys[:min(len(keys), namedKeys)] {
		named = append(named, fmt.Sprintf("%.64q", key))
	}
	return fmt.Sprintf("its data is not the master's: %d of %d sampled keys differ, such as %s",
		len(keys), len(sampled), strings.Join(named, ", ")), nil
}

// differences returns those keys that the replica has otherwise than the master, though it should have reached it.
func (w *Watcher) differences(ctx context.Context, s *suspect, m, r *backend.Control, keys []string) ([]string, error) {
	asked := clock.Now()
	before, err := describeKeys(ctx, m, keys)
	if err != nil {
		return nil, err
	}
	if err := w.awaitWatermark(ctx, s, asked); err != nil {
		return nil, err
	}
	there, err := describeKeys(ctx, r, keys)
	if err != nil {
		return nil, err
	}
	after, err := describeKeys(ctx, m, keys)
	if err != nil {
		return nil, err
	}
	var differs []string
	still, foreign := 0, 0
	for i, key := range keys {
		switch {
		case before[i].isMoved() && after[i].isMoved():
			foreign++ // What a replica has of it nobody reads.
			continue
		case before[i] != after[i] || before[i].isError():
			continue // It changes, or has left.
		}
		if there[i].isError() {
			return nil, fmt.Errorf("%s answered %.100q about a key", s.replica, string(there[i]))
		}
		still++
		if there[i] != before[i] {
			differs = append(differs, key)
		}
	}
	if still == 0 && foreign < len(keys) {
		return nil, errors.New("no sampled key stood still")
	}
	return differs, nil
}

// awaitWatermark waits until the replica is proven to have what the master had at an instant, or, where nothing is
// proven, for as long as replication usually takes. It gives up when there is more against the replica than that it has
// not been compared, so that others need not wait.
func (w *Watcher) awaitWatermark(ctx context.Context, s *suspect, instant int64) error {
	patience := clock.Now() + int64(comparePatience)
	proves := w.lagRulesNow()
	for kicked := int64(0); ; {
		if now := clock.Now(); proves && now-kicked >= int64(compareKick) {
			kicked = now
			if n := w.cfg.Node(s.master); n != nil {
				n.Kick() // And its replicas after it, see Observe.
			}
		}
		w.mu.Lock()
		v, _ := s.group.Verdict(s.replica)
		sample, ok := s.group.Sample(s.replica)
		current := w.current(s)
		w.mu.Unlock()
		switch {
		case !current:
			return fmt.Errorf("%s is not a replica of %s any more", s.replica, s.master)
		case !ok || sample.Life != s.life:
			return fmt.Errorf("%s was restarted meanwhile", s.replica)
		case !v.Suspect:
			return fmt.Errorf("%s %s", s.replica, v.Reason)
		case v.CaughtUpTo >= instant, !proves && clock.Now() >= patience:
			return nil
		}
		pause := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// lagRulesNow reports whether there is a watermark to wait for.
func (w *Watcher) lagRulesNow() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.lagRules()
	return r.OffsetsProve || r.Heartbeats
}

// lasting leaves out keys that are about to expire: the clocks of two servers differ, and with them what they have.
func lasting(ctx context.Context, m, r *backend.Control, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	commands := make([][]string, len(keys))
	for i, key := range keys {
		commands[i] = []string{"PTTL", key}
	}
	soon := make([]bool, len(keys))
	for _, c := range []*backend.Control{m, r} {
		replies, err := c.Do(ctx, commands...)
		if err != nil {
			return nil, err
		}
		for i, reply := range replies {
			ms, err := strconv.ParseInt(reply.Text, 10, 64)
			soon[i] = soon[i] || err == nil && ms > 0 && ms < expirySoon.Milliseconds() // Pika says 0 of a key that is not there.
		}
	}
	var left []string
	for i, key := range keys {
		if !soon[i] {
			left = append(left, key)
		}
	}
	return left, nil
}
