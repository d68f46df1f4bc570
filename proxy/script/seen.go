package script

// Seen are the scripts that a loop has put into a Cache, all of one generation: what the cache has forgotten is
// forgotten here too. Owned by the loop. The zero value is ready.
type Seen struct {
	generation uint64
	ids        map[string]ID // by body
}

// ID is the name of a script that has come with EVAL, and whether c keeps it.
func (s *Seen) ID(c *Cache, body []byte) (id ID, kept bool) {
	s.renew(c)
	if id, ok := s.ids[string(body)]; ok {
		return id, true
	}
	return IDOf(body), false
}

// Keep keeps a script that has come with EVAL.
func (s *Seen) Keep(c *Cache, id ID, body []byte) {
	shared := c.Add(id, string(body), false)
	s.renew(c)
	s.ids[shared] = id // What adding it has pushed out is forgotten here too.
}

func (s *Seen) renew(c *Cache) {
	if generation := c.generation.Load(); s.ids == nil || s.generation != generation {
		s.generation, s.ids = generation, make(map[string]ID)
	}
}
