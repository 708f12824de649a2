package signaling

import (
	"cmp"
	"slices"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// has tells whether a session is in the room.
func (r *replica) has(id store.SessionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[id] != nil
}

// sessionsOf are the sessions of a user in the room.
func (r *replica) sessionsOf(userID string) []store.SessionID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []store.SessionID
	for id, m := range r.members {
		if userID != "" && m.GetUserId() == userID {
			ids = append(ids, id)
		}
	}
	return ids
}

// What is kept until the home has confirmed it. Beyond that the oldest is taken
// for heard.
const (
	maxUnheard      = 256
	maxUnheardBytes = 256 << 10 // all of it is in one frame when the home is lost
)

// say passes on what one of our sessions says, by way of the home; without one
// straight to the edges that can be reached. Those that cannot be reached now
// hear it from the next home.
func (r *replica) say(say *signalpb.Say) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	r.number++
	say.Number = r.number
	r.unheard = append(r.unheard, say)
	r.unheard = newest(r.unheard, maxUnheard, maxUnheardBytes, func(s *signalpb.Say) int { return len(s.GetData()) + len(s.GetTransient().GetValue()) })
	var after effects
	if !r.attached || !r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Say{Say: say}}) {
		after = r.sayUnheardLocked()
	}
	r.mu.Unlock()
	after.run()
}

// sayUnheardLocked sends straight to the edges what the home has not confirmed, and
// what has not been sent so before: what was said last must not come before that.
// What comes twice is heard once.
func (r *replica) sayUnheardLocked() (after effects) {
	for _, say := range r.unheard {
		if say.GetNumber() > r.direct {
			if say.GetTo() != toTransient { // nobody but a home puts those in order
				after = append(after, r.sayToEdgesLocked(say)...)
			}
			r.direct = say.GetNumber()
		}
	}
	return after
}

// newest drops the oldest of a list until no more are left than may be, in number
// and in bytes. The last one stays in any case.
func newest[T any](list []T, most, mostBytes int, size func(T) int) []T {
	n := len(list)
	for bytes := 0; n > 0 && len(list)-n < most; n-- {
		if bytes += size(list[n-1]); bytes > mostBytes && n < len(list) {
			break
		}
	}
	return slices.Delete(list, 0, n)
}

// sayToEdgesLocked sends to the edges what the home may never have got. What is
// for this edge is left to do.
func (r *replica) sayToEdgesLocked(say *signalpb.Say) effects {
	edges := r.edgesLocked()
	if to := say.GetToSession(); to != "" {
		edges = map[store.NodeID]bool{store.NodeID(r.members[store.SessionID(to)].GetEdge()): true}
	}
	r.hub.metrics.detachedSays.Inc()
	f := &signalpb.Frame{Room: roomOf(r.id), Body: &signalpb.Frame_Said{Said: say}}
	for id := range edges {
		if id != r.hub.deps.Self {
			r.hub.toEdge(id, f)
		}
	}
	if edges[r.hub.deps.Self] {
		return r.heardLocked(say)
	}
	return nil
}

// confirmedLocked forgets what the home has heard.
func (r *replica) confirmedLocked(number uint64) {
	r.unheard = slices.DeleteFunc(r.unheard, func(s *signalpb.Say) bool { return s.GetNumber() <= number })
}

// seen remembers what was heard last, as it may come by two ways.
type seen struct {
	known map[saying]struct{}
	order []saying
	most  int // how many; 0: maxSeen
}

type saying struct {
	edge   string
	number uint64
}

const maxSeen = 1024

// first tells whether it is heard for the first time.
func (s *seen) first(v saying) bool {
	if _, known := s.known[v]; known {
		return false
	}
	if s.known == nil {
		s.known = make(map[saying]struct{})
	}
	if most := cmp.Or(s.most, maxSeen); len(s.order) >= most {
		for _, old := range s.order[:most/2] {
			delete(s.known, old)
		}
		s.order = slices.Delete(s.order, 0, most/2)
	}
	s.known[v] = struct{}{}
	s.order = append(s.order, v)
	return true
}
