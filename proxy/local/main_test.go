package local

import (
	"testing"

	"sluice/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
