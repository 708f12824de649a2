package signaling

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// two are a home with bob and ben at n2 and eve at n3, who are in the call.
func two(t *testing.T) (n2, n3 *farEdge, bob *signalpb.Member) {
	t.Helper()
	n2 = newFarEdge(t)
	n3 = n2.another("n3")
	member := func(name string) *signalpb.Member {
		return &signalpb.Member{Session: name, UserId: name, RoomSession: "nc-" + name, Incarnation: 1, InCall: 7}
	}
	n2.attach(&signalpb.Attach{Own: []*signalpb.Member{member("bob"), member("ben")}})
	n3.attach(&signalpb.Attach{Own: []*signalpb.Member{member("eve")}})
	n2.expect(func(f *signalpb.Frame) bool { return f.GetJoined().GetSession() == "eve" })
	return n2, n3, n2.member("bob")
}

// member is what the home knows of a session.
func (e *farEdge) member(id store.SessionID) (m *signalpb.Member) {
	e.t.Helper()
	if err := e.room().do(context.Background(), func() error { m = e.hub.rooms[e.id].members[id]; return nil }); err != nil {
		e.t.Fatal(err)
	}
	return m
}

// claim says that this node has a session, and gives the next event.
func (e *farEdge) claim(m *signalpb.Member, incarnation uint32) *signalpb.Frame {
	e.t.Helper()
	m = cloneMember(m)
	m.Edge, m.Incarnation = string(e.node), incarnation
	e.says(&signalpb.Frame{Body: &signalpb.Frame_Takeover{Takeover: m}})
	return e.expect(func(*signalpb.Frame) bool { return true })
}

// quiet tells that nobody was said to come or go.
func (e *farEdge) quiet() {
	e.t.Helper()
	for {
		select {
		case f := <-e.out:
			if f.GetLeft() != nil || f.GetJoined() != nil {
				e.t.Errorf("%s hears %v", e.node, f)
			}
		default:
			return
		}
	}
}

func announcement(session store.SessionID, incarnation uint32, edge store.NodeID) *signalpb.Frame {
	return &signalpb.Frame{Body: &signalpb.Frame_Announce{Announce: encodePublication(media.Publication{
		ID: media.PubID{Session: session, Incarnation: incarnation, Kind: "video", Generation: 1}, Edge: edge, Data: true,
	})}}
}

// TestTakeover: a session goes on at another edge. What the home knows of it
// stays, nobody hears a leave or a join, what it published before stays until it
// publishes anew.
func TestTakeover(t *testing.T) {
	n2, n3, bob := two(t)
	n2.says(announcement("bob", 1, "n2"))
	n3.expect(func(f *signalpb.Frame) bool { return f.GetPublished() != nil })
	moved := n3.claim(bob, 2).GetMoved()
	if moved.GetEdge() != "n3" || moved.GetIncarnation() != 2 || moved.GetInCall() != 7 || moved.GetNumber() != bob.GetNumber() {
		t.Fatalf("moved: %v", moved)
	}
	if got := n2.expect(func(f *signalpb.Frame) bool { return f.GetMoved() != nil }).GetMoved(); !proto.Equal(got, moved) {
		t.Errorf("the former edge hears %v", got)
	}
	n2.says(announcement("bob", 1, "n2"))                                                         // it is late
	n2.says(&signalpb.Frame{Body: &signalpb.Frame_Leave{Leave: &signalpb.Leave{Session: "bob"}}}) // and so is this
	pubs := func() []uint32 {
		var list []uint32
		if err := n2.room().do(context.Background(), func() error {
			for _, pub := range n2.hub.rooms[n2.id].pubs {
				list = append(list, pub.ID.Incarnation)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := pubs(); !slices.Equal(got, []uint32{1}) {
		t.Errorf("published %v", got)
	}
	n3.says(announcement("bob", 2, "n3"))
	n3.expect(func(f *signalpb.Frame) bool { return f.GetPublished() != nil })
	if got := pubs(); !slices.Equal(got, []uint32{2}) {
		t.Errorf("published %v", got)
	}
	n2.quiet()
	n3.quiet()
}

// TestOldPublicationsEnd: what is not published anew ends after a while.
func TestOldPublicationsEnd(t *testing.T) {
	n2, n3, bob := two(t)
	n2.says(announcement("bob", 1, "n2"))
	n3.expect(func(f *signalpb.Frame) bool { return f.GetPublished() != nil })
	n3.claim(bob, 2)
	r := n2.room()
	for _, after := range []time.Duration{0, oldPublications} {
		n := 0
		if err := r.do(context.Background(), func() error {
			r.dropOldPublications(time.Now().Add(after))
			n = len(r.pubs)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := 1 - int(after/oldPublications); n != want {
			t.Errorf("after %v: %d publications, want %d", after, n, want)
		}
	}
	if id := n3.expect(func(f *signalpb.Frame) bool { return f.GetWithdrawn() != nil }).GetWithdrawn(); id.GetIncarnation() != 1 {
		t.Errorf("withdrawn %v", id)
	}
}

// TestClaims: the higher incarnation has a session, and the loser hears who that
// is; of two that are equal everybody chooses the same.
func TestClaims(t *testing.T) {
	n2, n3, bob := two(t)
	n3.claim(bob, 3)
	n2.expect(func(f *signalpb.Frame) bool { return f.GetMoved() != nil })
	for _, incarnation := range []uint32{1, 2, 3} {
		if got := n2.claim(bob, incarnation).GetMoved(); got.GetEdge() != "n3" || got.GetIncarnation() != 3 {
			t.Errorf("claim %d: %v", incarnation, got)
		}
	}
	a, b := &signalpb.Member{Edge: "n2", Incarnation: 3}, &signalpb.Member{Edge: "n3", Incarnation: 3}
	if outranks(a, b) == outranks(b, a) {
		t.Error("equal claims")
	}
	other := cloneMember(bob)
	other.UserId = "eve"
	n2.says(&signalpb.Frame{Body: &signalpb.Frame_Takeover{Takeover: other}})
	if m := n2.member("bob"); m.GetEdge() != "n3" || m.GetUserId() != "bob" {
		t.Errorf("member %v", m)
	}
}

// TestClaimOfAStranger: a session that has left comes in again; one that was
// thrown out does not, and hears why.
func TestClaimOfAStranger(t *testing.T) {
	n2, n3, bob := two(t)
	r := n2.room()
	do := func(f func()) {
		t.Helper()
		if err := r.do(context.Background(), func() error { f(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	do(func() { r.remove([]store.SessionID{"bob"}, false) })
	n3.expect(func(f *signalpb.Frame) bool { return f.GetLeft() != nil })
	if got := n3.claim(bob, 2).GetJoined(); got.GetSession() != "bob" || got.GetEdge() != "n3" {
		t.Errorf("joined: %v", got)
	}
	do(func() { r.kick([]store.SessionID{"bob"}, &signalpb.Kick{Disinvited: wire.ReasonDisinvited}) })
	n3.expect(func(f *signalpb.Frame) bool { return f.GetLeft() != nil })
	if got := n3.claim(bob, 3).GetKick(); got.GetDisinvited() != wire.ReasonDisinvited {
		t.Errorf("kick %v", got)
	}
}

// withoutLease is a home that the cluster has not heard from.
type withoutLease struct{ alone }

func (withoutLease) Acts(store.RoomID, uint64) bool { return false }

// TestClaimWithoutLease: a home without a lease moves nobody.
func TestClaimWithoutLease(t *testing.T) {
	n2, n3, bob := two(t)
	if err := n2.room().do(context.Background(), func() error { n2.hub.deps.Places = withoutLease{}; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := n3.claim(bob, 2).GetRefused(); got.GetReason() != signalpb.Refused_REASON_DETACHED || got.GetSession() != "bob" {
		t.Errorf("answer %v", got)
	}
	n2.quiet()
}

// TestClaimsOfANewHome: whoever attaches first, the higher incarnation has the
// session in the end, and nobody leaves or joins.
func TestClaimsOfANewHome(t *testing.T) {
	old := &signalpb.Member{Session: "bob", UserId: "bob", Edge: "n2", Incarnation: 1, Number: 1}
	later := &signalpb.Member{Session: "bob", UserId: "bob", Edge: "n3", Incarnation: 2, Number: 1}
	eve := &signalpb.Member{Session: "eve", UserId: "eve", Edge: "n4", Incarnation: 1, Number: 2}
	attaches := map[store.NodeID]*signalpb.Attach{
		"n2": {Own: []*signalpb.Member{old}, Known: []*signalpb.Member{eve}},
		"n3": {Own: []*signalpb.Member{later}, Known: []*signalpb.Member{eve}},
		"n4": {Own: []*signalpb.Member{eve}, Known: []*signalpb.Member{old}},
		"n5": {Own: []*signalpb.Member{{Session: "joe", Edge: "n5", Number: 3}}, Known: []*signalpb.Member{later, eve}},
	}
	for _, order := range [][]store.NodeID{
		{"n2", "n3", "n4", "n5"}, {"n3", "n2", "n4", "n5"}, {"n4", "n5", "n3", "n2"}, {"n5", "n2", "n3", "n4"}, {"n4", "n2", "n5", "n3"},
	} {
		first := newFarEdge(t)
		edges := map[store.NodeID]*farEdge{"n2": first, "n3": first.another("n3"), "n4": first.another("n4"), "n5": first.another("n5")}
		for _, id := range order {
			edges[id].attach(attaches[id])
		}
		if m := first.member("bob"); m.GetEdge() != "n3" || m.GetIncarnation() != 2 {
			t.Errorf("%v: bob is %v", order, m)
		}
		for _, e := range edges {
			for len(e.out) > 0 {
				if f := <-e.out; f.GetLeft() != nil || f.GetJoined() != nil && f.GetJoined().GetNumber() == 0 {
					t.Errorf("%v: %s hears %v", order, e.node, f)
				}
			}
		}
	}
}

// TestEdgeBeginsAnew: a node that has forgotten its people has not lost them at
// once: they have the time to come back.
func TestEdgeBeginsAnew(t *testing.T) {
	n2, n3, bob := two(t)
	r := n2.room()
	r.edgeLost("n2")
	joe := &signalpb.Member{Session: "joe", UserId: "joe"}
	if err := r.do(context.Background(), func() error { r.edges["n2"].life = 1; return nil }); err != nil {
		t.Fatal(err)
	}
	if s := n2.attach(&signalpb.Attach{Own: []*signalpb.Member{joe}, Life: 2}); len(s.GetMembers()) != 4 {
		t.Errorf("members %v", s.GetMembers())
	}
	n3.expect(func(f *signalpb.Frame) bool { return f.GetJoined().GetSession() == "joe" })
	if moved := n2.claim(bob, 2).GetMoved(); moved.GetEdge() != "n2" || moved.GetIncarnation() != 2 {
		t.Errorf("moved %v", moved)
	}
	r.edgeLost("n2")
	n2.attach(&signalpb.Attach{Own: []*signalpb.Member{joe}, Life: 3})
	n3.quiet()
	if err := r.do(context.Background(), func() error { r.giveUpOrphans(time.Now().Add(time.Minute)); return nil }); err != nil {
		t.Fatal(err)
	}
	if left := n3.expect(func(f *signalpb.Frame) bool { return f.GetLeft() != nil }).GetLeft().GetSessions(); len(left) != 2 || slices.Contains(left, "joe") {
		t.Errorf("left %v", left)
	}
}

// nearEdge is a replica whose home is n2, with sam here, bob at n2 and eve at n3.
type nearEdge struct {
	*replica
	home, n3 *farEdge
	sam      *Session
	seq      uint64
}

func newNearEdge(t *testing.T) *nearEdge {
	t.Helper()
	n2 := newFarEdge(t)
	r, err := n2.hub.openReplica(n2.id, store.Home{Node: "n2", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := &nearEdge{replica: r, home: n2, n3: n2.another("n3"), sam: n2.session("sam", 1)}
	r.join(&pendingJoin{session: e.sam, seat: &seat{replica: r}, member: &signalpb.Member{Session: "sam", Incarnation: 1}, done: make(chan error, 1)})
	e.snapshot(
		&signalpb.Member{Session: "sam", Edge: "n1", Incarnation: 1, Number: 1},
		&signalpb.Member{Session: "bob", Edge: "n2", Incarnation: 1, Number: 2, InCall: 7},
		&signalpb.Member{Session: "eve", Edge: "n3", Incarnation: 1, Number: 3})
	e.sam.queue = nil
	return e
}

func (e *farEdge) session(id store.SessionID, incarnation uint32) *Session {
	e.t.Helper()
	s := e.hub.newSession(id, identity{}, incarnation)
	e.t.Cleanup(s.desk.Close)
	if err := e.hub.add(s); err != nil {
		e.t.Fatal(err)
	}
	return s
}

func (e *nearEdge) snapshot(members ...*signalpb.Member) {
	e.seq = 0
	e.receive("n2", &signalpb.Frame{Room: roomOf(e.id), Epoch: 1, Body: &signalpb.Frame_Snapshot{Snapshot: &signalpb.Snapshot{Members: members}}})
}

func (e *nearEdge) event(f *signalpb.Frame) {
	e.seq++
	f.Room, f.Epoch, f.Seq = roomOf(e.id), 1, e.seq
	e.receive("n2", f)
}

// heard is what a session was told.
func heard(s *Session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(bytes.Join(s.queue, []byte("\n")))
}

// TestSaidInOrder: what was on its way to a home that is none any more comes before
// what is said after that, while there is no other.
func TestSaidInOrder(t *testing.T) {
	e := newNearEdge(t)
	say := func(what string) {
		e.say(&signalpb.Say{Session: "sam", To: wire.ToRoom, Data: []byte(what)})
	}
	hear := func(want string) {
		t.Helper()
		if f := e.n3.expect(func(f *signalpb.Frame) bool { return f.GetSaid() != nil }); string(f.GetSaid().GetData()) != want {
			t.Errorf("heard %s, not %s", f.GetSaid().GetData(), want)
		}
	}
	say("1")
	e.event(&signalpb.Frame{Heard: e.number}) // the home has passed it on
	say("2")
	e.follow(store.Home{Node: "n4", Epoch: 2}, true)
	say("3")
	say("4")
	for _, want := range []string{"2", "3", "4"} {
		hear(want)
	}
}

// TestMovedAway: a session of this edge that goes on at another one ends here
// without a word to others, and messages find it there.
func TestMovedAway(t *testing.T) {
	e := newNearEdge(t)
	joe := e.home.session("joe", 1)
	e.join(&pendingJoin{session: joe, seat: &seat{replica: e.replica}, member: &signalpb.Member{Session: "joe", Incarnation: 1}, done: make(chan error, 1)})
	e.event(&signalpb.Frame{Body: &signalpb.Frame_Joined{Joined: &signalpb.Member{Session: "joe", Edge: "n1", Incarnation: 1}}})
	e.sam.queue = nil
	e.event(&signalpb.Frame{Body: &signalpb.Frame_Moved{Moved: &signalpb.Member{Session: "joe", Edge: "n3", Incarnation: 2}}})
	if joe.currentSeat() != nil || e.hub.session("joe") != nil || heard(e.sam) != "" {
		t.Errorf("joe is in %v; sam heard %s", joe.currentSeat(), heard(e.sam))
	}
	e.hub.toSession("", "joe", []byte(`{}`))
	e.n3.expect(func(f *signalpb.Frame) bool { return f.GetDirect().GetSession() == "joe" })
	for len(e.home.out) > 0 {
		if f := <-e.home.out; f.GetLeave() != nil {
			t.Errorf("the home hears %v", f)
		}
	}
}

// TestTakeOverHere: this edge claims a session at the home, and while there is
// none at the other edges; it keeps it until the home has heard.
func TestTakeOverHere(t *testing.T) {
	for _, detached := range []bool{false, true} {
		e := newNearEdge(t)
		if detached {
			e.linkChanged("n2", false)
			e.home.expect(func(f *signalpb.Frame) bool { return f.GetAttach() != nil }) // the first one
		}
		bob := e.home.session("bob", 2)
		pub := media.Publication{ID: media.PubID{Session: "bob", Incarnation: 2, Kind: "video", Generation: 1}, Data: true}
		if !e.takeOver(bob, &seat{replica: e.replica}, []media.Publication{pub}) || bob.currentSeat() == nil {
			t.Fatal("not taken over")
		}
		if e.takeOver(bob, &seat{replica: e.replica}, nil) {
			t.Error("taken over twice")
		}
		if !detached {
			e.home.expect(func(f *signalpb.Frame) bool { return f.GetTakeover().GetEdge() == "n1" })
			e.home.expect(func(f *signalpb.Frame) bool { return f.GetAnnounce() != nil })
		} else {
			e.n3.expect(func(f *signalpb.Frame) bool { return f.GetMoved().GetEdge() == "n1" && f.GetEpoch() == 0 })
			e.n3.expect(func(f *signalpb.Frame) bool { return f.GetPublished() != nil })
			e.linkChanged("n2", true)
			own := e.home.expect(func(f *signalpb.Frame) bool { return f.GetAttach() != nil }).GetAttach()
			if len(own.GetOwn()) != 2 || len(own.GetOwnPublications()) != 1 {
				t.Errorf("attach %v", own)
			}
		}
		// A snapshot from before: the home is told again.
		e.snapshot(
			&signalpb.Member{Session: "sam", Edge: "n1", Incarnation: 1, Number: 1},
			&signalpb.Member{Session: "bob", Edge: "n2", Incarnation: 1, Number: 2, InCall: 7})
		claim := e.home.expect(func(f *signalpb.Frame) bool { return f.GetTakeover() != nil }).GetTakeover()
		if claim.GetIncarnation() != 2 || claim.GetInCall() != 7 || bob.currentSeat() == nil {
			t.Errorf("claim %v, bob in %v", claim, bob.currentSeat())
		}
		// Nor does it lose the session to one that comes in by an earlier claim.
		earlier := cloneMember(claim)
		earlier.Edge, earlier.Incarnation = "n3", 1
		e.event(&signalpb.Frame{Body: &signalpb.Frame_Joined{Joined: earlier}})
		if m := e.members["bob"]; m.GetEdge() != "n1" || bob.currentSeat() == nil {
			t.Errorf("bob is %v", m)
		}
		e.event(&signalpb.Frame{Body: &signalpb.Frame_Moved{Moved: claim}})
		if len(e.claims.sessions) != 0 {
			t.Errorf("claims %v", e.claims.sessions)
		}
	}
}

// TestJoinedElsewhere: a session of this edge that comes in anew at another one
// ends here.
func TestJoinedElsewhere(t *testing.T) {
	e := newNearEdge(t)
	e.event(&signalpb.Frame{Body: &signalpb.Frame_Left{Left: &signalpb.Left{Sessions: []string{"sam"}}}})
	e.event(&signalpb.Frame{Body: &signalpb.Frame_Joined{Joined: &signalpb.Member{Session: "sam", Edge: "n3", Incarnation: 2}}})
	if e.sam.currentSeat() != nil || e.hub.session("sam") != nil {
		t.Errorf("sam is in %v", e.sam.currentSeat())
	}
}

// TestClaimOfEdge: while there is no home the word of an edge holds, for its own
// sessions, and over that of a home that has not heard it yet.
func TestClaimOfEdge(t *testing.T) {
	e := newNearEdge(t)
	e.linkChanged("n2", false)
	claim := &signalpb.Member{Session: "bob", Edge: "n3", Incarnation: 2}
	published := announcement("bob", 2, "n3").GetAnnounce()
	for _, from := range []store.NodeID{"n4", "n3"} {
		e.receive(from, &signalpb.Frame{Room: roomOf(e.id), Body: &signalpb.Frame_Moved{Moved: claim}})
		e.receive(from, &signalpb.Frame{Room: roomOf(e.id), Body: &signalpb.Frame_Published{Published: published}})
		if moved := e.members["bob"].GetEdge() == "n3"; moved != (from == "n3") || (len(e.pubs) == 1) != moved {
			t.Errorf("from %s: %v, %v", from, e.members["bob"], e.pubs)
		}
	}
	e.linkChanged("n2", true)
	e.snapshot(
		&signalpb.Member{Session: "sam", Edge: "n1", Incarnation: 1, Number: 1},
		&signalpb.Member{Session: "bob", Edge: "n2", Incarnation: 1, Number: 2, InCall: 5},
		&signalpb.Member{Session: "eve", Edge: "n3", Incarnation: 1, Number: 3})
	if m := e.members["bob"]; m.GetEdge() != "n3" || m.GetInCall() != 5 || len(e.pubs) != 1 {
		t.Errorf("bob is %v, published %v", m, e.pubs)
	}
	if s := heard(e.sam); bytes.Contains([]byte(s), []byte(`"join"`)) || bytes.Contains([]byte(s), []byte(`"leave"`)) {
		t.Errorf("sam heard %s", s)
	}
}
