package proxy

import (
	"fmt"
	"slices"
	"strings"
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

func paramNamed(name string) *configParam {
	i := slices.IndexFunc(configParams, func(p configParam) bool { return strings.EqualFold(p.name, name) })
	if i < 0 {
		return nil
	}
	return &configParams[i]
}

// setOwn changes settings as a reload does, all of those given or none, and says what is wrong. They last until the
// next reload, which reads the file: that is the operator's, and is not written.
func (c *client) setOwn(params []*configParam, pairs [][]byte) (refusal string) {
	s := c.loop.server
	s.configMu.Lock()
	defer s.configMu.Unlock()
	f := c.configuration()
	if refusal = f.setAll(params, pairs); refusal != "" {
		return refusal
	}
	s.SetSettings(f.Settings)
	if slices.ContainsFunc(params, func(p *configParam) bool { return p.ofPool }) {
		c.pool.SetSettings(f.pool)
	}
	if s.level != nil {
		s.level.Set(f.level)
	}
	if s.configSet == nil {
		s.configSet = make(map[string]bool)
	}
	for _, p := range params {
		s.configSet[p.name] = true
	}
	c.loop.slowFrom = f.slowFrom() // For what stands behind it in the same pipeline.
	s.often.Warn("CONFIG SET: in force until the next reload", "pool", c.pool.Name, "client", c.id, "addr", c.addr,
		"user", c.user, "set", setting(pairs))
	return ""
}

// paramsToSet finds the parameters of the pairs.
func paramsToSet(pairs [][]byte) (params []*configParam, refusal string) {
	for i := 0; i < len(pairs); i += 2 {
		name := string(pairs[i])
		p := paramNamed(name)
		switch {
		case p == nil:
			return nil, unknownParameter(name)
		case p.set == nil:
			return nil, setFailed(name, "can't set immutable config")
		case slices.Contains(params, p):
			return nil, setFailed(name, "duplicate parameter")
		}
		params = append(params, p)
	}
	return params, ""
}

// setAll puts the values in, or says which is wrong; then f is of no use any more.
func (f *configuration) setAll(params []*configParam, pairs [][]byte) (refusal string) {
	before := f.Limits
	for i, p := range params {
		if wrong := p.set(f, string(pairs[2*i+1])); wrong != "" {
			return setFailed(string(pairs[2*i]), wrong)
		}
	}
	if f.Limits != before && f.Limits.MaxUnparsed <= f.Limits.MaxBulk {
		return setFailed(string(pairs[0]), "proxy.limits.max_unparsed must be greater than proxy.limits.max_bulk")
	}
	return ""
}

func setFailed(name, wrong string) string {
	return fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, wrong)
}

// setting is what was set, for the log. None of the parameters is a secret.
func setting(pairs [][]byte) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, string(pairs[i])+"="+string(pairs[i+1]))
	}
	return strings.Join(list, " ")
}

func cmdConfigRewrite(c *client, _ [][]byte) stall {
	c.replyError("ERR CONFIG REWRITE is not supported through Sluice: the configuration file of Sluice is the operator's; what CONFIG SET has set lasts until the next reload")
	return stallNone
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
