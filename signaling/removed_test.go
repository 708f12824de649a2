package signaling

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// farEdge is the other end of a link: what this node sends there.
type farEdge struct {
	t    *testing.T
	hub  *Hub
	id   store.RoomID
	node store.NodeID
	out  chan *signalpb.Frame
}

func newFarEdge(t *testing.T) *farEdge {
	return (&farEdge{t: t, hub: lonely(t), id: store.RoomID{Name: "room"}}).another("n2")
}

// another is one more node.
func (e *farEdge) another(node store.NodeID) *farEdge {
	f := &farEdge{t: e.t, hub: e.hub, id: e.id, node: node, out: make(chan *signalpb.Frame, 1024)}
	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	e.hub.peers[node] = &peer{hub: e.hub, id: node, out: f.out}
	return f
}

// says sends a frame to the room as that node does.
func (e *farEdge) says(f *signalpb.Frame) {
	e.t.Helper()
	f.Room, f.Epoch = roomOf(e.id), 1
	if err := e.hub.receive(e.node, f); err != nil {
		e.t.Fatal(err)
	}
}

// attach gives the snapshot that comes of it.
func (e *farEdge) attach(a *signalpb.Attach) *signalpb.Snapshot {
	e.t.Helper()
	e.says(&signalpb.Frame{Body: &signalpb.Frame_Attach{Attach: a}})
	return e.snapshot()
}

func (e *farEdge) snapshot() *signalpb.Snapshot {
	e.t.Helper()
	var parts whole[signalpb.Snapshot, *signalpb.Snapshot]
	for {
		f := e.expect(func(f *signalpb.Frame) bool { return f.GetSnapshot() != nil })
		if size := proto.Size(f); size > 2*maxPart {
			e.t.Errorf("a part of %d bytes", size)
		}
		if s := parts.add(f.GetSnapshot()); s != nil {
			return s
		}
	}
}

func (e *farEdge) expect(is func(*signalpb.Frame) bool) *signalpb.Frame {
	e.t.Helper()
	for {
		select {
		case f := <-e.out:
			if is(f) {
				return f
			}
		case <-time.After(10 * time.Second):
			e.t.Fatal("no such frame")
		}
	}
}

func (e *farEdge) room() *room {
	e.t.Helper()
	r, err := e.hub.homeRoom(e.id, 1)
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// TestRemovedWhileItsEdgeIsLost: who was removed while its node could not be told
// does not come back with it, and hears why; who asks anew is let in.
func TestRemovedWhileItsEdgeIsLost(t *testing.T) {
	e := newFarEdge(t)
	bob := &signalpb.Member{Session: "bob", UserId: "bob"}
	joined := e.attach(&signalpb.Attach{Own: []*signalpb.Member{bob, {Session: "eve"}}}).GetMembers()
	i := slices.IndexFunc(joined, func(m *signalpb.Member) bool { return m.GetSession() == "bob" })
	if len(joined) != 2 || joined[i].GetNumber() == 0 {
		t.Fatalf("members %v", joined)
	}
	e.room().edgeLost("n2")
	err := e.hub.Notify(context.Background(), e.id,
		backend.Request{Type: backend.TypeDisinvite, Disinvite: &backend.Disinvite{UserIDs: []string{"bob"}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // also if it is lost again
		s := e.attach(&signalpb.Attach{Own: joined})
		if len(s.GetMembers()) != 1 || s.GetMembers()[0].GetSession() != "eve" {
			t.Fatalf("members %v", s.GetMembers())
		}
		kick := s.GetMissed()[len(s.GetMissed())-1].GetKick()
		if !slices.Equal(kick.GetSessions(), []string{"bob"}) || kick.GetDisinvited() != wire.ReasonDisinvited {
			t.Fatalf("kick %v", kick)
		}
	}
	e.says(&signalpb.Frame{Body: &signalpb.Frame_Join{Join: bob}})
	again := e.expect(func(f *signalpb.Frame) bool { return f.GetJoined() != nil }).GetJoined()
	e.room().edgeLost("n2")
	if s := e.attach(&signalpb.Attach{Own: []*signalpb.Member{again}}); len(s.GetMembers()) != 1 || len(s.GetMissed()) != 0 {
		t.Errorf("snapshot %v", s)
	}
}

// TestSnapshotIsBounded: what was said while an edge was lost does not grow
// beyond what one frame can carry.
func TestSnapshotIsBounded(t *testing.T) {
	e := newFarEdge(t)
	own := &signalpb.Attach{Own: []*signalpb.Member{{Session: "bob"}}}
	e.attach(own)
	data := bytes.Repeat([]byte("x"), wire.MaxFrame)
	for n := range uint64(maxTold) {
		e.says(&signalpb.Frame{Body: &signalpb.Frame_Say{Say: &signalpb.Say{Session: "bob", To: wire.ToRoom, Data: data, Number: n + 1}}})
		e.expect(func(f *signalpb.Frame) bool { return f.GetSaid() != nil })
	}
	missed := e.attach(own).GetMissed()
	if n := maxToldBytes / len(data); len(missed) != n {
		t.Errorf("%d frames, want %d", len(missed), n)
	}
	if last := missed[len(missed)-1].GetSaid().GetNumber(); last != maxTold {
		t.Errorf("the last is %d", last)
	}
}

// TestSnapshotOfSeat: what has happened to a member while its edge was detached
// is done when the snapshot comes: other permissions, and its removal, with the
// reason.
func TestSnapshotOfSeat(t *testing.T) {
	e := newFarEdge(t)
	r, err := e.hub.openReplica(e.id, store.Home{Node: "n2", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := e.hub.newSession("s", identity{}, 1)
	t.Cleanup(s.desk.Close)
	st := &seat{replica: r}
	r.join(&pendingJoin{session: s, seat: st, member: &signalpb.Member{Session: "s"}, done: make(chan error, 1)})
	snapshot := func(missed []*signalpb.Frame, members ...*signalpb.Member) {
		r.receive("n2", &signalpb.Frame{Room: roomOf(e.id), Epoch: 1, Body: &signalpb.Frame_Snapshot{
			Snapshot: &signalpb.Snapshot{Members: members, Missed: missed},
		}})
	}
	snapshot(nil, &signalpb.Member{Session: "s", Edge: "n1", Number: 1})
	if seat := s.currentSeat(); seat == nil || !seat.allowed(backend.PermissionControl) {
		t.Fatalf("seat %+v", seat)
	}
	snapshot(nil, &signalpb.Member{Session: "s", Edge: "n1", Number: 1, HasPermissions: true, Permissions: []string{backend.PermissionPublishAudio}})
	if seat := s.currentSeat(); seat.allowed(backend.PermissionControl) || !seat.allowed(backend.PermissionPublishAudio) {
		t.Errorf("permissions %v", seat.permissions)
	}
	snapshot([]*signalpb.Frame{{Body: &signalpb.Frame_Kick{Kick: &signalpb.Kick{Sessions: []string{"s"}, Disinvited: wire.ReasonDeleted}}}})
	last := s.queue[len(s.queue)-1]
	if s.currentSeat() != nil || !bytes.Equal(last, wire.Encode(wire.DisinviteEvent("room", wire.ReasonDeleted))) {
		t.Errorf("in %v, was told %s", s.currentSeat(), last)
	}
}

// TestPermissionsTravel: permissions are part of what the home knows of a
// member.
func TestPermissionsTravel(t *testing.T) {
	e := newFarEdge(t)
	own := &signalpb.Attach{Own: []*signalpb.Member{{Session: "bob", RoomSession: "nc-bob"}}}
	e.attach(own)
	e.room().edgeLost("n2")
	var bob backend.Participant
	if err := bob.UnmarshalJSON([]byte(`{"sessionId":"nc-bob","permissions":["control"]}`)); err != nil {
		t.Fatal(err)
	}
	err := e.hub.Notify(context.Background(), e.id,
		backend.Request{Type: backend.TypeParticipants, Participants: &backend.Participants{Changed: []backend.Participant{bob}}})
	if err != nil {
		t.Fatal(err)
	}
	m := e.attach(own).GetMembers()[0]
	if !m.GetHasPermissions() || !slices.Equal(m.GetPermissions(), []string{"control"}) {
		t.Errorf("member %v", m)
	}
}

// TestGhost: an edge that comes back with somebody who is in the room by way of
// another node meanwhile does not throw out the later session.
func TestGhost(t *testing.T) {
	e := newFarEdge(t)
	ghosts := e.attach(&signalpb.Attach{Own: []*signalpb.Member{{Session: "old", RoomSession: "nc-bob"}}}).GetMembers()
	r := e.room()
	err := r.do(context.Background(), func() error {
		r.lose("n2")
		r.remove([]store.SessionID{"old"}, true) // it was given up
		r.edges["n3"] = &edge{attached: true}
		r.join("n3", &signalpb.Member{Session: "new", RoomSession: "nc-bob"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := e.attach(&signalpb.Attach{Own: ghosts})
	if len(s.GetMembers()) != 1 || s.GetMembers()[0].GetSession() != "new" {
		t.Errorf("members %v", s.GetMembers())
	}
	if n := len(s.GetMissed()); n != 1 || s.GetMissed()[0].GetKick().GetBye() != wire.ByeRoomSession {
		t.Errorf("missed %v", s.GetMissed())
	}
}

// TestEdgeSpeaksForItsOwn: an edge neither withdraws what others publish nor
// speaks in another name.
func TestEdgeSpeaksForItsOwn(t *testing.T) {
	e := newFarEdge(t)
	e.attach(&signalpb.Attach{Own: []*signalpb.Member{{Session: "bob", UserId: "bob"}}})
	r := e.room()
	pub := media.Publication{ID: media.PubID{Session: "eve", Kind: "video"}, Edge: "n3", Data: true}
	err := r.do(context.Background(), func() error {
		r.pubs[pubKey{"eve", "video"}] = pub
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e.says(&signalpb.Frame{Body: &signalpb.Frame_Withdraw{Withdraw: pubIDFrame(pub.ID)}})
	for n, user := range []string{"", "alice", "bob"} {
		e.says(&signalpb.Frame{Body: &signalpb.Frame_Say{Say: &signalpb.Say{Session: "bob", UserId: user, To: wire.ToRoom, Number: uint64(n) + 1}}})
	}
	f := e.expect(func(f *signalpb.Frame) bool { return f.GetSaid() != nil || f.GetWithdrawn() != nil })
	if f.GetSaid().GetUserId() != "bob" {
		t.Errorf("heard %v", f)
	}
}

// TestSameSessionElsewhere: that a session was found at a second node, and taken
// out at the first, is no reason to refuse it at the second later.
func TestSameSessionElsewhere(t *testing.T) {
	e := newFarEdge(t)
	r := e.room()
	err := r.do(context.Background(), func() error {
		r.edges["n2"], r.edges["n3"] = &edge{attached: true}, &edge{}
		r.admit("n2", &signalpb.Member{Session: "bob", Number: 5})
		r.admit("n2", &signalpb.Member{Session: "eve", Number: 9})
		moved := &signalpb.Member{Session: "bob", Number: 7}
		r.admit("n3", moved)
		if why := r.thrownOut(moved); why != nil {
			t.Errorf("thrown out: %v", why)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
