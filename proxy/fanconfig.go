package proxy

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/local"
	"sluice/proxy/merge"
	"sluice/proxy/resp"
)

// CONFIG GET and CONFIG SET of a pool. What is in configParams is Sluice's and answered here. Everything else is the
// servers': all masters are asked, and one reply is made of theirs. A name that both know is Sluice's.

// fanConfig is what a CONFIG that goes to the servers has to remember. Its slices are copies.
type fanConfig struct {
	own    map[string]string // GET: values of Sluice's own parameters
	params []*param          // SET: Sluice's own parameters among those to set
	pairs  [][]byte          // SET: names and values of those
	theirs [][]byte          // SET: names and values of the servers' parameters
}

// dispatchConfigGet answers what is Sluice's, and asks the masters where it may be theirs.
func (c *client) dispatchConfigGet(q request, shares []share) stall {
	own := configParams.Matching(c.configuration(), q.args[2:])
	var asked [][]byte
	if c.pool.Settings().ServerConfig != ServerConfigOff {
		for _, name := range q.args[2:] {
			if !configParams.Owns(name) {
				asked = append(asked, name)
			}
		}
	}
	if len(asked) == 0 {
		c.answer(func(dst []byte) []byte { return local.AppendParameters(dst, own, c.resp3()) })
		c.loop.stats.Commands[q.cmd.ID].Calls++
		return stallNone
	}
	return c.fanOut(q, &fan{kind: fanConfigGet, config: &fanConfig{own: own}, raw: configRequest(q.args, asked)}, shares)
}

// configRequest makes a CONFIG with the first two arguments of args and others behind them.
func configRequest(args, behind [][]byte) []byte {
	raw := resp.AppendArray(nil, 2+len(behind))
	for _, arg := range slices.Concat(args[:2], behind) {
		raw = resp.AppendBulk(raw, arg)
	}
	return raw
}

// mergeConfigGet makes one reply of what the masters show, with what is Sluice's. A name that both have is Sluice's.
func (s *split) mergeConfigGet() []byte {
	addrs := make([]string, len(s.parts))
	for i := range s.parts {
		addrs[i] = s.parts[i].node.Addr
	}
	found, bad := merge.Parameters(s.replies, addrs, func(name string) bool {
		return !configParams.Owns([]byte(name)) && !local.IsSecret(strings.ToLower(name))
	})
	if bad >= 0 {
		return appendErrorLine(nil, fmt.Sprintf(
			"ERR backend %s answered CONFIG GET with something else than names and values", addrs[bad]))
	}
	maps.Copy(found, s.fan.config.own)
	return local.AppendParameters(nil, found, s.client.resp3())
}

// dispatchConfigSet sets what is Sluice's, or sends what is the servers' to all masters. Both in one request:
// Sluice's are looked at first, and set when all masters have taken theirs.
func (c *client) dispatchConfigSet(q request, shares []share) stall {
	f, refusal := c.toConfigure(q.args)
	if refusal == "" && len(f.theirs) > 0 {
		raw := configRequest(q.args, f.theirs)
		f.pairs, f.theirs = copies(f.pairs), copies(f.theirs)
		return c.fanOut(q, &fan{kind: fanConfigSet, config: f, raw: raw}, shares)
	}
	c.loop.stats.Commands[q.cmd.ID].Calls++
	if refusal == "" {
		refusal = c.setOwn(f.params, f.pairs)
	}
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	c.replyOK()
	return stallNone
}

// toConfigure divides what a CONFIG SET is about, or says what is wrong with it as far as Sluice can tell.
func (c *client) toConfigure(args [][]byte) (f *fanConfig, refusal string) {
	if len(args)%2 != 0 {
		return nil, local.ErrSyntax
	}
	f = new(fanConfig)
	for i := 2; i < len(args); i += 2 {
		if configParams.Named(string(args[i])) != nil {
			f.pairs = append(f.pairs, args[i], args[i+1])
			continue
		}
		if refusal := c.pool.Settings().mayNotSet(string(args[i]), args[i+1]); refusal != "" {
			return nil, refusal
		}
		f.theirs = append(f.theirs, args[i], args[i+1])
	}
	if f.params, refusal = configParams.ToSet(f.pairs); refusal == "" && len(f.theirs) > 0 { // Else setOwn looks at them.
		refusal = c.configuration().setAll(f.params, f.pairs)
	}
	return f, refusal
}

func copies(list [][]byte) [][]byte {
	out := make([][]byte, len(list))
	for i := range list {
		out[i] = bytes.Clone(list[i])
	}
	return out
}

// mergeConfigSet is called when all masters have answered.
func (s *split) mergeConfigSet() []byte {
	c, f := s.client, s.fan.config
	if failure := s.configFailure(); failure != nil {
		c.pool.parameters.Doubt()
		return failure
	}
	c.pool.parameters.Set(f.theirs)
	c.loop.server.often.Warn("CONFIG SET: all masters have it, and those that come will get it",
		"pool", c.pool.Name, "client", c.id, "addr", c.addr, "user", c.user, "set", local.Pairs(f.theirs))
	if len(f.params) > 0 {
		if refusal := c.setOwn(f.params, f.pairs); refusal != "" { // A reload came in between.
			return appendErrorLine(nil, fmt.Sprintf("%s; the servers have taken %s", refusal, local.Pairs(f.theirs)))
		}
	}
	return okReply
}

// configFailure is the error when a master has not taken what was to be set: in its own words when none has, else
// with the masters that have and those that have not.
func (s *split) configFailure() []byte {
	var took, failed []string
	for i := range s.parts {
		addr := s.parts[i].node.Addr
		if s.replies[i][0] != '-' {
			took = append(took, addr)
			continue
		}
		failed = append(failed, fmt.Sprintf("%s: %s", addr, resp.TrimLine(s.replies[i][1:])))
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(took) == 0:
		return s.failure()
	}
	return appendErrorLine(nil, fmt.Sprintf("ERR CONFIG SET was done at %s and failed at %s",
		strings.Join(took, ", "), strings.Join(failed, "; ")))
}
