package cluster

import (
	"testing"
	"time"

	"github.com/talkd/talkd/store"
)

// story is what a node sees of one room.
type story struct {
	*settling
	t     *testing.T
	now   time.Time
	epoch uint64
	home  store.Home
}

func newStory(t *testing.T) *story {
	return &story{settling: newSettling(), t: t, now: leafNow}
}

// assign tells node n1 of a new home of the room.
func (s *story) assign(to store.NodeID, reason store.Reason) {
	s.epoch++
	before := s.home
	s.home = store.Home{Node: to, Epoch: s.epoch, Created: s.now, Reason: reason}
	s.follow("n1", []store.Event{{Index: s.epoch, Kind: store.EventHomeAssigned, Room: leafRoom(1), Node: to, Home: s.home, Previous: before}}, true, s.now)
}

func (s *story) release() {
	s.follow("n1", []store.Event{{Index: s.epoch, Kind: store.EventHomeReleased, Room: leafRoom(1), Node: s.home.Node, Home: s.home}}, true, s.now)
	s.home = store.Home{}
}

// acts fails unless n1 may act or not.
func (s *story) acts(want bool) {
	s.t.Helper()
	if got := s.settled(leafRoom(1), s.home, s.now); got != want {
		s.t.Fatalf("after %s, at epoch %d (%s): settled is %t", s.now.Sub(leafNow), s.home.Epoch, s.home.Reason, got)
	}
}

// asked are the nodes that n1 wants to know something of.
func (s *story) asked() (asks []ask) {
	for len(s.asks) > 0 {
		asks = append(asks, <-s.asks)
	}
	return asks
}

func (s *story) answer(asks ...ask) { s.confirm(asks) }

func (s *story) later(d time.Duration) { s.now = s.now.Add(d) }

// A new home waits for those before that may not have heard, and for no other.
func TestSettling(t *testing.T) {
	for name, tell := range map[string]func(*story){
		"a new room": func(s *story) {
			s.assign("n1", store.ReasonNew)
			s.acts(true)
		},
		"placed anew: the leader has waited": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.assign("n1", store.ReasonAnew)
			s.acts(true)
		},
		"moved, and the home before answers": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.later(time.Hour)
			s.assign("n1", store.ReasonMove)
			s.acts(false)
			s.answer(s.asked()...)
			s.acts(true)
		},
		"moved, and it does not answer": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.assign("n1", store.ReasonDrain)
			s.later(placementAnew)
			s.acts(false)
			s.later(moveMark)
			s.acts(true)
		},
		"moved twice: both before must have stopped": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.assign("n3", store.ReasonMove)
			s.later(time.Second)
			s.assign("n1", store.ReasonMove)
			asks := s.asked()
			if len(asks) != 2 {
				s.t.Fatalf("asked %+v", asks)
			}
			s.answer(asks[0])
			s.acts(false)
			s.answer(asks[1])
			s.acts(true)
		},
		"an answer about an earlier time": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.assign("n1", store.ReasonMove)
			old := s.asked()
			s.assign("n2", store.ReasonMove)
			s.assign("n1", store.ReasonMove)
			s.answer(old...)
			s.acts(false)
		},
		"released elsewhere and placed here at once": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.release()
			s.assign("n1", store.ReasonNew)
			s.acts(false)
			s.answer(s.asked()...)
			s.acts(true)
		},
		"released here": func(s *story) {
			s.assign("n1", store.ReasonNew)
			s.release()
			s.assign("n1", store.ReasonNew)
			s.acts(true)
		},
		"released long ago": func(s *story) {
			s.assign("n2", store.ReasonNew)
			s.release()
			s.later(placementAnew + moveMark)
			s.assign("n1", store.ReasonNew)
			s.acts(true)
		},
		"not looked at yet": func(s *story) {
			s.assign("n1", store.ReasonNew)
			s.home.Epoch++
			s.acts(false)
		},
		"restored: nobody knows what was before": func(s *story) {
			s.home = store.Home{Node: "n1", Epoch: 7, Created: s.now.Add(-time.Second), Reason: store.ReasonNew}
			s.restored(9, s.now)
			s.acts(false)
			s.home.Reason = store.ReasonAnew
			s.acts(true)
			s.home.Reason = store.ReasonMove
			s.acts(false)
			s.later(placementAnew + moveMark)
			s.acts(true)
		},
		"restored: a room that is as old as the hills": func(s *story) {
			s.home = store.Home{Node: "n1", Epoch: 7, Created: s.now.Add(-2 * time.Hour), Reason: store.ReasonNew}
			s.restored(9, s.now)
			s.acts(true)
		},
		"restored: a new room, by the clock of a leader that was behind": func(s *story) {
			s.home = store.Home{Node: "n1", Epoch: 7, Created: s.now.Add(-clockTolerance), Reason: store.ReasonNew}
			s.restored(9, s.now)
			s.acts(false)
			s.later(placementAnew + moveMark)
			s.acts(true)
		},
	} {
		t.Run(name, func(t *testing.T) { tell(newStory(t)) })
	}
}

// What is remembered is of the last moments only, whoever asks or does not.
func TestSettlingForgets(t *testing.T) {
	s := newStory(t)
	for range 1000 {
		s.home = store.Home{}
		s.assign("n2", store.ReasonNew)
		s.assign("n1", store.ReasonMove)
		s.release()
		s.asked()
		s.later(50 * time.Millisecond)
	}
	if len(s.marks) > 60 || len(s.former) > 1 || len(s.waits) > 1 {
		t.Errorf("%d marks, %d former homes, %d waits", len(s.marks), len(s.former), len(s.waits))
	}
}
