// Package leaktest fails a package's tests when goroutines outlive them.
package leaktest

import "go.uber.org/goleak"

// Main is TestMain for packages that use gnet: the worker pool that gnet enrolls connections with lives as
// long as the process and is let pass.
func Main(m goleak.TestingM) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}
