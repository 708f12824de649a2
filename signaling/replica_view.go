package signaling

import (
	"encoding/json"
	"slices"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// describe is the room as an answer to its joining.
func (r *replica) describe(st *seat) wire.Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.describeLocked(st)
}

func (r *replica) describeLocked(st *seat) wire.Room {
	return wire.Room{
		RoomID:     r.id.Name,
		Properties: st.properties,
		Bandwidth: &wire.Bandwidth{
			MaxStreamBitrate: uint64(r.hub.cfg.MaxStreamBitrate),
			MaxScreenBitrate: uint64(r.hub.cfg.MaxScreenBitrate),
		},
		Home: r.home.Node,
	}
}

// orderedLocked are the members as they are listed.
func (r *replica) orderedLocked() []*signalpb.Member {
	list := make([]*signalpb.Member, 0, len(r.members))
	for _, m := range r.members {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *signalpb.Member) int {
		switch {
		case a.GetNumber() < b.GetNumber():
			return -1
		case a.GetNumber() > b.GetNumber():
			return 1
		}
		return 0
	})
	return list
}

// usersLocked is the list of all whose state in the call is known.
func (r *replica) usersLocked() []wire.Participant {
	var users []wire.Participant
	for _, m := range r.orderedLocked() {
		var p wire.Participant
		if len(m.GetPublic()) > 0 && json.Unmarshal(m.GetPublic(), &p) == nil && p != nil {
			users = append(users, p)
		}
	}
	return users
}

// tellAll tells a session that was away who is in the call.
func (r *replica) tellAll(s *Session) {
	r.mu.Lock()
	users := r.usersLocked()
	r.mu.Unlock()
	if len(users) > 0 {
		s.say(wire.ParticipantsEvent(r.id.Name, users))
	}
}

func entryOf(m *signalpb.Member) wire.SessionEntry {
	return wire.SessionEntry{
		SessionID:     store.SessionID(m.GetSession()),
		UserID:        m.GetUserId(),
		User:          m.GetUser(),
		RoomSessionID: wire.RoomSessionID(m.GetRoomSession()),
		Features:      m.GetFeatures(),
	}
}
