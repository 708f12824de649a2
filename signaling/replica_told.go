package signaling

import (
	"slices"

	"github.com/talkd/talkd/signaling/wire"
)

// propertiesLocked tells those in the room what the backend says of it.
func (r *replica) propertiesLocked(properties []byte) effects {
	return r.desksLocked("", func(s *Session) { s.furnish(r, properties) })
}

// messageLocked hands on what the backend says to the room. New comments of the
// chat go to those clients that can take them, and may know whom they are from; the
// others hear that they have something to fetch.
func (r *replica) messageLocked(data []byte) effects {
	chat, carries := wire.ChatOf(data)
	if !carries {
		return r.tellLocked(wire.RoomMessageEvent(r.id.Name, data), "")
	}
	var relayed [][]byte
	for _, data := range chat.Relayed() {
		relayed = append(relayed, wire.Encode(wire.RoomMessageEvent(r.id.Name, data)))
	}
	fetch := [][]byte{wire.Encode(wire.RoomMessageEvent(r.id.Name, chat.Fetch()))}
	var after effects
	for id, s := range r.local {
		if !r.hearsLocked(id, s) {
			continue
		}
		frames := fetch
		if slices.Contains(s.who.features, wire.ClientChatRelay) && !r.namelessLocked(id) {
			frames = relayed
		}
		after = append(after, func() {
			for _, f := range frames {
				s.send(f)
			}
		})
	}
	return after
}
