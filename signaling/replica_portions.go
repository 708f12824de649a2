package signaling

import "time"

// What is said to a room goes out in portions: to write to a socket costs several times
// what all else does, and as much for a few messages as for one. What is said
// after a silence goes at once; what is said soon after something else waits for what
// follows, the longer the more hear it, until the portion is full.
// All else that a client is told goes out at once, and takes with it what waits, so
// that the order stays.
const (
	holdPerListener = 80 * time.Microsecond
	maxHold         = 5 * time.Millisecond
	fullPortion     = 8 // messages: more at once save little, and the first waits for all
)

// portions is when what is said to a room goes out.
type portions struct {
	last  time.Time   // when something was said, or went out
	said  int         // how much waits
	timer *time.Timer // lets that out
}

// spread sends a message to those who listen. The caller holds order.
func (r *replica) spread(to []*Session, frame []byte) {
	p, now := &r.portions, time.Now()
	hold := min(time.Duration(len(to))*holdPerListener, maxHold)
	atOnce := p.said == 0 && now.Sub(p.last) >= hold
	p.last = now
	var due []*conn
	for _, s := range to {
		if c := s.enqueue(frame); c != nil && atOnce && c.wantsWriter() {
			due = append(due, c)
		}
	}
	r.hub.writers.add(due...)
	if atOnce {
		return
	}
	p.said++
	switch p.said {
	case fullPortion:
		p.timer.Stop()
		*p = portions{last: now}
		r.wakeHere()
	case 1:
		p.timer = time.AfterFunc(hold, r.release)
	}
}

func (r *replica) release() { r.letOut(func(now time.Time) { r.portions = portions{last: now} }) }

// letOut lets out what waits for anybody here, and has the time of it noted under
// order.
func (r *replica) letOut(note func(now time.Time)) {
	if !r.hub.begin() {
		return
	}
	defer r.hub.end()
	r.order.Lock()
	defer r.order.Unlock()
	note(time.Now())
	r.wakeHere()
}

// wakeHere has written what waits for anybody here. Who has left the room has been told
// something since, and who is away hears it on coming back. The caller holds order.
func (r *replica) wakeHere() {
	r.mu.Lock()
	here := values(r.local)
	r.mu.Unlock()
	var due []*conn
	for _, s := range here {
		if c := s.unsent(); c != nil && c.wantsWriter() {
			due = append(due, c)
		}
	}
	r.hub.writers.add(due...)
}
