package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/control"
	"sluice/router/lag"
)

// A suspect is a replica whose INFO is all right, and that was never seen to get a full copy of the master's data. It
// is compared with the master before it is read: keys that the master picks at random, their types, lengths and, of
// short strings, values. A key that is written meanwhile proves nothing, so a difference counts only if the
// master says the same before and after, and the replica had reached the moment of the first question.
const (
	// sampleKeys is how many keys are compared.
	sampleKeys = 256
	// scanSlots is how many slots they are from, where keys at random can't be had otherwise.
	scanSlots = 64
	// compareTries is how often differences are looked at again before they count.
	compareTries = 5
	// compareTime bounds a comparison.
	compareTime = 10 * time.Second
	// compareAgain is when a replica that differs is compared again: it may have been mended.
	compareAgain = 5 * time.Second
	// comparePatience is how long a replica is left to catch up where nothing tells that it has.
	comparePatience = 300 * time.Millisecond
	// compareKick is the time between two questions to the nodes while a comparison waits for their evidence.
	compareKick = 20 * time.Millisecond
	// compareRetry is when a comparison that could not be made is tried again.
	compareRetry = 500 * time.Millisecond
	// compareMuch is when one is tried again that failed because the names of keys are too long.
	compareMuch = time.Minute
	// compareGap is the least time between two comparisons of one proxy.
	compareGap = 50 * time.Millisecond
	// namedKeys is how many keys that differ are named.
	namedKeys = 3
	// longestValue is how many bytes of a string are compared.
	longestValue = 1024
)

// compareLimits bound what a node may answer about a sample: 256 names of keys, of 256 KB each on average, or the kilobyte of
// each that is compared. Names that are longer make the sample an error.
var compareLimits = control.Limits{Bytes: 64 << 20, Elements: 1 << 16}

// comparer is when each replica of a group was compared last.
type comparer struct{ last map[string]int64 }

// suspect is a comparison that is due.
type suspect struct {
	group           *group
	master, replica string
	life            uint64
}

// compareSuspects compares one suspect after the other.
func (w *Watcher) compareSuspects(ctx context.Context) {
	again := time.NewTicker(compareRetry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-again.C: // A comparison could not be made.
		}
		for s := w.nextSuspect(); s != nil && ctx.Err() == nil; s = w.nextSuspect() {
			w.examine(ctx, s)
			pause := time.NewTimer(compareGap)
			select {
			case <-ctx.Done():
				pause.Stop()
			case <-pause.C:
			}
		}
	}
}

// nextSuspect finds a comparison that is due, the one that has waited longest; nil when none is.
func (w *Watcher) nextSuspect() *suspect {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := clock.Now()
	var next *suspect
	oldest := now
	for _, g := range w.sorted() {
		for _, r := range g.spec.Replicas {
			v, _ := g.Verdict(r.Addr)
			sample, ok := g.Sample(r.Addr)
			wait := compareRetry
			if v.State == lag.Diverged {
				wait = compareAgain
			}
			last := g.comparer.last[r.Addr]
			if !ok || !v.Suspect || last != 0 && now-last < int64(wait) || last >= oldest {
				continue
			}
			oldest = last
			next = &suspect{group: g, master: g.spec.Master.Addr, replica: r.Addr, life: sample.Life}
		}
	}
	if next == nil {
		return nil
	}
	if next.group.comparer.last == nil {
		next.group.comparer.last = make(map[string]int64)
	}
	next.group.comparer.last[next.replica] = now
	next.group.Comparing(next.replica)
	return next
}

// current reports whether what a comparison finds still says something. The caller holds mu.
func (w *Watcher) current(s *suspect) bool {
	spec := s.group.spec
	return w.groups[spec.ID] == s.group && spec.Master.Addr == s.master
}

// examine compares a suspect and tells the group what came of it. When the comparison itself fails nothing is told, and
// it is tried again with the next evidence.
func (w *Watcher) examine(ctx context.Context, s *suspect) {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	mismatch, err := w.compare(ctx, s)
	w.mu.Lock()
	defer w.mu.Unlock()
	tooMuch := new(control.LimitError)
	switch {
	case err == nil:
	case errors.As(err, &tooMuch):
		w.cfg.Log.Warn("replica not compared, so it is not read", "node", s.replica, "err", err)
		s.group.comparer.last[s.replica] = clock.Now() + int64(compareMuch-compareRetry)
		return
	case ctx.Err() == nil:
		w.cfg.Log.Debug("replica not compared", "node", s.replica, "err", err)
		return
	default:
		return
	}
	if !w.current(s) {
		return
	}
	s.group.Compared(s.replica, s.life, mismatch)
	w.judge(s.group, clock.Now())
}

func (w *Watcher) compare(ctx context.Context, s *suspect) (mismatch string, err error) {
	master, replica := w.cfg.Node(s.master), w.cfg.Node(s.replica)
	if master == nil || replica == nil {
		return "", context.Canceled
	}
	m, err := master.OpenControl(ctx, false, compareLimits)
	if err != nil {
		return "", err
	}
	defer m.Close()
	r, err := replica.OpenControl(ctx, true, compareLimits)
	if err != nil {
		return "", err
	}
	defer r.Close()
	sampled, err := w.sample(ctx, m)
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
	if len(keys) == 0 {
		return "", nil
	}
	named := make([]string, 0, namedKeys)
	for _, key := range keys[:min(len(keys), namedKeys)] {
		named = append(named, fmt.Sprintf("%.64q", key))
	}
	return fmt.Sprintf("its data is not the master's: %d of %d sampled keys differ, such as %s",
		len(keys), len(sampled), strings.Join(named, ", ")), nil
}

// sample asks a master for keys of database 0; fewer when there are few.
func (w *Watcher) sample(ctx context.Context, c *backend.Control) ([]string, error) {
	replies, err := c.Do(ctx, slices.Repeat([][]string{{"RANDOMKEY"}}, sampleKeys)...)
	if err != nil {
		return nil, err
	}
	var picked []string
	for _, reply := range replies {
		picked = append(picked, texts(reply)...)
	}
	if replies[0].Kind == control.Error {
		if picked, err = w.scan(ctx, c); err != nil {
			return nil, err
		}
	}
	keys := make(map[string]bool)
	for _, key := range picked {
		// Pika shows keys of its own, which it does not replicate as they are.
		if len(keys) < sampleKeys && !strings.HasPrefix(key, "_internal:") && !strings.HasPrefix(key, "sluice:heartbeat:") {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

// scan asks for keys where there is no RANDOMKEY, which is so on Pika: those of slots at random, if it has an index of its
// slots, and those that come first.
func (w *Watcher) scan(ctx context.Context, c *backend.Control) ([]string, error) {
	var commands [][]string
	for _, slot := range rand.Perm(w.slots())[:min(scanSlots, w.slots())] {
		commands = append(commands, []string{"SLOTSSCAN", strconv.Itoa(slot), "0", "COUNT", strconv.Itoa(sampleKeys / scanSlots)})
	}
	replies, err := c.Do(ctx, append(commands, []string{"SCAN", "0", "COUNT", strconv.Itoa(sampleKeys)})...)
	if err != nil {
		return nil, err
	}
	var keys []string
	for i, reply := range replies {
		found := texts(reply) // The first is the cursor.
		switch {
		case i < len(commands) && len(found) == 0: // No index.
		case i < len(commands):
			for _, member := range found[1:] {
				keys = append(keys, member[min(1, len(member)):]) // Before the key is a letter for its type.
			}
		case len(found) == 0:
			return nil, fmt.Errorf("neither RANDOMKEY nor SCAN: %w", reply.Unexpected())
		default:
			keys = append(keys, found[1:]...)
		}
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys, nil
}

// slots is how many there are.
func (w *Watcher) slots() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table.Model.Slots()
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
	still := 0
	for i, key := range keys {
		if before[i] != after[i] || before[i].isError() {
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
	if still == 0 {
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
