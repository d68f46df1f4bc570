package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/command"
	"sluice/proxy/resp"
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

// cmdConfigGet shows the parameters whose name is asked for or matches a pattern, each once.
func cmdConfigGet(c *client, args [][]byte) bool {
	f := c.configuration()
	found := make(map[string]string) // by the name to answer: that of an exact question is as it was asked
	shown := make(map[string]bool)   // by the name of the parameter
	for _, arg := range args[2:] {
		if p := paramNamed(string(arg)); p != nil {
			if !shown[p.name] {
				found[string(arg)] = p.get(f)
			}
			shown[p.name] = true
			continue
		}
		for i := range configParams {
			if p := &configParams[i]; !shown[p.name] && command.MatchName(arg, p.name) {
				found[p.name] = p.get(f)
				shown[p.name] = true
			}
		}
	}
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendMap(dst, len(found), c.resp3())
		for _, name := range slices.Sorted(maps.Keys(found)) {
			dst = resp.AppendBulk(resp.AppendBulk(dst, name), found[name])
		}
		return dst
	})
	return true
}

func paramNamed(name string) *configParam {
	i := slices.IndexFunc(configParams, func(p configParam) bool { return strings.EqualFold(p.name, name) })
	if i < 0 {
		return nil
	}
	return &configParams[i]
}

// cmdConfigSet changes settings as a reload does, all of those given or none. They last until the next reload, which reads
// the file: that is the operator's, and is not written.
func cmdConfigSet(c *client, args [][]byte) bool {
	if len(args)%2 != 0 {
		c.replyError(errSyntax)
		return true
	}
	s := c.loop.server
	s.configMu.Lock()
	defer s.configMu.Unlock()
	f := c.configuration()
	params, refusal := paramsToSet(args[2:])
	if refusal == "" {
		refusal = f.setAll(params, args[2:])
	}
	if refusal != "" {
		c.replyError(refusal)
		return true
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
	s.log.Warn("CONFIG SET: in force until the next reload", "pool", c.pool.Name, "client", c.id, "addr", c.addr, "user", c.user,
		"set", setting(args[2:]))
	c.replyOK()
	return true
}

// paramsToSet finds the parameters of the pairs.
func paramsToSet(pairs [][]byte) (params []*configParam, refusal string) {
	for i := 0; i < len(pairs); i += 2 {
		name := string(pairs[i])
		p := paramNamed(name)
		switch {
		case p == nil:
			return nil, fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", name)
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

func cmdConfigRewrite(c *client, _ [][]byte) bool {
	c.replyError("ERR CONFIG REWRITE is not supported through Sluice: the configuration file of Sluice is the operator's; what CONFIG SET has set lasts until the next reload")
	return true
}

// cmdConfigResetStat sets what INFO shows to 0. The counters go on for others: a collector of metrics must see them only
// grow.
func cmdConfigResetStat(c *client, _ [][]byte) bool {
	s := c.loop.server
	sum := new(Stats)
	c.gather(func(l *loop) { sum.merge(l.snapshot()) }, func(dst []byte) []byte {
		s.statBase.Store(sum)
		s.rejectedBase.Store(s.Rejected())
		return append(dst, okReply...)
	})
	return true
}
