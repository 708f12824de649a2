package media

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Whenever connections begin, what they do now and then they do at the same
// moments, as often as is wished; who was late misses rounds, and none comes twice.
func TestRoundsAreOnTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		moments := func(begin, every time.Duration, late ...time.Duration) (all []time.Duration) {
			time.Sleep(time.Until(began.Add(begin)))
			r := newRounds(every)
			defer r.Stop()
			for i := range 4 {
				now := <-r.C
				all = append(all, now.Sub(began))
				if i < len(late) {
					time.Sleep(late[i])
				}
				r.next(time.Now())
			}
			return all
		}
		const ms = time.Millisecond
		for _, c := range []struct {
			got, want []time.Duration
		}{
			{moments(0, 100*ms), []time.Duration{100 * ms, 200 * ms, 300 * ms, 400 * ms}},
			{moments(1001*ms, 100*ms), []time.Duration{1150 * ms, 1250 * ms, 1350 * ms, 1450 * ms}},
			{moments(2049*ms, time.Second), []time.Duration{3050 * ms, 4050 * ms, 5050 * ms, 6050 * ms}},
			{moments(7000*ms, 100*ms, 30*ms, 130*ms), []time.Duration{7100 * ms, 7200 * ms, 7350 * ms, 7450 * ms}},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("%v, want %v", c.got, c.want)
			}
		}
	})
}
