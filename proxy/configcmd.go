package proxy

import (
	"slices"

	"sluice/proxy/local"
)

// configuration is what is in force for the client.
func (c *client) configuration() *configuration {
	s := c.loop.server
	f := &configuration{Settings: *s.settings.Load(), pool: *c.pool.Settings(), client: c}
	if s.level != nil {
		f.level = s.level.Level()
	}
	return f
}

// setOwn changes settings as a reload does, all of those given or none, and says what is wrong. They last until the
// next reload, which reads the file: that is the operator's, and is not written.
func (c *client) setOwn(params []*param, pairs [][]byte) (refusal string) {
	s := c.loop.server
	s.configMu.Lock()
	defer s.configMu.Unlock()
	f := c.configuration()
	if refusal = f.setAll(params, pairs); refusal != "" {
		return refusal
	}
	s.SetSettings(f.Settings)
	if slices.ContainsFunc(params, func(p *param) bool { return p.OfPool }) {
		c.pool.SetSettings(f.pool)
	}
	if s.level != nil {
		s.level.Set(f.level)
	}
	if s.configSet == nil {
		s.configSet = make(map[string]bool)
	}
	for _, p := range params {
		s.configSet[p.Name] = true
	}
	c.loop.slowFrom = f.slowFrom() // For what stands behind it in the same pipeline.
	s.often.Warn("CONFIG SET: in force until the next reload", "pool", c.pool.Name, "client", c.id, "addr", c.addr,
		"user", c.user, "set", local.Pairs(pairs))
	return ""
}

// setAll puts the values in, or says which is wrong; then f is of no use any more.
func (f *configuration) setAll(params []*param, pairs [][]byte) (refusal string) {
	before := f.Limits
	if refusal = local.SetAll(f, params, pairs); refusal != "" {
		return refusal
	}
	if f.Limits != before && f.Limits.MaxUnparsed <= f.Limits.MaxBulk {
		return local.SetFailed(string(pairs[0]), "proxy.limits.max_unparsed must be greater than proxy.limits.max_bulk")
	}
	return ""
}

// cmdConfigResetStat sets what INFO shows to 0. The counters go on for others: a collector of metrics must see them
// only grow.
func cmdConfigResetStat(c *client, _ [][]byte) stall {
	s := c.loop.server
	sum := new(Stats)
	c.gather(func(l *loop) { sum.merge(l.snapshot()) }, func(dst []byte) []byte {
		s.statBase.Store(sum)
		s.rejectedBase.Store(s.Rejected())
		return append(dst, okReply...)
	})
	return stallNone
}
