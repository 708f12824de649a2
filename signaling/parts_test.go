package signaling

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// crowd are so many members of a node, each as large as members get.
func crowd(n int, edge string) []*signalpb.Member {
	members := make([]*signalpb.Member, n)
	for i := range members {
		members[i] = &signalpb.Member{
			Session: fmt.Sprint(edge, "-", i), Edge: edge, RoomSession: fmt.Sprint("nc-", edge, "-", i),
			User: make([]byte, 2048), Public: []byte(`{"inCall":7}`), InCall: 7,
		}
	}
	return members
}

// TestLargeRoom: a room whose snapshot is larger than a message between nodes
// may be works all the same, in both directions.
func TestLargeRoom(t *testing.T) {
	const n = 3000
	e := newFarEdge(t)
	e.says(&signalpb.Frame{Body: &signalpb.Frame_Attach{Attach: &signalpb.Attach{Own: crowd(1, "n2")}}})
	e.snapshot()
	own := cutAttach(&signalpb.Attach{Own: crowd(n, "n2"), Known: crowd(10, "n3"), Unheard: []*signalpb.Say{{Session: "n2-0", To: wire.ToRoom, Number: 1}}})
	if len(own) < 5 {
		t.Fatalf("%d parts", len(own))
	}
	for _, part := range own {
		e.says(&signalpb.Frame{Body: &signalpb.Frame_Attach{Attach: part}})
	}
	s := e.snapshot()
	if len(s.GetMembers()) != n+10 {
		t.Fatalf("%d members", len(s.GetMembers()))
	}
	e.expect(func(f *signalpb.Frame) bool { return f.GetSaid() != nil })

	h := lonely(t)
	r, err := h.openReplica(e.id, store.Home{Node: "n2", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.pending["me"] = &pendingJoin{} // so that it stays
	parts := cutSnapshot(s)
	give := func(parts ...*signalpb.Snapshot) {
		for _, p := range parts {
			r.receive("n2", &signalpb.Frame{Room: roomOf(e.id), Epoch: 1, Seq: 7, Body: &signalpb.Frame_Snapshot{Snapshot: p}})
		}
	}
	// What is left of an earlier one, or has a gap, is not taken for the whole.
	give(parts[1:]...)
	give(slices.Delete(slices.Clone(parts), 1, 2)...)
	if len(r.members) != 0 || r.attached {
		t.Fatalf("%d members of half a snapshot", len(r.members))
	}
	r.pending = map[store.SessionID]*pendingJoin{}
	r.local["me"] = h.newSession("me", identity{}, 1)
	t.Cleanup(r.local["me"].desk.Close)
	r.members["me"] = &signalpb.Member{Session: "me", Edge: "n1"}
	parts = cutSnapshot(&signalpb.Snapshot{Members: append(s.GetMembers(), r.members["me"]), Life: 5})
	give(parts...)
	if len(r.members) != n+11 || !r.attached || r.seqLife != 5 || r.seq != 7 {
		t.Errorf("%d members, life %d, event %d", len(r.members), r.seqLife, r.seq)
	}
}

// TestPartsAreSmall: each part of whatever is cut fits, and nothing gets lost.
func TestPartsAreSmall(t *testing.T) {
	all := &signalpb.Attach{
		Own: crowd(900, "n1"), Known: crowd(900, "n2"), CallSince: 1, Seq: 2, SeqEpoch: 3, SeqLife: 4,
		OwnPublications: [][]byte{make([]byte, maxPart), make([]byte, 2)}, KnownPublications: [][]byte{make([]byte, maxPart-1)},
	}
	parts := cutAttach(all)
	var w whole[signalpb.Attach, *signalpb.Attach]
	for i, p := range parts {
		if size := proto.Size(p); size > maxPart+maxPart/4 {
			t.Errorf("part %d has %d bytes", i, size)
		}
		if got := w.add(p); (got != nil) != (i == len(parts)-1) {
			t.Fatalf("part %d: %v", i, got != nil)
		} else if got != nil {
			got.Part, got.More = 0, false
			if !proto.Equal(got, all) {
				t.Error("not what it was")
			}
		}
	}
	if one := cutSnapshot(&signalpb.Snapshot{CallSince: 1}); len(one) != 1 || one[0].GetMore() || one[0].GetCallSince() != 1 {
		t.Errorf("an empty one: %v", one)
	}
}

// TestAnotherLife: a home that has restarted under the same epoch counts its
// events anew; an edge that has heard of more gets all that was said since.
func TestAnotherLife(t *testing.T) {
	e := newFarEdge(t)
	own := []*signalpb.Member{{Session: "bob"}}
	first := e.attach(&signalpb.Attach{Own: own})
	e.says(&signalpb.Frame{Body: &signalpb.Frame_Say{Say: &signalpb.Say{Session: "bob", To: wire.ToRoom, Number: 1}}})
	e.expect(func(f *signalpb.Frame) bool { return f.GetSaid() != nil })
	for life, missed := range map[uint64]int{first.GetLife(): 0, first.GetLife() + 1: 1} {
		if s := e.attach(&signalpb.Attach{Own: own, Seq: 1000, SeqEpoch: 1, SeqLife: life}); len(s.GetMissed()) != missed {
			t.Errorf("missed %v, want %d", s.GetMissed(), missed)
		}
	}
}

// TestRefusalsSlowDown: a home that is detached is asked less and less often.
func TestRefusalsSlowDown(t *testing.T) {
	h := lonely(t)
	out := make(chan *signalpb.Frame, 8)
	h.peers["n2"] = &peer{hub: h, id: "n2", out: out}
	id := store.RoomID{Name: "room"}
	r, err := h.openReplica(id, store.Home{Node: "n2", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.local["me"] = h.newSession("me", identity{}, 1) // so that it stays
	t.Cleanup(r.local["me"].desk.Close)
	var last time.Duration
	for i := range 8 {
		r.receive("n2", refusal(id, 1, "", signalpb.Refused_REASON_DETACHED))
		wait := time.Until(r.again)
		if wait > attachWait || wait < last && wait < attachWait/2 {
			t.Errorf("refusal %d: wait %v after %v", i, wait, last)
		}
		last = wait
		for len(out) > 0 {
			<-out
		}
		r.retry()
		if len(out) != 0 {
			t.Errorf("refusal %d: asked at once", i)
		}
	}
	r.again = time.Now()
	r.retry()
	if len(out) != 1 {
		t.Error("not asked any more")
	}
}

// TestBytesAreBounded: what waits for a room or for a peer is bounded in bytes,
// not only in number.
func TestBytesAreBounded(t *testing.T) {
	h := lonely(t)
	say := func() *signalpb.Frame {
		return &signalpb.Frame{Body: &signalpb.Frame_Said{Said: &signalpb.Say{Data: make([]byte, wire.MaxFrame)}}}
	}
	reset := false
	p := &peer{hub: h, id: "n2", out: make(chan *signalpb.Frame, maxOutbox), reset: func() { reset = true }}
	out := p.out
	n := 0
	for p.send(say()) {
		n++
	}
	if most := maxOutboxBytes / wire.MaxFrame; n > most || n < most-2 || !reset {
		t.Errorf("%d frames wait for a peer", n)
	}
	// What has been sent makes room.
	p.out = out
	p.sent(out, proto.Size(<-out))
	if !p.send(say()) {
		t.Error("no room for one more")
	}

	b := inbox{wake: make(chan struct{}, 1)}
	n = 0
	for b.postBytes(func() {}, wire.MaxFrame) == nil {
		n++
	}
	if n != maxInboxBytes/wire.MaxFrame {
		t.Errorf("%d frames wait for a room", n)
	}
	b.take()
	if err := b.postBytes(func() {}, wire.MaxFrame); err != nil {
		t.Errorf("after that: %v", err)
	}
}
