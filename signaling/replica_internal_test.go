package signaling

import (
	"testing"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// TestStatedAtANewHome: what an edge says of its own virtual sessions holds at a new home,
// whatever another edge knew of them.
func TestStatedAtANewHome(t *testing.T) {
	own := newFarEdge(t)
	other := own.another("n3")
	phone := func(flags uint32) *signalpb.Member {
		return &signalpb.Member{
			Session: "phone", Edge: "n2", InCall: int32(flags), Incarnation: 1, Number: 1,
			Public: []byte(`{"inCall":` + itoa(int32(flags)) + `}`), Virtual: &signalpb.Virtual{Owner: "bridge", Flags: flags},
		}
	}
	other.attach(&signalpb.Attach{Own: []*signalpb.Member{{Session: "carol"}}, Known: []*signalpb.Member{phone(4)}})
	for _, m := range own.attach(&signalpb.Attach{Own: []*signalpb.Member{phone(5)}}).GetMembers() {
		if m.GetVirtual() != nil && (m.GetVirtual().GetFlags() != 5 || m.GetInCall() != 5 || string(m.GetPublic()) != `{"inCall":5}`) {
			t.Errorf("its edge is told %v", m)
		}
	}
	told := other.expect(func(f *signalpb.Frame) bool { return f.GetUsers() != nil }).GetUsers().GetUsers()
	if len(told) != 1 || told[0].GetFlags() != 5 || told[0].GetInCall() != 5 {
		t.Errorf("the other one is told %v", told)
	}
}

// TestStatedByItsEdge: an edge says what its client says, not what it has heard of it last.
func TestStatedByItsEdge(t *testing.T) {
	h := lonely(t)
	out := make(chan *signalpb.Frame, 8)
	h.peers["n2"] = &peer{hub: h, id: "n2", out: out}
	r, err := h.openReplica(store.RoomID{Name: "room"}, store.Home{Node: "n3", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	phone := &Session{id: "phone", as: &virtual{}}
	phone.own.flags.Store(5)
	phone.own.inCall.Store(9)
	far := &Session{id: "far", who: identity{federated: true}}
	r.mu.Lock()
	r.local["phone"], r.local["far"] = phone, far
	r.members["phone"] = &signalpb.Member{Session: "phone", Edge: "n1", InCall: 9, Virtual: &signalpb.Virtual{Flags: 4}}
	r.members["far"] = &signalpb.Member{Session: "far", Edge: "n1"} // by a home that knew of no federation
	r.mu.Unlock()
	r.follow(store.Home{Node: "n2", Epoch: 2}, true)
	for f := range out {
		if a := f.GetAttach(); a != nil {
			own := make(map[string]*signalpb.Member)
			for _, m := range a.GetOwn() {
				own[m.GetSession()] = m
			}
			if len(own) != 2 || own["phone"].GetVirtual().GetFlags() != 5 || own["phone"].GetFederated() || !own["far"].GetFederated() {
				t.Errorf("it says %v", a.GetOwn())
			}
			return
		}
	}
}
