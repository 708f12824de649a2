package node

import (
	"cmp"
	"slices"

	"github.com/talkd/talkd/api"
)

// historySize is how many events of each of two kinds are remembered: rooms
// that come and go by themselves, of which there are many, and all else, which
// those must not push out.
const historySize = 1000

// history is what happened lately.
type history struct {
	routine, notable ring
}

// numbered is an event and its place among all.
type numbered struct {
	seq uint64
	api.AdminEvent
}

func (h *history) add(e numbered) {
	if isRoutine(e.AdminEvent) {
		h.routine.add(e)
		return
	}
	h.notable.add(e)
}

// all are the events in the order in which they happened.
func (h *history) all() []api.AdminEvent {
	both := slices.Concat(h.routine.events, h.notable.events)
	slices.SortFunc(both, func(a, b numbered) int { return cmp.Compare(a.seq, b.seq) })
	list := make([]api.AdminEvent, len(both))
	for i, e := range both {
		list[i] = e.AdminEvent
	}
	return list
}

// ring forgets the oldest when it is full.
type ring struct {
	events []numbered
	next   int
}

func (r *ring) add(e numbered) {
	if len(r.events) < historySize {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % historySize
}
