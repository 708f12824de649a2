package signaling

import (
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// When a meeting begins many come within seconds, and to tell each of the others at
// once would be most of what coming costs. So who comes soon after somebody else is
// told of with those who follow, unless there is something else to tell: that takes it
// along, so that the order stays.
const comingsHold = 50 * time.Millisecond

// comings is when the others are told of who came.
type comings struct {
	last    time.Time // when they were told
	waiting bool      // they are told later
}

// tellComingLocked tells our sessions in the room, but for its own, of a newcomer.
func (r *replica) tellComingLocked(entry wire.SessionEntry) effects {
	others := r.cameLocked(entry.SessionID, entry)
	if len(others) == 0 {
		return nil
	}
	return effects{func() { r.tellComing(others) }}
}

// tellComing is called by who holds order.
func (r *replica) tellComing(others []hearing) {
	now := time.Now()
	wait := r.comings.last.Add(comingsHold).Sub(now)
	for _, other := range others {
		if c := other.session.enqueue(other.frame()); c != nil && wait <= 0 {
			c.wakeUp()
		}
	}
	switch {
	case wait <= 0:
		r.comings.last = now
	case !r.comings.waiting:
		r.comings.waiting = true
		time.AfterFunc(wait, r.tellComings)
	}
}

func (r *replica) tellComings() { r.letOut(func(now time.Time) { r.comings = comings{last: now} }) }
