package signaling

import (
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// TestUnsure: what was sent before a beat that was heard has been heard, and the rest is
// kept, within bounds.
func TestUnsure(t *testing.T) {
	u := &unsure{pulse: &pulse{}}
	say := func(number uint64) *signalpb.Frame {
		return userFrame(&signalpb.User{Number: number, Frame: []byte("{}")}, []string{"alice"})
	}
	left := func(what string, want ...uint64) {
		t.Helper()
		var got []uint64
		for _, f := range u.list {
			got = append(got, f.frame.GetUser().GetNumber()+f.frame.GetDirect().GetNumber())
		}
		if !slices.Equal(got, want) || u.bytes != 2*len(want) {
			t.Errorf("%s: %v are left, of %d bytes; want %v", what, got, u.bytes, want)
		}
	}
	u.add(say(1))
	u.add(say(0)) // of an older node
	u.add(&signalpb.Frame{Body: &signalpb.Frame_Say{Say: &signalpb.Say{Number: 7}}})
	u.confirm()
	left("nothing heard", 1)
	u.pulse.beat()
	u.add(say(2))
	u.pulse.beat()
	u.add(&signalpb.Frame{Body: &signalpb.Frame_Direct{Direct: &signalpb.Direct{Number: 3, Frame: []byte("{}")}}})
	u.pulse.heard(&signalpb.Frame{Seq: 1, Heard: 1})
	u.confirm()
	left("the first beat heard", 2, 3)
	u.pulse.heard(&signalpb.Frame{Seq: 2, Heard: 2})
	u.confirm()
	left("the second one heard", 3)
	for range 2 * maxOutbox {
		u.add(say(4))
	}
	if len(u.list) > maxOutbox {
		t.Errorf("%d are kept", len(u.list))
	}
}

// TestSayAgain: what a node was to pass on goes to all others, and to itself when it is
// back; what was for its own users, to itself.
func TestSayAgain(t *testing.T) {
	e := newFarEdge(t)
	lost := &peer{hub: e.hub, id: "n3"}
	e.hub.peers["n3"] = lost
	out := make(chan *signalpb.Frame, 2)
	sent := &unsure{pulse: &pulse{}}
	sent.add(userFrame(&signalpb.User{Number: 1, Origin: "n2"}, []string{"alice"}))
	routed := &signalpb.User{Number: 2, Origin: "n1", Route: 9, UserIds: []string{"bob"}}
	out <- &signalpb.Frame{Body: &signalpb.Frame_User{User: routed}}
	out <- &signalpb.Frame{Body: &signalpb.Frame_Leave{Leave: &signalpb.Leave{}}}
	lost.sayAgain(sent, out)
	u := (<-e.out).GetUser()
	if u.GetNumber() != 2 || u.GetOrigin() != "n1" || u.GetRoute() != 0 || len(e.out) > 0 {
		t.Errorf("others hear %v, and %d more", u, len(e.out))
	}
	var held []uint64
	for _, f := range lost.held {
		held = append(held, f.frame.GetUser().GetNumber())
	}
	if !slices.Equal(held, []uint64{1, 2}) {
		t.Errorf("it will hear %v", held)
	}
}

// TestSayAgainToASession: of what was said to a session this node looks for it anew, as it
// may be elsewhere by now; what it passed on for another goes where it went.
func TestSayAgainToASession(t *testing.T) {
	e := newFarEdge(t)
	lost := &peer{hub: e.hub, id: "n3"}
	e.hub.peers["n3"] = lost
	e.hub.forwards["bob"] = forward{to: "n2", expires: time.Now().Add(time.Hour)}
	out := make(chan *signalpb.Frame, 2)
	for number, origin := range map[uint64]string{1: "n1", 2: "n2"} {
		out <- &signalpb.Frame{Body: &signalpb.Frame_Direct{Direct: &signalpb.Direct{Session: "bob", Origin: origin, Number: number}}}
	}
	lost.sayAgain(&unsure{pulse: &pulse{}}, out)
	if d := (<-e.out).GetDirect(); d.GetNumber() != 1 || d.GetSession() != "bob" {
		t.Errorf("where it is now hears %v", d)
	}
	if len(lost.held) != 1 || lost.held[0].frame.GetDirect().GetNumber() != 2 {
		t.Errorf("it will hear %v", lost.held)
	}
}

// TestUserHearsOnce: what comes by two ways is heard once, by each user.
func TestUserHearsOnce(t *testing.T) {
	h := lonely(t)
	var sessions []*Session
	for _, user := range []string{"alice", "bob"} {
		s := h.newSession(store.SessionID("of-"+user), identity{userID: user}, 1)
		t.Cleanup(s.desk.Close)
		if err := h.add(s); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	say := func(origin string, number uint64, users ...string) {
		h.usersHere(&signalpb.User{UserIds: users, Frame: []byte("{}"), Origin: origin, Number: number})
	}
	say("n2", 1, "alice")
	say("n2", 1, "alice", "bob") // by the node that knew of one only, and then to all
	say("n3", 1, "alice")
	say("n2", 2, "bob")
	for i, want := range []int{2, 2} {
		if got := len(sessions[i].queue); got != want {
			t.Errorf("%s has heard %d, want %d", sessions[i].id, got, want)
		}
	}
	say("n2", 0, "alice")
	say("n2", 0, "alice")
	if got := len(sessions[0].queue); got != 4 {
		t.Errorf("of an older node: %d", got)
	}
}
