package signaling

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TestFrameOfANewerVersion: a node leaves out what it does not know, and the link
// stays, as all rooms go by it.
func TestFrameOfANewerVersion(t *testing.T) {
	raw, err := proto.Marshal(&signalpb.Frame{Room: roomOf(store.RoomID{Name: "room"}), Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []protowire.Number{19, 39, 1000} {
		raw = protowire.AppendTag(raw, field, protowire.BytesType)
		raw = protowire.AppendBytes(raw, []byte("of a newer version"))
		f := new(signalpb.Frame)
		if err := proto.Unmarshal(raw, f); err != nil {
			t.Fatal(err)
		}
		if err := lonely(t).receive("n2", f); err != nil {
			t.Errorf("field %d: %v", field, err)
		}
	}
}

// TestMemberOfANewerVersion: what is changed of a member leaves alone what only newer
// nodes know, as do all that this one knows.
func TestMemberOfANewerVersion(t *testing.T) {
	newer := func(m proto.Message) {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		raw = protowire.AppendTag(raw, 1000, protowire.VarintType)
		if err := proto.Unmarshal(protowire.AppendVarint(raw, 1), m); err != nil {
			t.Fatal(err)
		}
	}
	m := &signalpb.Member{Virtual: &signalpb.Virtual{}}
	for _, part := range []proto.Message{m, m.GetVirtual()} {
		fill(part.ProtoReflect())
		newer(part)
	}
	if clone := cloneMember(m); !proto.Equal(clone, m) || clone == m {
		t.Errorf("of %v\nthere is %v", m, clone)
	}
}

// fill gives each field a value.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		var v protoreflect.Value
		switch f.Kind() {
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString(f.TextName())
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes([]byte(f.TextName()))
		case protoreflect.BoolKind:
			v = protoreflect.ValueOfBool(true)
		case protoreflect.Int32Kind:
			v = protoreflect.ValueOfInt32(1)
		case protoreflect.Uint32Kind:
			v = protoreflect.ValueOfUint32(1)
		case protoreflect.Uint64Kind:
			v = protoreflect.ValueOfUint64(1)
		default:
			continue // another message
		}
		if f.IsList() {
			m.Mutable(f).List().Append(v)
			continue
		}
		m.Set(f, v)
	}
}

// TestBeatOfALink: a beat is about no room, and ends nothing.
func TestBeatOfALink(t *testing.T) {
	if err := lonely(t).receive("n2", new(pulse).beat()); err != nil {
		t.Error(err)
	}
}

// older is the way to a node that knows none of our questions.
type older struct{ alone }

func (older) Dial(store.NodeID) (grpc.ClientConnInterface, error) { return older{}, nil }

func (older) Invoke(_ context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

func (older) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

// TestMoveFromAnOlderNode: a session of a node that cannot lend it stays there.
func TestMoveFromAnOlderNode(t *testing.T) {
	h := lonely(t)
	h.deps.Peers = older{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := h.borrow(ctx, ticket{Session: "s", From: "n2", Room: store.RoomID{Name: "room"}})
	if !errors.Is(err, wire.ErrNoSuchSession) {
		t.Errorf("error %v", err)
	}
}
