package conf

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the .want files of testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
