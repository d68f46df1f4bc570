package migration

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/router"
)

// Leaving is slots on their way from one node to another: the source has not handed them over, or may not have.
type Leaving struct {
	Source, Target string         // host:port, or a node id where the address is not known
	Ranges         []router.Range // nil: not known, it may be any of the source's
}

// leaving lists what leaves which node. The source counts; while it is silent, what both have said so far.
func (l *ledger) leaving() []Leaving {
	var list []Leaving
	for _, e := range l.open {
		leaves := e.State.active()
		if e.source.answered {
			leaves = e.source.spoke && e.SourceSide.state.active()
		}
		if leaves {
			list = append(list, Leaving{e.Source, e.Target, parseRanges(e.Slots)})
		}
	}
	return list
}

// tellLeaving says which slots leave which node.
func (w *Watcher) tellLeaving(answers []answer, began time.Time) {
	if w.cfg.Leaving == nil {
		return
	}
	answered := func(addr string) bool {
		return slices.ContainsFunc(answers, func(a answer) bool { return a.addr == addr && a.err == nil })
	}
	w.cfg.Leaving(w.ledger.leaving(), answered, began)
}

// parseRanges reads "0-511,600"; nil when that is not what it is.
func parseRanges(text string) (ranges []router.Range) {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil {
			return nil
		}
		ranges = append(ranges, router.Range{From: router.Slot(a), To: router.Slot(b)})
	}
	return ranges
}
