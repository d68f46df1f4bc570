package command

import "math"

// derive fills the fields that follow from the stated ones.
func (c *Command) derive() {
	if len(c.Keys) > maxRuns {
		panic("BUG: too many key specs in " + c.Name)
	}
	_, c.verb = splitName(c.Name)
	c.ACL = implicitACL(c.Flags, c.ACL)
	c.Request, c.Response = policies(c.Tips)
	c.finder = finders[c.Name]
	c.deriveTriple()
	c.deriveFirst()
}

// deriveTriple computes FirstKey, LastKey and Step: the one range that covers
// as many specs as it can, which is those that are plain ranges and adjoin.
// Whatever it leaves out sets MovableKeys. The order of the specs matters and
// so does the unsigned comparison that makes "counted from the end" the
// largest last key; both are how Redis arrives at the numbers it reports.
func (c *Command) deriveTriple() {
	if len(c.Keys) == 0 {
		return
	}
	if len(c.Keys) == 1 && c.Keys[0].plain() {
		spec := &c.Keys[0]
		c.FirstKey, c.LastKey, c.Step = spec.Begin.Pos, spec.lastKey(), spec.Find.Step
		if spec.Flags&KeyIncomplete != 0 {
			c.Flags |= MovableKeys
		}
		return
	}
	first, last := math.MaxInt, 0
	for i := range c.Keys {
		spec := &c.Keys[i]
		if !spec.plain() || spec.Find.Step != 1 || last != 0 && last != spec.Begin.Pos-1 {
			c.Flags |= MovableKeys
			continue
		}
		if spec.Flags&KeyIncomplete != 0 {
			c.Flags |= MovableKeys
		}
		first = min(first, spec.Begin.Pos)
		last = int(max(uint(last), uint(spec.lastKey())))
	}
	if last == 0 {
		c.Flags |= MovableKeys
		return
	}
	c.FirstKey, c.LastKey, c.Step = first, last, 1
}

// deriveFirst computes what routing may take as fixed.
func (c *Command) deriveFirst() {
	var real []*KeySpec
	for i := range c.Keys {
		if c.Keys[i].Flags&KeyNotKey == 0 {
			real = append(real, &c.Keys[i])
		}
		c.variable = c.variable || c.Keys[i].Flags&KeyVariableFlags != 0
	}
	if len(real) == 0 {
		return
	}
	c.hasKeys = true
	for _, spec := range real {
		if spec.Flags&KeyIncomplete != 0 {
			return // MIGRATE: the key of the first spec may be a placeholder
		}
	}
	if !real[0].plain() {
		return
	}
	c.firstAt = real[0].Begin.Pos
	if len(real) == 1 && real[0].Find.Last == 0 {
		c.KeyAt = c.firstAt
	}
}

// plain reports whether the spec is a range from a fixed index.
func (s *KeySpec) plain() bool {
	return s.Begin.Kind == BeginIndex && s.Find.Kind == FindRange
}

// lastKey returns the last key of a plain spec, negative when it counts from
// the end.
func (s *KeySpec) lastKey() int {
	if s.Find.Last < 0 {
		return s.Find.Last
	}
	return s.Begin.Pos + s.Find.Last
}
