// Package bench finds out how much of a kind of meeting a running node or
// cluster carries: it brings more and more people, who really send, receive and
// check everything, until too much is lost or late.
//
//	Run ─ step by step ─ crowd: hosts, rooms, people (load.Client) ──> nodes
//	  │                    └ a window: what was sent, what of it came, when
//	  ├─ Probe ── CPU, memory, disk of each node
//	  └─ plan ── what it should be by the formula
//
// All people are in this process, so that delays are measured with one clock.
package bench

import "github.com/talkd/talkd/load/plan"

// Scenario is a kind of meeting, of which there may be more or less.
type Scenario struct {
	Name string
	// What grows: participants, or meetings.
	Unit string
	// From is the least that makes sense, and Target what is asked for.
	From, Target int
	// Loudest is how many voices of a meeting the nodes forward, 0: all. So many people
	// speak, all others only have their microphones open.
	Loudest int
	// Of is what it is at a size, with all voices.
	Of func(size int) plan.Meetings
}

// Webinar is one who shows, and others who watch, with open microphones or
// without.
func Webinar(participants int, screen, microphones bool) Scenario {
	return Scenario{Name: "webinar", Unit: "participants", From: min(10, participants), Target: participants, Of: func(size int) plan.Meetings {
		m := plan.Meetings{Count: 1, Participants: size, Cameras: 1}
		if screen {
			m.Screens = 1
		}
		if microphones {
			m.Microphones = size - 1
		}
		return m
	}}
}

// Team is one meeting in which all have their cameras on.
func Team(participants int) Scenario {
	return Scenario{Name: "team", Unit: "participants", From: min(4, participants), Target: participants, Of: func(size int) plan.Meetings {
		return plan.Meetings{Count: 1, Participants: size, Cameras: size}
	}}
}

// Many are meetings at the same time, all with cameras.
func Many(meetings, participants int) Scenario {
	return Scenario{Name: "meetings", Unit: "meetings", From: min(2, meetings), Target: meetings, Of: func(size int) plan.Meetings {
		return plan.Meetings{Count: size, Participants: participants, Cameras: participants}
	}}
}

// At is what it is at a size.
func (s Scenario) At(size int) plan.Meetings {
	m := s.Of(size)
	m.Loudest = s.Loudest
	return m
}

// sizes are those of the steps: each half as large again as the one before, the
// last is the target.
func (s Scenario) sizes() []int {
	var all []int
	for n := s.From; n < s.Target; n = max(n+1, n+n/2) {
		all = append(all, n)
	}
	return append(all, s.Target)
}

// within is the largest size at which the servers send no more packets than
// that, 0 if none.
func (s Scenario) within(packets float64, r plan.Rates) int {
	const most = 1 << 20
	fits := func(n int) bool { return s.At(n).Traffic(r).PacketsOut <= packets }
	low, high := 0, 1
	for high < most && fits(high) {
		low, high = high, 2*high
	}
	for high-low > 1 {
		if mid := (low + high) / 2; fits(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}
