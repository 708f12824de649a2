package signaling

import (
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
		Bandwidth:  r.hub.bandwidth(r.id.Backend),
		Home:       r.home.Node,
	}
}

func entryOf(m *signalpb.Member) wire.SessionEntry {
	e := wire.SessionEntry{
		SessionID:     store.SessionID(m.GetSession()),
		User:          m.GetUser(),
		RoomSessionID: wire.RoomSessionID(m.GetRoomSession()),
		Features:      m.GetFeatures(),
		Federated:     m.GetFederated(),
	}
	if m.GetUserId() != "" || m.GetInternal() {
		e.UserID = &m.UserId // which nobody changes
	}
	return e
}
