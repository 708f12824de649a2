package signaling_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

func offer(kind, sid string) wire.MediaMessage {
	return wire.MediaMessage{
		Type: wire.MediaOffer, SID: sid, RoomType: kind,
		Payload: &wire.MediaPayload{Type: "offer", SDP: "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"},
	}
}

func requestOffer(kind string) wire.MediaMessage {
	return wire.MediaMessage{Type: wire.MediaRequestOffer, RoomType: kind}
}

// expectOffer waits for an offer for what the publisher shows, and returns where
// it is published.
func expectOffer(t *testing.T, client *signalingtest.Client, publisher store.SessionID, kind string) string {
	t.Helper()
	m := client.ExpectMedia(wire.MediaOffer)
	if m.From != publisher || m.RoomType != kind || m.SID == "" {
		t.Fatalf("offer %+v", m)
	}
	_, edge, _ := strings.Cut(m.Payload.SDP, " at ")
	return edge
}

// TestRequestBeforePublication: a request that comes early waits, on whatever
// node, and what the client says meanwhile goes its way.
func TestRequestBeforePublication(t *testing.T) {
	_, alice, bob, carol := call(t)
	bob.Media(alice.Session, requestOffer("video"))
	carol.Media(alice.Session, requestOffer("video"))
	bob.Barrier()
	hears(t, bob, carol, "waiting")
	alice.Media(alice.Session, offer("video", "1"))
	answer := alice.ExpectMedia(wire.MediaAnswer)
	if answer.From != alice.Session || answer.To != alice.Session || answer.SID != "1" || answer.RoomType != "video" {
		t.Errorf("answer %+v", answer)
	}
	for _, x := range []*signalingtest.Client{bob, carol} {
		if edge := expectOffer(t, x, alice.Session, "video"); edge != "n1" {
			t.Errorf("published at %q", edge)
		}
	}
}

// TestScreen: the sharer's sendoffer comes before its own offer.
func TestScreen(t *testing.T) {
	_, alice, bob, carol := call(t)
	for _, x := range []*signalingtest.Client{bob, carol} {
		alice.Media(x.Session, wire.MediaMessage{Type: wire.MediaSendOffer, RoomType: "screen"})
	}
	alice.Media(alice.Session, offer("screen", "9"))
	alice.ExpectMedia(wire.MediaAnswer)
	expectOffer(t, bob, alice.Session, "screen")
	expectOffer(t, carol, alice.Session, "screen")

	// The end of it: to the own session, and for the others to see, to the room.
	alice.Media(alice.Session, wire.MediaMessage{Type: wire.MediaUnshareScreen, RoomType: "screen", SID: "9"})
	alice.Say(wire.Recipient{Type: wire.ToRoom}, wire.MediaMessage{Type: wire.MediaUnshareScreen, RoomType: "screen"})
	for _, x := range []*signalingtest.Client{bob, carol} {
		x.ExpectMedia(wire.MediaUnshareScreen)
	}
}

// TestPublishBeforeInCall: the own offer is taken from who is in the room; a
// listener waits a moment for news of the call, and is refused then.
func TestPublishBeforeInCall(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	c.pin("room", c.nodes[0])
	alice := c.enter(c.nodes[0], "alice")
	bob := c.enter(c.nodes[1], "bob")
	bob.ExpectEvent(wire.TargetRoom, wire.EventJoin)
	bob.Media(bob.Session, offer("video", "1"))
	bob.ExpectMedia(wire.MediaAnswer)

	alice.Media("nobody", requestOffer("video"))
	alice.ExpectError(wire.CodeNotAllowed)
	alice.Media(bob.Session, requestOffer("video"))
	id := media.PubID{Session: bob.Session, Kind: "video"}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := c.nodes[1].hub.AuthorizePull(ctx, "n1", id); !errors.Is(err, signaling.ErrNotListening) {
		t.Errorf("pull: %v", err)
	}

	c.nextcloud.InCall(c.nodes[0].url(), "room",
		signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7},
		signalingtest.Caller{Session: "nc-bob", UserID: "bob", InCall: 7})
	alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	// The request came before this node had heard of that.
	if edge := expectOffer(t, alice, bob.Session, "video"); edge != "n2" {
		t.Errorf("published at %q", edge)
	}
	if err := c.nodes[1].hub.AuthorizePull(context.Background(), "n1", id); err != nil {
		t.Errorf("pull: %v", err)
	}
	if err := c.nodes[1].hub.AuthorizePull(ctx, "n3", id); !errors.Is(err, signaling.ErrNotListening) {
		t.Errorf("pull of a stranger: %v", err)
	}
	want := signaling.RoomReport{Room: c.room("room"), Sessions: 1, Publishers: 1}
	if got := c.nodes[1].hub.Report(); got.Sessions != 1 || len(got.Rooms) != 1 || got.Rooms[0] != want {
		t.Errorf("report %+v", got)
	}

	// Whoever leaves the call is not published any more.
	c.nextcloud.InCall(c.nodes[0].url(), "room", signalingtest.Caller{Session: "nc-bob", UserID: "bob", InCall: 0})
	alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	alice.Media(bob.Session, requestOffer("video"))
	alice.ExpectError(wire.CodeNotAllowed)
	eventually(t, "end of the publication", func() bool { return c.nodes[1].hub.Report().Rooms[0].Publishers == 0 })
}

// TestPublicationsSurviveTheHome: what was published before the home died is
// found through the new one, also by somebody who comes then.
func TestPublicationsSurviveTheHome(t *testing.T) {
	c, _, bob, carol := call(t)
	bob.Media(bob.Session, offer("video", "1"))
	bob.ExpectMedia(wire.MediaAnswer)
	carol.Media(bob.Session, requestOffer("video"))
	expectOffer(t, carol, bob.Session, "video")

	c.nodes[0].kill()
	// Published while there is no home.
	carol.Media(carol.Session, offer("video", "1"))
	carol.ExpectMedia(wire.MediaAnswer)
	c.move(c.room("room"), c.nodes[2])
	bob.ExpectEvent(wire.TargetRoom, wire.EventUpdate)
	bob.Media(carol.Session, requestOffer("video"))
	expectOffer(t, bob, carol.Session, "video")

	c.nextcloud.AddUser("dave", "Dave")
	dave := c.enter(c.nodes[1], "dave")
	c.nextcloud.InCall(c.nodes[2].url(), "room", signalingtest.Caller{Session: "nc-dave", UserID: "dave", InCall: 7})
	dave.Expect("in the call", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Target == wire.TargetParticipants && len(m.Event.Update.Users) == 4
	})
	for _, x := range []*signalingtest.Client{bob, carol} {
		dave.Media(x.Session, requestOffer("video"))
		expectOffer(t, dave, x.Session, "video")
	}
}

// TestPermissions: what may not be published is refused, and ends when the
// permission does.
func TestPermissions(t *testing.T) {
	c, alice, _, _ := call(t)
	alice.Media(alice.Session, offer("video", "1"))
	alice.ExpectMedia(wire.MediaAnswer)
	c.nextcloud.Participants(c.nodes[0].url(), "room",
		signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7, Permissions: []string{"publish-video"}})
	alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	eventually(t, "end of the publication", func() bool { return c.nodes[0].hub.Report().Rooms[0].Publishers == 0 })
	for _, kind := range []string{"video", "screen"} {
		alice.Media(alice.Session, offer(kind, "2"))
		alice.ExpectError(wire.CodeNotAllowed)
	}
	video := offer("video", "3")
	video.Payload.SDP = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
	alice.Media(alice.Session, video)
	alice.ExpectMedia(wire.MediaAnswer)
}

// TestPermissionRace: what is taken away while an offer is being answered does
// not stay published.
func TestPermissionRace(t *testing.T) {
	c, alice, bob, _ := call(t)
	hold := make(chan struct{})
	c.nodes[0].media.mu.Lock()
	c.nodes[0].media.hold = hold
	c.nodes[0].media.mu.Unlock()
	for _, kind := range []string{"video", "screen"} {
		alice.Media(alice.Session, offer(kind, "1"))
	}
	eventually(t, "both offers", func() bool {
		c.nodes[0].media.mu.Lock()
		defer c.nodes[0].media.mu.Unlock()
		return len(c.nodes[0].media.published) == 2
	})
	c.nextcloud.Participants(c.nodes[0].url(), "room",
		signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7, Permissions: []string{}})
	alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	hears(t, bob, alice, "after the permissions")
	close(hold)
	alice.ExpectMedia(wire.MediaAnswer)
	alice.ExpectMedia(wire.MediaAnswer)
	eventually(t, "end of the publications", func() bool { return c.nodes[0].hub.Report().Rooms[0].Publishers == 0 })
}
