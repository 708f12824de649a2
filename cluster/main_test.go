package cluster

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// parallel tests are more than there are processors: most of them wait for a
// cluster's timeouts most of the time.
const parallel = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m,
		// A probe that is under way when memberlist stops waits for its timer, up
		// to eight probe intervals on a machine that it found slow: longer than
		// goleak does. Nothing of ours is held by it.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
	)
}
