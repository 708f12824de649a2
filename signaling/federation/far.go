package federation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// maxFrame is the longest frame that is taken from another server: it tells of all
// who are in a room at once.
const maxFrame = 1 << 20

var errNonsense = errors.New("the other server does not speak the protocol")

// said is a message of another server, as far as it has to be understood. What the
// client gets of it stays as it came.
type said struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Welcome wire.ServerInfo `json:"-"`
	Hello   struct {
		SessionID string `json:"sessionid"`
		ResumeID  string `json:"resumeid"`
	} `json:"-"`
	Room struct {
		RoomID     string          `json:"roomid"`
		Properties json.RawMessage `json:"properties"`
		Bandwidth  *wire.Bandwidth `json:"bandwidth"`
	} `json:"-"`
	Error struct {
		Code    string          `json:"code"`
		Message string          `json:"message"`
		Details json.RawMessage `json:"details"`
	} `json:"-"`
	Bye wire.Bye `json:"-"`

	body json.RawMessage // the member that is named like Type
	size int             // of the whole frame
}

// hear reads one frame. Members of a message that its type does not name are not
// looked at.
func hear(frame []byte) (*said, error) {
	if err := wire.CheckJSON(frame, maxFrame); err != nil {
		return nil, fmt.Errorf("%w: %w", errNonsense, err)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(frame, &members) != nil {
		return nil, errNonsense
	}
	m := &said{size: len(frame)}
	if raw := members["id"]; raw != nil && json.Unmarshal(raw, &m.ID) != nil {
		return nil, errNonsense
	}
	if json.Unmarshal(members["type"], &m.Type) != nil {
		return nil, errNonsense
	}
	m.body = members[m.Type]
	var into any
	switch m.Type {
	case wire.TypeWelcome:
		into = &m.Welcome
	case wire.TypeHello:
		into = &m.Hello
	case wire.TypeRoom:
		into = &m.Room
	case wire.TypeError:
		into = &m.Error
	case wire.TypeBye:
		into = &m.Bye
		if m.body == nil {
			return m, nil
		}
	default:
		return m, nil
	}
	if json.Unmarshal(m.body, into) != nil {
		return nil, errNonsense
	}
	return m, nil
}

// refusal is what the client hears of an error.
func (m *said) refusal() *wire.Error {
	if m.Error.Code == string(wire.CodeRedirect) {
		// The client would follow it, with all that it says from then on.
		return wire.ErrorFor(wire.ErrFederationFailed)
	}
	return wire.ForeignError(m.Error.Code, m.Error.Message, m.Error.Details, wire.ErrFederationFailed)
}

// farewell is what a bye means.
func (m *said) farewell() error {
	if m.Bye.Reason == wire.ByeRoomSession {
		return fmt.Errorf("%w: %w", wire.ErrFederationFailed, ErrReplaced)
	}
	return fmt.Errorf("%w: %w", wire.ErrFederationFailed, errBroken)
}

// names are what is called otherwise at the other server.
type names struct {
	here, there        store.SessionID // of the client
	room, far          string          // of the room
	ownCloud, farCloud string          // of the Nextclouds, behind the name of a user
}

// validID tells whether the session id of another server is one. As JSON it is written
// as it is, so that it is found in whatever it says.
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		letter, digit := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		if !letter && !digit && !strings.ContainsRune("-_=.~+", rune(c)) {
			return false
		}
	}
	return true
}

const maxID = 512

// swap writes another session id wherever the one stands as a text of its own, or as
// the key of its data. Such ids are long and drawn by lot: nothing else is like them.
func swap(frame []byte, from, to store.SessionID) []byte {
	for _, prefix := range []string{`"`, `"` + wire.SessionData} {
		frame = bytes.ReplaceAll(frame, []byte(prefix+string(from)+`"`), []byte(prefix+string(to)+`"`))
	}
	return frame
}

// outward is what the client says, for the other server.
func (n *names) outward(frame []byte) []byte { return swap(frame, n.here, n.there) }

// inward is what the other server says, for the client; nil if that is not for it.
func (n *names) inward(m *said) []byte {
	out := map[string]json.RawMessage{}
	switch m.Type {
	case wire.TypeMessage, wire.TypeControl, wire.TypeTransient:
		if !isObject(m.body) {
			return nil
		}
		out[m.Type] = m.body
	case wire.TypeEvent:
		if out[m.Type] = n.event(m.body); out[m.Type] == nil {
			return nil
		}
	case wire.TypeError:
		return wire.Encode(wire.ServerMessage{ID: m.ID, Type: wire.TypeError, Error: m.refusal()})
	case wire.TypeRoom:
		room := n.roomOf(m)
		return wire.Encode(wire.ServerMessage{Type: wire.TypeRoom, Room: &room})
	default:
		return nil
	}
	out["type"] = wire.Marshal(m.Type)
	if m.ID != "" {
		out["id"] = wire.Marshal(m.ID)
	}
	return swap(wire.Marshal(out), n.there, n.here)
}

// roomOf is the room as the client knows it.
func (n *names) roomOf(m *said) wire.Room {
	room := wire.Room{Properties: m.Room.Properties, Bandwidth: m.Room.Bandwidth}
	if m.Room.RoomID != "" {
		room.RoomID = n.room
	}
	return room
}

// event is an event of the room, or nil.
func (n *names) event(raw json.RawMessage) json.RawMessage {
	var e map[string]json.RawMessage
	var target, kind string
	if json.Unmarshal(raw, &e) != nil || json.Unmarshal(e["target"], &target) != nil || json.Unmarshal(e["type"], &kind) != nil {
		return nil
	}
	body := object(e[kind])
	ours := n.renameRoom(body)
	switch {
	case target == wire.TargetRoomList && !ours:
		return nil // the client has a list of its own
	case target != wire.TargetRoom && target != wire.TargetParticipants && target != wire.TargetRoomList:
		return nil
	case kind == wire.EventFederationInterrupted || kind == wire.EventFederationResumed:
		return nil // that is for this server to say
	case target == wire.TargetRoom && kind == wire.EventUpdate:
		return nil // the nodes of the other server are no business of the client
	case target == wire.TargetParticipants && body != nil:
		n.renameUsers(body)
	}
	out := map[string]json.RawMessage{"target": e["target"], "type": e["type"]}
	switch {
	case body != nil:
		out[kind] = wire.Marshal(body)
	case e[kind] != nil:
		out[kind] = e[kind] // a list, such as of those who come
	}
	return wire.Marshal(out)
}

func (n *names) renameRoom(body map[string]json.RawMessage) (ours bool) {
	var room string
	if body["roomid"] == nil || json.Unmarshal(body["roomid"], &room) != nil || room != n.far {
		return false
	}
	body["roomid"] = wire.Marshal(n.room)
	return true
}

// renameUsers calls those who are in the call what the client's own Nextcloud calls
// them: its users by their ids, those of the other one as federated users.
func (n *names) renameUsers(body map[string]json.RawMessage) {
	var users []map[string]json.RawMessage
	if json.Unmarshal(body["users"], &users) != nil {
		return
	}
	for _, u := range users {
		var kind, id string
		if json.Unmarshal(u["actorType"], &kind) != nil || json.Unmarshal(u["actorId"], &id) != nil {
			continue
		}
		switch own, federated := strings.CutSuffix(id, "@"+n.ownCloud); {
		case kind == wire.ActorUser:
			kind, id = wire.ActorFederated, id+"@"+n.farCloud
		case kind == wire.ActorFederated && federated:
			kind, id = wire.ActorUser, own
		}
		u["actorType"], u["actorId"] = wire.Marshal(kind), wire.Marshal(id)
	}
	body["users"] = wire.Marshal(users)
}

// cloudOf is a Nextcloud as it stands in the name of a federated user.
func cloudOf(rawURL string) string {
	_, cloud, _ := strings.Cut(rawURL, "://")
	cloud, _, _ = strings.Cut(cloud, "/ocs/v")
	cloud, _, _ = strings.Cut(cloud, "/index.php")
	return strings.TrimSuffix(cloud, "/")
}

// object is nil for what is none.
func object(raw json.RawMessage) (o map[string]json.RawMessage) {
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}

func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }
