package keymove

// Stats count what it took to find keys in moving slots.
type Stats struct {
	Wrapped        [4]uint64 // answers of SLOTSMGRT-EXEC-WRAPPER: 0, 1, 2, and -1 or anything else
	KeyMoves       uint64    // SLOTSMGRTTAGONE sent
	KeyMovesFailed uint64    // of them not answered with a number
	KeysMoved      uint64    // keys that they moved
	SourceReads    uint64    // reads tried at the source
	Rounds         uint64    // rounds of a background migration asked for
}

// Merge adds o.
func (s *Stats) Merge(o *Stats) {
	for i := range o.Wrapped {
		s.Wrapped[i] += o.Wrapped[i]
	}
	s.KeyMoves += o.KeyMoves
	s.KeyMovesFailed += o.KeyMovesFailed
	s.KeysMoved += o.KeysMoved
	s.SourceReads += o.SourceReads
	s.Rounds += o.Rounds
}
