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

	Open1k       = "open-1k"
	Open5k       = "open-5k"
	Open15k      = "open-15k"
	Open30k      = "open-30k"
	Open5kC500   = "open-5k-c500"
	Open15kC500  = "open-15k-c500"
	Open5kC5000  = "open-5k-c5000"
	Open15kC5000 = "open-15k-c5000"
	Open15kC9000 = "open-15k-c9000"
)

// Cells returns all cells in the order in which a round goes through them.
func Cells() []Cell {
	open := func(name string, rate, conns int) Cell {
		return Cell{Name: name, Rate: rate, Conns: conns, Depth: 1, ValueBytes: 3, Command: "GET"}
	}
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
		open(Open1k, 1_000, 50),
		open(Open5k, 5_000, 50),
		open(Open15k, 15_000, 50),
		open(Open30k, 30_000, 50),
		open(Open5kC500, 5_000, 500),
		open(Open15kC500, 15_000, 500),
		open(Open5kC5000, 5_000, 5_000),
		open(Open15kC5000, 15_000, 5_000),
		open(Open15kC9000, 15_000, 9_000),
	}
}
