package testbed

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// playParentEnv makes the test binary a parent that starts a server in the named directory, prints its
// address and waits to be killed.
const playParentEnv = "TESTBED_PLAY_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(playParentEnv); dir != "" {
		playParent(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func playParent(dir string) {
	s, err := StartRedis(context.Background(), Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Addr())
	select {}
}
