package media

import "time"

// beat is the raster on which connections do what is to be done now and then.
// What is due at about the same time so is due at the same moment, and wakes the
// processor once: that costs more than most of what it is woken for. Connections
// begin at any time and spread over the beats, so that none of these is long.
const beat = 50 * time.Millisecond

// rounds are moments on the beat, every so often:
//
//	r := newRounds(every)
//	for now := range r.C {
//		r.next(now)
//		…
//	}
type rounds struct {
	*time.Timer
	every time.Duration
	due   time.Time
}

func newRounds(every time.Duration) *rounds {
	now := time.Now()
	r := &rounds{every: every, due: onBeat(now.Add(every))}
	r.Timer = time.NewTimer(r.due.Sub(now))
	return r
}

// onBeat is the first beat that is not before t. It keeps the monotonic clock.
func onBeat(t time.Time) time.Time {
	if after := t.Sub(t.Truncate(beat)); after > 0 {
		return t.Add(beat - after)
	}
	return t
}

// next sets the one after this round. Who was late leaves out those that it has
// missed.
func (r *rounds) next(now time.Time) {
	if r.due = r.due.Add(r.every); r.due.Before(now) {
		r.due = onBeat(now)
	}
	r.Reset(time.Until(r.due))
}
