package replication

import (
	"testing"

	"go.uber.org/goleak"
)

// gnet, which is linked in, has goroutines from the start.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }
