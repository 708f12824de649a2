package signaling

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/store"
)

// alone is a cluster of one node that is the home of every room.
type alone struct{}

func (alone) Lookup(store.RoomID) (store.Home, bool) { return store.Home{Node: "n1", Epoch: 1}, true }
func (alone) Place(context.Context, store.RoomID) (store.Home, error) {
	return store.Home{Node: "n1", Epoch: 1}, nil
}
func (alone) Find(context.Context, store.RoomID) (store.Home, error) {
	return store.Home{}, store.ErrNotFound
}
func (alone) Release(context.Context, store.RoomID, uint64) error { return nil }
func (alone) Admit() error                                        { return nil }
func (alone) Acts(store.RoomID, uint64) bool                      { return true }
func (alone) Watch() (<-chan store.Event, func())                 { return make(chan store.Event), func() {} }
func (alone) Nodes() []Node                                       { return nil }
func (alone) Changed() (<-chan struct{}, func())                  { return make(chan struct{}), func() {} }
func (alone) Dial(store.NodeID) (grpc.ClientConnInterface, error) { return nil, errClosed }
func (alone) Wait(_, _ string, _ netip.Addr) time.Duration        { return 0 }
func (alone) Wrong(_, _ string, _ netip.Addr)                     {}
func (alone) PeerID(context.Context) (store.NodeID, bool)         { return "", false }
func (alone) Seal(plain []byte) string                            { return string(plain) }
func (alone) Open(sealed string) ([]byte, error)                  { return []byte(sealed), nil }
func (alone) Publish(context.Context, media.PublishRequest) (mcu.Publisher, string, error) {
	return nil, "", media.ErrClosed
}
func (alone) Subscribe(context.Context, media.SubscribeRequest) (mcu.Subscriber, string, error) {
	return nil, "", media.ErrClosed
}

// FuzzFrame: whatever another node sends, the rooms and replicas of this one
// survive it.
func FuzzFrame(f *testing.F) {
	room := roomOf(store.RoomID{Name: "room"})
	member := &signalpb.Member{Session: "s", Edge: "n2", RoomSession: "r", InCall: 7, Public: []byte(`{"inCall":7}`)}
	pub := encodePublication(media.Publication{ID: media.PubID{Session: "s", Kind: "video"}, Edge: "n2", Data: true})
	for _, body := range []*signalpb.Frame{
		{Body: &signalpb.Frame_Attach{Attach: &signalpb.Attach{
			Own: []*signalpb.Member{member}, OwnPublications: [][]byte{pub}, Known: []*signalpb.Member{{Session: "t", Edge: "n3"}},
		}}},
		{Body: &signalpb.Frame_Join{Join: member}},
		{Body: &signalpb.Frame_Leave{Leave: &signalpb.Leave{Session: "s"}}},
		{Body: &signalpb.Frame_Takeover{Takeover: member}},
		{Body: &signalpb.Frame_Moved{Moved: &signalpb.Member{Session: "s", Edge: "n3", Incarnation: 2}}},
		{Body: &signalpb.Frame_Announce{Announce: pub}},
		{Body: &signalpb.Frame_Say{Say: &signalpb.Say{Session: "s", To: "room", Data: []byte(`1`), Number: 1}}},
		{Body: &signalpb.Frame_Say{Say: &signalpb.Say{Session: "s", To: "transient", Transient: &signalpb.Transient{Key: "sd:s", Value: []byte(`1`)}, Number: 2}}},
		{Body: &signalpb.Frame_Transient{Transient: &signalpb.Transient{Key: "k", Value: []byte(`{}`), Number: 1}}},
		{Body: &signalpb.Frame_Snapshot{Snapshot: &signalpb.Snapshot{Members: []*signalpb.Member{member}}}},
		{Body: &signalpb.Frame_Refused{Refused: &signalpb.Refused{Reason: signalpb.Refused_REASON_STALE_EPOCH}}},
		{Body: &signalpb.Frame_User{User: &signalpb.User{UserIds: []string{"u"}}}},
		{Body: &signalpb.Frame_User{User: &signalpb.User{UserIds: []string{"u"}, Route: 1}}},
		{Body: &signalpb.Frame_User{User: &signalpb.User{UserIds: []string{"u"}, Origin: "n3", Number: 1}}},
		{Body: &signalpb.Frame_Warming{Warming: &signalpb.Warming{Session: "s", Node: "n3"}}},
		{Body: &signalpb.Frame_State{State: &signalpb.State{Session: "s", InCall: 9, Flags: 1}}},
		{Body: &signalpb.Frame_Watch{Watch: &signalpb.Watch{}}},
		{Body: &signalpb.Frame_Users{Users: &signalpb.Users{Users: []*signalpb.UserState{{Session: "s", Public: []byte(`{"inCall":1}`)}}}}},
		{Body: &signalpb.Frame_SwitchTo{SwitchTo: &signalpb.SwitchTo{RoomId: "r", Sessions: map[string][]byte{"s": nil}}}},
		{Body: &signalpb.Frame_Attach{Attach: &signalpb.Attach{
			Transient: []*signalpb.Transient{{Key: "k", Value: []byte(`1`)}}, TransientVersion: &signalpb.TransientVersion{Number: 3},
		}}},
		{Body: &signalpb.Frame_At{At: &signalpb.At{Begin: true, Here: []*signalpb.UserName{{Id: "u"}}, Whole: true, View: 1}}},
		{Body: &signalpb.Frame_Census{Census: &signalpb.Census{Sessions: map[string]uint32{"b": 1}}}},
		{Body: &signalpb.Frame_Properties{Properties: []byte(`{}`)}},
		{Body: &signalpb.Frame_Direct{Direct: &signalpb.Direct{Session: "s"}}},
	} {
		body.Room, body.Epoch = room, 1
		raw, err := proto.Marshal(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	h, err := NewHub(Config{}, Deps{
		Self: "n1", Engine: alone{}, Places: alone{}, Nodes: alone{}, Peers: alone{}, Guesses: alone{},
		Seal: func(string) Sealer { return alone{} }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(h.shutdown)
	r, err := h.openReplica(store.RoomID{Name: "room"}, store.Home{Node: "n2", Epoch: 1})
	if err != nil {
		f.Fatal(err)
	}
	direct, err := proto.Marshal(&signalpb.Frame{Room: room, Body: &signalpb.Frame_Moved{Moved: &signalpb.Member{Session: "s", Edge: "n2", Incarnation: 3}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(direct)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var frame signalpb.Frame
		if proto.Unmarshal(raw, &frame) != nil {
			return
		}
		_ = h.receive("n2", &frame) // an error ends the stream
		r.receive("n2", &frame)
		checkWhereabouts(t, h)
	})
}
