package check

import (
	"fmt"
	"slices"
)

// Consistency is what is promised of reads. Each one is weaker than the one
// before, for keys with one writer. Writes, and what is read when all has ended,
// are judged alike under all of them.
type Consistency uint8

const (
	// Linearizable reads return the last value acknowledged before they were sent, or a
	// later one.
	Linearizable Consistency = iota
	// ReadYourWrites asks for that only where the connection that reads has written
	// the key itself. The writes before the load were those of another one.
	ReadYourWrites
	// Monotonic reads are not older than an earlier read of their connection on that
	// key; nothing after a value is older.
	Monotonic
	// Eventual reads return something that was written, or nothing.
	Eventual
	consistencies
)

var consistencyNames = [consistencies]string{"linear", "read-your-writes", "monotonic", "eventual"}

// String is the name that ParseConsistency reads.
func (c Consistency) String() string {
	if c < consistencies {
		return consistencyNames[c]
	}
	return fmt.Sprintf("consistency(%d)", uint8(c))
}

// ParseConsistency reads linear, read-your-writes, monotonic or eventual.
func ParseConsistency(name string) (Consistency, error) {
	i := slices.Index(consistencyNames[:], name)
	if i < 0 {
		return Linearizable, fmt.Errorf("consistency %q: known are linear, read-your-writes, monotonic, eventual", name)
	}
	return Consistency(i), nil
}
