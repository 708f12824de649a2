package media

import "testing"

// A layer's subscribers may belong to several groups; each group is told what
// went to its own.
func TestOutgoingByGroup(t *testing.T) {
	var total traffic
	here, there := &traffic{total: &total}, &traffic{total: &total}
	var sum outgoing
	for range 3 {
		sum.add(here, 2, 20)
	}
	sum.add(there, 1, 5)
	sum.add(there, 0, 0)
	sum.add(here, 1, 10)
	sum.count()
	for name, got := range map[string][2]uint64{
		"here":  {here.packetsOut.Load() - 7, here.bytesOut.Load() - 70},
		"there": {there.packetsOut.Load() - 1, there.bytesOut.Load() - 5},
		"total": {total.packetsOut.Load() - 8, total.bytesOut.Load() - 75},
	} {
		if got != [2]uint64{} {
			t.Errorf("%s is off by %d", name, got)
		}
	}
}
