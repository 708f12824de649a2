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
	goleak.VerifyTestMain(m)
}
