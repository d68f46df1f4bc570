package testbed

import "os"

// Soak reports whether tests that have a long form should run it: `make soak` asks for it, `make test` does not.
func Soak() bool { return os.Getenv("TESTBED_SOAK") != "" }
