package signaling

import (
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// A session goes on at another node while nobody notices: its client is asked
// to, opens a second socket there, brings its media up, and says when they flow.
//
//	moves (who goes, some at once) ─ Session.depart ─ move ─▶ client ─ ticket ─▶ warm.go at the other node
//	                                                                              │ done
//	Session.movedAway ◀── moved ── home ◀── takeover ─────────────────────────────┘
const (
	// mostSlots is how many sessions of a node move at one time if it stops and has
	// no time for less than that.
	mostSlots = 200
	// slotTime is how long a session keeps others waiting. Our own client takes no
	// longer to bring its media up; one that does has most likely not understood.
	slotTime = 8 * time.Second
	// moveTime is how long a client may take; the other node gives it no longer.
	moveTime = 15 * time.Second
	// moveAgain is the pause before a session of a draining node is asked again.
	moveAgain = 5 * time.Second
	// homesFirst is how long people of a draining node wait for their room's home
	// to move, to go there.
	homesFirst = 3 * time.Second
)

// moves are the sessions of this node that are to go to others. A session that is
// asked is gone soon, or stays.
type moves struct {
	atOnce int // move at one time, or more if there is no time for that

	mu       sync.Mutex
	waiting  map[*Session]string    // guarded by mu; and why they go
	asked    map[*Session]time.Time // guarded by mu; and when
	since    time.Time              // guarded by mu; when the drain began; zero: none
	final    bool                   // guarded by mu; the node stops after it
	deadline time.Time              // guarded by mu; when it stops; zero: when all are gone
}

func newMoves(atOnce int) *moves {
	return &moves{atOnce: atOnce, waiting: make(map[*Session]string), asked: make(map[*Session]time.Time)}
}

// stop begins a drain that does not end before the node does, at the deadline if
// there is one.
func (m *moves) stop(deadline time.Time) {
	m.mu.Lock()
	m.final, m.deadline = true, deadline
	m.mu.Unlock()
	m.drain(true)
}

func (m *moves) stops() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.final
}

// drain begins or ends a drain. Who has been asked by then goes all the same.
func (m *moves) drain(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch on = on || m.final; {
	case !on:
		m.since = time.Time{}
		for s, reason := range m.waiting {
			if reason == wire.MoveDrain {
				delete(m.waiting, s)
			}
		}
	case m.since.IsZero():
		m.since = time.Now()
	}
}

// draining tells since when this node is being left, if it is.
func (m *moves) draining() (since time.Time, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.since, !m.since.IsZero()
}

// add notes sessions that are to go, and asks as many as may move at once.
func (m *moves) add(reason string, sessions ...*Session) {
	m.mu.Lock()
	for _, s := range sessions {
		if _, asked := m.asked[s]; !asked {
			m.waiting[s] = reason
		}
	}
	m.mu.Unlock()
	m.next()
}

func (m *moves) next() {
	for batch := m.take(time.Now()); len(batch) > 0; batch = m.take(time.Now()) {
		for s, reason := range batch {
			if !s.depart(reason) {
				m.forget(s)
			}
		}
	}
}

// take gives those that may move now, and why they go.
func (m *moves) take(now time.Time) map[*Session]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	moving := 0
	for _, at := range m.asked {
		if now.Sub(at) < slotTime {
			moving++
		}
	}
	free := m.atOnce - moving
	if !m.deadline.IsZero() {
		free = m.slots(len(m.waiting)+moving, m.deadline.Sub(now)) - moving
	}
	batch := make(map[*Session]string)
	for s, reason := range m.waiting {
		if len(batch) >= free {
			break
		}
		delete(m.waiting, s)
		m.asked[s] = now
		batch[s] = reason
	}
	return batch
}

// slots is how many sessions move at one time if all are to have had their turn in
// the time that is left, even if each takes as long as it may.
func (m *moves) slots(sessions int, left time.Duration) int {
	need := int64(sessions) * int64(slotTime) / int64(max(left, time.Second))
	return max(int(min(need, mostSlots)), m.atOnce)
}

func (m *moves) forget(s *Session) (wasAsked bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, wasAsked = m.asked[s]
	delete(m.asked, s)
	delete(m.waiting, s)
	return wasAsked
}

// ended tells that a session is gone, or does not move; another one may. It is
// false if the session was not about to move.
func (m *moves) ended(s *Session) bool {
	wasAsked := m.forget(s)
	m.next()
	return wasAsked
}

// expire gives up those that have not moved in time, and tells how many.
func (m *moves) expire(now time.Time) (late int) {
	m.mu.Lock()
	for s, at := range m.asked {
		if now.Sub(at) > moveTime {
			delete(m.asked, s)
			late++
		}
	}
	m.mu.Unlock()
	m.next()
	return late
}

// departure is where a session has been asked to go. The zero value is none.
type departure struct {
	to    store.NodeID
	until time.Time
}

// mayDepart tells whether the session has media or a room to take with it, a
// client that knows how and that has not been asked a moment ago.
func (s *Session) mayDepart(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayDepartLocked(now)
}

func (s *Session) mayDepartLocked(now time.Time) bool {
	return !s.ended && s.conn != nil && s.seat != nil && !s.who.stays() && now.After(s.departure.until.Add(moveAgain)) &&
		slices.Contains(s.who.features, wire.ClientMove)
}

// depart asks the client to go on at another node. It is false if that cannot be
// now.
func (s *Session) depart(reason string) bool {
	seat := s.currentSeat()
	if seat == nil {
		return false
	}
	id := seat.replica.id
	n, ok := s.hub.refuge(seat.replica, reason)
	if !ok {
		return false
	}
	socket, ok := socketURL(n.URL)
	if !ok {
		return false
	}
	sealed := s.ticketTo(n.ID, id, true)
	now := time.Now()
	s.mu.Lock()
	if sealed == "" || s.seat != seat || !s.mayDepartLocked(now) {
		s.mu.Unlock()
		return false
	}
	s.departure = departure{to: n.ID, until: now.Add(moveTime)}
	s.mu.Unlock()
	s.hub.metrics.move(moveAsked, 1)
	s.say(wire.ServerMessage{Type: wire.TypeMove, Move: &wire.Move{
		RoomID: id.Name, URL: socket, Ticket: sealed, Reason: reason, DeadlineMS: moveTime.Milliseconds(),
	}})
	return true
}

// stayed tells that the client could not go where it was asked to.
func (s *Session) stayed() {
	s.mu.Lock()
	s.departure = departure{until: time.Now()}
	s.mu.Unlock()
	if s.hub.moves.ended(s) {
		s.hub.metrics.move(moveAborted, 1)
	}
}

// departsTo tells whether the session has been asked to go to that node, and how
// long it may still take.
func (s *Session) departsTo(node store.NodeID) (left time.Duration, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left = time.Until(s.departure.until)
	return left, s.departure.to == node && left > 0
}
