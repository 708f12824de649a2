package signaling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// lonely is a hub without other nodes.
func lonely(t testing.TB) *Hub {
	t.Helper()
	h, err := NewHub(Config{}, Deps{
		Self: "n1", Engine: alone{}, Places: alone{}, Nodes: alone{}, Peers: alone{}, Guesses: alone{},
		Seal: func(string) Sealer { return alone{} }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.shutdown)
	return h
}

// TestFullRoom: a room that has too much to do refuses, and the link goes on for
// the others.
func TestFullRoom(t *testing.T) {
	h := lonely(t)
	out := make(chan *signalpb.Frame, 1)
	h.peers["n2"] = &peer{hub: h, id: "n2", out: out, reset: func() { t.Error("the link is reset") }}
	id := store.RoomID{Name: "room"}
	r, err := h.homeRoom(id, 1)
	if err != nil {
		t.Fatal(err)
	}
	busy, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	err = r.inbox.post(func() {
		close(busy)
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	<-busy
	for r.inbox.post(func() {}) == nil {
		continue
	}
	say := &signalpb.Frame{Room: roomOf(id), Epoch: 1, Body: &signalpb.Frame_Say{Say: &signalpb.Say{Session: "s", Number: 1}}}
	if err := h.receive("n2", say); err != nil {
		t.Fatalf("the link ends: %v", err)
	}
	if f := <-out; f.GetRefused().GetReason() != signalpb.Refused_REASON_FULL || f.GetEpoch() != 1 {
		t.Errorf("answer %v", f)
	}
}

// TestRefusedByFullRoom: an edge whose frame was refused starts over.
func TestRefusedByFullRoom(t *testing.T) {
	h := lonely(t)
	out := make(chan *signalpb.Frame, 8)
	h.peers["n2"] = &peer{hub: h, id: "n2", out: out}
	id := store.RoomID{Name: "room"}
	r, err := h.openReplica(id, store.Home{Node: "n2", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	r.join(&pendingJoin{session: &Session{id: "s"}, seat: &seat{replica: r}, member: &signalpb.Member{Session: "s"}, done: done})
	if (<-out).GetAttach() == nil {
		t.Fatal("no attach")
	}
	r.receive("n2", refusal(id, 1, "", signalpb.Refused_REASON_FULL))
	r.again = time.Time{} // as if that had been a while ago
	r.retry()
	if a := (<-out).GetAttach(); len(a.GetOwn()) != 1 || len(done) != 0 {
		t.Errorf("attach %v", a)
	}
}

// TestOverflowOnce: a queue that is full ends its session or its connection once,
// however much more is said to it.
func TestOverflowOnce(t *testing.T) {
	h := lonely(t)
	away := h.newSession("away", identity{}, 1)
	for range maxQueuedAway + 1000 {
		away.send([]byte("{}"))
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(h.metrics.overflows)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d metrics: %v", len(families), err)
	}
	if n := families[0].GetMetric()[0].GetCounter().GetValue(); n != 1 {
		t.Errorf("given up %v times", n)
	}
	if away.attach(&conn{}) {
		t.Error("taken up again, with a gap")
	}
}

// TestRateArithmetic: a burst, then one in a while; what is long counts for
// several; rest gives it all back.
func TestRateArithmetic(t *testing.T) {
	now := time.Unix(1, 0)
	for size, tokens := range map[int]int{0: 1, rateBytes - 1: 1, rateBytes: 2, 10 * rateBytes: 11} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var r rate
			cost := cost(&wire.ClientMessage{Type: wire.TypeMessage}, size)
			if cost != tokens {
				t.Errorf("costs %d, want %d", cost, tokens)
			}
			burst := func(at time.Time) (n int, wait time.Duration) {
				for ; ; n++ {
					if wait = r.take(at, cost); wait > 0 {
						return n, wait
					}
				}
			}
			if n, wait := burst(now); n != rateBurst/cost || wait > time.Duration(cost)*rateInterval {
				t.Errorf("%d at once, then wait %v", n, wait)
			}
			if n, _ := burst(now.Add(100 * time.Duration(cost) * rateInterval)); n != 100 {
				t.Errorf("%d after a while", n)
			}
			if n, _ := burst(now.Add(time.Hour)); n != rateBurst/cost {
				t.Errorf("%d after a rest", n)
			}
		})
	}
}

// TestRateOwed: what is taken before it is there is not there for what comes next.
func TestRateOwed(t *testing.T) {
	now, r := time.Unix(1, 0), rate{}
	if wait := r.owe(now, rateBurst); wait != 0 {
		t.Errorf("wait %v for what is there", wait)
	}
	for range 3 {
		wait := r.owe(now, 10)
		if wait != 10*rateInterval {
			t.Errorf("wait %v", wait)
		}
		now = now.Add(wait)
	}
}

// TestFarRoomCosts: a client lets its node connect to where it likes once a second.
func TestFarRoomCosts(t *testing.T) {
	m := &wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{Federation: &wire.Federation{}}}
	var r rate
	now, n := time.Unix(1, 0), 0
	for r.take(now, cost(m, 100)) == 0 {
		n++
	}
	if again := r.take(now.Add(1100*time.Millisecond), cost(m, 100)); n != 19 || again != 0 {
		t.Errorf("%d at once, then wait %v", n, again)
	}
}

// TestLargeFrame: a snapshot that the other end would not take is not sent; the
// link stays.
func TestLargeFrame(t *testing.T) {
	h := lonely(t)
	out := make(chan *signalpb.Frame, 8)
	p := &peer{hub: h, id: "n2", out: out, reset: func() { t.Error("the link is reset") }}
	members := make([]*signalpb.Member, 5)
	for i := range members {
		members[i] = &signalpb.Member{User: make([]byte, 1<<20)}
	}
	if p.send(&signalpb.Frame{Body: &signalpb.Frame_Snapshot{Snapshot: &signalpb.Snapshot{Members: members}}}) {
		t.Error("sent")
	}
	if !p.send(&signalpb.Frame{Body: &signalpb.Frame_Snapshot{Snapshot: &signalpb.Snapshot{Members: members[:3]}}}) || len(out) != 1 {
		t.Error("not sent")
	}
}

// TestHangingBackend: questions to a backend that hangs are bounded, and hold up
// no other backend.
func TestHangingBackend(t *testing.T) {
	h := lonely(t)
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	n := 0
	for h.callback("hangs", hang) {
		n++
	}
	if n != maxCallbacks {
		t.Errorf("%d wait", n)
	}
	asked := make(chan struct{})
	if !h.callback("other", func(context.Context) error { close(asked); return nil }) {
		t.Fatal("not asked")
	}
	<-asked
}

// TestOffersCostMore: who asks for connections without end is refused earlier
// than who talks.
func TestOffersCostMore(t *testing.T) {
	h := lonely(t)
	s := h.newSession("s", identity{}, 1)
	t.Cleanup(s.desk.Close)
	s.seat = &seat{}
	for range rateBurst/costOffer + 10 {
		s.media("m", "other", &wire.MediaMessage{Type: wire.MediaRequestOffer, RoomType: "chair"}) // asks for nothing that there is
	}
	last := string(s.queue[len(s.queue)-1])
	if !strings.Contains(last, string(wire.CodeTooManyRequests)) {
		t.Errorf("answer %s", last)
	}
}

// TestOneAddress: nobody takes all places of a node from one address, neither
// before hello nor after it; those of others stay.
func TestOneAddress(t *testing.T) {
	h := lonely(t)
	h.cfg.MaxSessions = 4 * maxStrangers / connsPerSession * 2
	from := func(addr string) *conn { return &conn{hub: h, addr: netip.MustParseAddr(addr)} }
	var conns []*conn
	for range maxStrangers {
		c := from("192.0.2.1")
		if !h.addConn(c) {
			t.Fatalf("%d taken", len(conns))
		}
		conns = append(conns, c)
	}
	if h.addConn(from("192.0.2.1")) {
		t.Error("one stranger too many")
	}
	if !h.addConn(from("192.0.2.2")) {
		t.Error("another address is refused")
	}
	for _, c := range conns {
		h.introduced(c)
		h.introduced(c)
	}
	for len(conns) < h.cfg.MaxSessions*connsPerSession/addressShare {
		c := from("192.0.2.1")
		if !h.addConn(c) {
			t.Fatalf("%d taken", len(conns))
		}
		h.introduced(c)
		conns = append(conns, c)
	}
	if h.addConn(from("192.0.2.1")) {
		t.Error("one connection too many")
	}
	for _, c := range conns {
		h.removeConn(c)
	}
	if !h.addConn(from("192.0.2.1")) || len(h.visitors) != 2 {
		t.Errorf("after that: %v", h.visitors)
	}
}

// TestHomesAfterRestart: a node that was the home of rooms before it restarted is
// so again, also if nobody comes to them: somebody has to give them back.
func TestHomesAfterRestart(t *testing.T) {
	h := lonely(t)
	id := store.RoomID{Name: "forgotten"}
	h.deps.HomesOf = func() []store.RoomID { return []store.RoomID{id} }
	h.placesChanged()
	if h.room(id) == nil {
		t.Error("not the home")
	}
}

// TestRoomFails: what goes wrong in one room ends neither the node nor the room.
func TestRoomFails(t *testing.T) {
	e := newFarEdge(t)
	own := &signalpb.Attach{Own: []*signalpb.Member{{Session: "bob"}}}
	e.attach(own)
	failed := e.room()
	if err := failed.inbox.post(func() { panic("as a test") }); err != nil {
		t.Fatal(err)
	}
	<-failed.done
	if s := e.attach(own); len(s.GetMembers()) != 1 || e.room() == failed {
		t.Errorf("snapshot %v", s)
	}
}

// Only clients that list it hear of video that is left out: to others the event
// is unknown.
func TestShedIsForWhoAsks(t *testing.T) {
	h := lonely(t)
	for feature, want := range map[string]int{wire.ClientMove: 0, wire.ClientShed: 1} {
		s := h.newSession("s", identity{features: []string{feature}}, 1)
		s.Shed(wire.Shed{SessionID: "other", RoomType: wire.RoomTypeVideo, SID: "1", State: wire.ShedPaused})
		if len(s.queue) != want {
			t.Errorf("feature %q: %d events", feature, len(s.queue))
		}
	}
}

// TestVirtualLimit: one service does not fill the memory.
func TestVirtualLimit(t *testing.T) {
	h := lonely(t)
	s := h.newSession("bridge", identity{internal: true}, 1)
	for i := range maxVirtual {
		if v, err := s.newVirtual(&wire.AddSession{SessionID: wire.VirtualID(itoa(int32(i))), RoomID: "room"}); v == nil || err != nil {
			t.Fatalf("virtual session %d: %v", i, err)
		}
	}
	if _, err := s.newVirtual(&wire.AddSession{SessionID: "one more", RoomID: "room"}); !errors.Is(err, wire.ErrSessionLimit) {
		t.Errorf("one more: %v", err)
	}
	if v, err := s.newVirtual(&wire.AddSession{SessionID: "0", RoomID: "room"}); v != nil || err != nil {
		t.Errorf("one that is there: %v, %v", v, err)
	}
	s.end("")
	if len(s.virtual) != 0 {
		t.Errorf("%d are left", len(s.virtual))
	}
	if _, err := s.newVirtual(&wire.AddSession{SessionID: "late", RoomID: "room"}); !errors.Is(err, wire.ErrNoSuchSession) {
		t.Errorf("of one that has ended: %v", err)
	}
}
