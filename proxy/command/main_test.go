package command

import (
	"testing"

	"go.uber.org/goleak"
)

// redis is a pool without declared commands.
var redis Catalogue

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
