package proxy

import (
	"context"
	"strings"
	"sync"
	"time"

	"sluice/backend"
	"sluice/internal/control"
	"sluice/internal/paced"
	"sluice/proxy/merge"
)

// What the masters of a pool tell of themselves, for INFO. They are asked when a client wants to know, in rounds
// that all who ask meanwhile share; a master that does not answer at once is left out. Nothing of it runs on a
// loop.
//
// An answer comes from a round that has begun after the question. An older one would not show what its client has done
// before it: who sets appendonly and waits for aof_rewrite_in_progress to become 0 would not wait.

// serverInfos keeps what was told last.
type serverInfos struct {
	mu     sync.Mutex     // guards the fields below it; held while the masters are asked
	at     time.Time      // when that round began
	merged merge.Sections // of the masters that have answered
}

const (
	infoPause = 20 * time.Millisecond // from the begin of one round to that of the next: whoever asks all the time is slowed down
	infoWait  = time.Second           // for a master
)

// infoLimits are for INFO with latencies of every command, and one line for each of sixteen thousand databases.
var infoLimits = control.Limits{Bytes: 4 << 20, Elements: 1 << 10}

// serverInfo returns what the masters answer to INFO, put together. It may block, and belongs on no loop. The result
// must not be changed.
func (p *Pool) serverInfo(ctx context.Context) merge.Sections {
	s := &p.infos
	asked := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.After(asked) {
		return s.merged
	}
	if !s.at.IsZero() {
		time.Sleep(infoPause - time.Since(s.at))
	}
	s.at = time.Now()
	s.merged = merge.Info(p.askInfo(ctx))
	return s.merged
}

// askInfo asks all masters that answer probes, and returns the texts in the order of the groups.
func (p *Pool) askInfo(ctx context.Context) (texts []string) {
	v := p.view.Load()
	if v == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, infoWait)
	defer cancel()
	found := make([]string, len(v.table.Groups))
	paced.Each(len(found), func(i int) {
		if n := v.nodes[v.table.Groups[i].Master.Index]; n.Answers() {
			found[i] = infoOf(ctx, n)
		}
	})
	for _, text := range found {
		if text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// infoOf asks one server, "" when it does not tell.
func infoOf(ctx context.Context, n *backend.Node) string {
	c, err := n.OpenControl(ctx, false, infoLimits)
	if err != nil {
		return ""
	}
	defer c.Close()
	replies, err := c.Do(ctx, []string{"INFO"}, []string{"INFO", "everything"})
	if err != nil {
		return ""
	}
	// Servers that know "everything" say more then; others answer nothing to it.
	if replies[1].Err() == nil && len(replies[1].Text) > len(replies[0].Text) && strings.HasPrefix(replies[1].Text, "#") {
		return replies[1].Text
	}
	if replies[0].Err() != nil {
		return ""
	}
	return replies[0].Text
}
