package signaling

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

func roomOf(id store.RoomID) *signalpb.Room {
	return &signalpb.Room{Backend: string(id.Backend), Name: id.Name}
}

// roomID reads the room of a frame.
func roomID(r *signalpb.Room) (store.RoomID, error) {
	id := store.RoomID{Backend: store.BackendID(r.GetBackend()), Name: r.GetName()}
	return id, id.Validate()
}

func pubIDFrame(id media.PubID) *signalpb.PubID {
	return &signalpb.PubID{Session: string(id.Session), Incarnation: id.Incarnation, Kind: id.Kind, Generation: id.Generation}
}

func pubID(id *signalpb.PubID) media.PubID {
	return media.PubID{
		Session: store.SessionID(id.GetSession()), Incarnation: id.GetIncarnation(), Kind: id.GetKind(), Generation: id.GetGeneration(),
	}
}

// encodePublication cannot fail: there are only texts and numbers in it.
func encodePublication(p media.Publication) []byte {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	return raw
}

// maxPublication is far beyond any publication that is valid.
const maxPublication = 64 << 10

func decodePublication(raw []byte) (media.Publication, error) {
	var p media.Publication
	if len(raw) > maxPublication {
		return p, fmt.Errorf("%w: %d bytes", media.ErrBadPublication, len(raw))
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("%w: %w", media.ErrBadPublication, err)
	}
	return p, p.Validate()
}

// refusal says that a frame was not for this node; session is whose join it
// was, if it was one.
func refusal(id store.RoomID, epoch uint64, session string, reason signalpb.Refused_Reason) *signalpb.Frame {
	return &signalpb.Frame{
		Room: roomOf(id), Epoch: epoch,
		Body: &signalpb.Frame_Refused{Refused: &signalpb.Refused{Session: session, Reason: reason}},
	}
}

func refusedError(reason signalpb.Refused_Reason) error {
	switch reason {
	case signalpb.Refused_REASON_STALE_EPOCH:
		return errStale
	case signalpb.Refused_REASON_DETACHED:
		return ErrDetached
	case signalpb.Refused_REASON_RELEASING:
		return errReleasing
	case signalpb.Refused_REASON_FULL:
		return wire.ErrSessionLimit
	default:
		return ErrNotHome
	}
}

func reasonOf(err error) signalpb.Refused_Reason {
	if errors.Is(err, errStale) {
		return signalpb.Refused_REASON_STALE_EPOCH
	}
	return signalpb.Refused_REASON_NOT_HOME
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// merge puts what a backend says of a participant of a room over what it says
// of the user. Both are objects or nil.
func merge(user, session json.RawMessage) json.RawMessage {
	if len(session) == 0 {
		return user
	}
	if len(user) == 0 {
		return session
	}
	var all, more map[string]json.RawMessage
	if json.Unmarshal(user, &all) != nil || json.Unmarshal(session, &more) != nil || all == nil {
		return user
	}
	for k, v := range more {
		all[k] = v
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return user
	}
	return raw
}

// cloneMember keeps what only a newer version knows of the member.
func cloneMember(m *signalpb.Member) *signalpb.Member {
	clone := &signalpb.Member{
		Session: m.GetSession(), Edge: m.GetEdge(), Incarnation: m.GetIncarnation(), UserId: m.GetUserId(), User: m.GetUser(),
		RoomSession: m.GetRoomSession(), Features: m.GetFeatures(), InCall: m.GetInCall(), Public: m.GetPublic(), Replaces: m.GetReplaces(),
		Number: m.GetNumber(), HasPermissions: m.GetHasPermissions(), Permissions: m.GetPermissions(), Internal: m.GetInternal(), Federated: m.GetFederated(),
		Via: m.GetVia(),
	}
	if v := m.GetVirtual(); v != nil {
		clone.Virtual = &signalpb.Virtual{Owner: v.GetOwner(), Flags: v.GetFlags(), ActorId: v.GetActorId(), ActorType: v.GetActorType()}
		keepUnknown(clone.GetVirtual(), v)
	}
	keepUnknown(clone, m)
	return clone
}

func keepUnknown(to, of proto.Message) {
	if unknown := of.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		to.ProtoReflect().SetUnknown(unknown)
	}
}
