package load

import (
	"testing"
	"time"
)

// heardOf is what an ear makes of packets that were sent each 20 ms from 0 on.
func heardOf(t *testing.T, n int, delay func(i int) (late time.Duration, lost bool)) (*Ear, []time.Duration) {
	t.Helper()
	e := new(Ear)
	var sent []time.Duration
	for i := range n {
		at := time.Duration(i) * tick
		sent = append(sent, at)
		if late, lost := delay(i); !lost {
			e.add(stamp{Number: uint32(i), Sent: at}, at+late)
		}
	}
	return e, sent
}

func TestEar(t *testing.T) {
	const all = 100
	from, to := 20*tick, 80*tick
	for name, c := range map[string]struct {
		delay func(i int) (time.Duration, bool)
		want  Heard
	}{
		"everything": {func(int) (time.Duration, bool) { return time.Millisecond, false },
			Heard{Sent: 60, Gap: tick, From: from + time.Millisecond}},
		"three lost in a row": {func(i int) (time.Duration, bool) { return 0, i >= 40 && i < 43 },
			Heard{Sent: 60, Lost: 3, Gap: 4 * tick, From: 39 * tick, Silence: 3 * tick}},
		"lost here and there": {func(i int) (time.Duration, bool) { return 0, i == 30 || i == 50 },
			Heard{Sent: 60, Lost: 2, Gap: 2 * tick, From: 29 * tick, Silence: tick}},
		"late, not lost": {func(i int) (time.Duration, bool) {
			if i >= 40 && i < 45 {
				return (45 - time.Duration(i)) * tick, false
			}
			return 0, false
		}, Heard{Sent: 60, Gap: 6 * tick, From: 39 * tick}},
		"lost outside": {func(i int) (time.Duration, bool) { return 0, i < 10 || i > 90 },
			Heard{Sent: 60, Gap: tick, From: from}},
		"silent from then on": {func(i int) (time.Duration, bool) { return 0, i >= 60 },
			Heard{Sent: 60, Lost: 20, Gap: 21 * tick, From: 59 * tick, Silence: 20 * tick}},
	} {
		t.Run(name, func(t *testing.T) {
			e, sent := heardOf(t, all, c.delay)
			if got := e.Between(from, to, sent); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestEarHearsTwoConnections(t *testing.T) {
	e, sent := heardOf(t, 50, func(i int) (time.Duration, bool) { return 0, i >= 30 })
	for i := 25; i < 50; i++ { // the second one begins before the first has ended
		e.add(stamp{Number: uint32(i), Sent: sent[i]}, sent[i]+5*time.Millisecond)
	}
	h := e.Between(0, 50*tick, sent)
	if h.Lost != 0 || h.Gap > 2*tick {
		t.Errorf("%+v", h)
	}
	if at := e.FirstAfter(40*tick, 41*tick); at != 41*tick+5*time.Millisecond {
		t.Errorf("first after: %s", at)
	}
	if at := e.FirstAfter(time.Hour, 0); at != 0 {
		t.Errorf("first after the end: %s", at)
	}
}
