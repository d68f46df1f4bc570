package report

// Names of the cells that the targets are stated for.
const (
	P1Get    = "c50-p1-get"
	P1Set    = "c50-p1-set"
	P16Get   = "c50-p16-get"
	P16Set   = "c50-p16-set"
	P64Get   = "c50-p64-get"
	P64Set   = "c50-p64-set"
	LargeGet = "c500-p64-1k-get"
	LargeSet = "c500-p64-1k-set"
	LoneGet  = "c1-p1-get"
)

// Cells returns all cells in the order in which a round goes through them.
func Cells() []Cell {
	return []Cell{
		{Name: P1Get, Conns: 50, Depth: 1, ValueBytes: 3, Command: "GET"},
		{Name: P1Set, Conns: 50, Depth: 1, ValueBytes: 3, Command: "SET"},
		{Name: P16Get, Conns: 50, Depth: 16, ValueBytes: 3, Command: "GET"},
		{Name: P16Set, Conns: 50, Depth: 16, ValueBytes: 3, Command: "SET"},
		{Name: P64Get, Conns: 50, Depth: 64, ValueBytes: 3, Command: "GET"},
		{Name: P64Set, Conns: 50, Depth: 64, ValueBytes: 3, Command: "SET"},
		{Name: LargeGet, Conns: 500, Depth: 64, ValueBytes: 1024, Command: "GET"},
		{Name: LargeSet, Conns: 500, Depth: 64, ValueBytes: 1024, Command: "SET"},
		{Name: LoneGet, Conns: 1, Depth: 1, ValueBytes: 3, Command: "GET"},
	}
}
