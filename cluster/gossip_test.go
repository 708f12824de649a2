package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/store"
)

func quietGossip() *gossip {
	return newGossip(store.Node{ID: "n1", ClusterAddr: "127.0.0.1:1"}, nil, slog.New(slog.DiscardHandler), func() {})
}

func gossipNode(name string) *memberlist.Node {
	return &memberlist.Node{Name: name, Meta: []byte(`{"c":"127.0.0.1:2"}`)}
}

// message is what a node would say of itself.
func message(t *testing.T, n news) []byte {
	t.Helper()
	data, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestStatesOfAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := quietGossip()
		expect := func(want MemberState) {
			t.Helper()
			if got, _ := g.state("n2", time.Now()); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		expect(StateDead) // never seen
		g.NotifyMsg(message(t, news{Node: "n2", Boot: 1, Seq: 9}))
		expect(StateDead) // nobody has met it
		g.NotifyJoin(gossipNode("n2"))
		expect(StateAlive)
		time.Sleep(loadStale + time.Second) // of the bubble
		expect(StateSuspect)
		g.NotifyMsg(message(t, news{Node: "n2", Boot: 1, Seq: 2, Load: Load{Sessions: 7}}))
		expect(StateAlive)
		g.NotifyMsg(message(t, news{Node: "n2", Boot: 1, Seq: 1, Draining: true})) // overtaken on the way
		expect(StateAlive)
		g.NotifyMsg(message(t, news{Node: "n2", Boot: 2, Seq: 1, Draining: true})) // after a restart
		expect(StateDraining)
		if addr, ok := g.clusterAddr("n2"); !ok || addr != "127.0.0.1:2" {
			t.Errorf("address %q", addr)
		}
		g.NotifyLeave(gossipNode("n2"))
		expect(StateDead)
		if id := <-g.dead; id != "n2" {
			t.Errorf("%s is dead", id)
		}
		if _, ok := g.clusterAddr("n2"); ok {
			t.Error("the dead have an address")
		}
		if got, _ := g.state("n1", time.Now()); got != StateAlive {
			t.Errorf("this node is %s", got)
		}
	})
}

func TestNewsArePassedOnOnce(t *testing.T) {
	g := quietGossip()
	g.NotifyJoin(gossipNode("n2"))
	said := message(t, news{Node: "n2", Boot: 1, Seq: 1, Load: Load{Sessions: 7}})
	g.NotifyMsg(said)
	g.NotifyMsg(said)
	g.measured(Load{CPU: math.NaN(), EgressBps: math.Inf(1), Sessions: 3})
	g.tell()
	passed := g.GetBroadcasts(2, 1400)
	if len(passed) != 2 {
		t.Fatalf("%d messages", len(passed))
	}
	for _, b := range passed {
		if len(b) > maxNews {
			t.Errorf("%d bytes", len(b))
		}
	}
	// A node that comes now gets the same at once.
	other := newGossip(store.Node{ID: "n3"}, nil, slog.New(slog.DiscardHandler), func() {})
	other.NotifyJoin(gossipNode("n1"))
	other.NotifyJoin(gossipNode("n2"))
	other.MergeRemoteState(g.LocalState(true), true)
	for id, sessions := range map[store.NodeID]int{"n1": 3, "n2": 7} {
		if _, load := other.state(id, time.Now()); load.Sessions != sessions {
			t.Errorf("%s: %+v", id, load)
		}
	}
}

func TestGossipIsBounded(t *testing.T) {
	g := quietGossip()
	for _, name := range []string{"", "Not A Node", strings.Repeat("x", 64), "n1"} {
		g.NotifyJoin(gossipNode(name))
	}
	if len(g.seen) != 0 {
		t.Errorf("%d nodes noted", len(g.seen))
	}
	for i := range maxSeen + 10 {
		g.NotifyJoin(gossipNode("m" + strings.Repeat("0", i%60) + string(rune('a'+i/60%26)) + string(rune('a'+i/1560))))
	}
	if len(g.seen) > maxSeen {
		t.Errorf("%d nodes noted", len(g.seen))
	}
	for range deadBacklog + 10 { // nobody reads: it must not block
		g.NotifyJoin(gossipNode("n2"))
		g.NotifyLeave(gossipNode("n2"))
	}
}

func FuzzNews(f *testing.F) {
	f.Add([]byte(`{"n":"n2","b":1,"s":1,"d":true,"l":{"cpu":0.5,"sessions":3}}`))
	f.Add([]byte(`[{"n":"n2","b":9223372036854775807,"s":18446744073709551615,"l":{}}]`))
	f.Add([]byte(`{"n":"n2","l":{"cpu":1e999}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := quietGossip()
		g.NotifyJoin(gossipNode("n2"))
		g.NotifyJoin(&memberlist.Node{Name: "n3", Meta: data})
		g.NotifyMsg(data)
		g.MergeRemoteState(data, false)
		if len(g.seen) != 2 {
			t.Fatalf("%d nodes", len(g.seen))
		}
		if addr, ok := g.clusterAddr("n3"); ok && checkAddr(addr) != nil {
			t.Fatalf("address %q", addr)
		}
		for _, b := range g.GetBroadcasts(2, 1400) {
			if len(b) > maxNews {
				t.Fatalf("%d bytes", len(b))
			}
		}
		if json.Unmarshal(g.LocalState(true), new([]news)) != nil {
			t.Fatal("the state cannot be told")
		}
	})
}

// What a stranger sends to the join port is bounded before it is held.
func FuzzJoinRequest(f *testing.F) {
	frame := func(v any) []byte {
		var b bytes.Buffer
		if err := writeFrame(&b, maxJoinRequest, v); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	f.Add(frame(joinRequest{Version: joinVersion, Token: "tj1_x", Node: store.Node{ID: "n2", Commands: 1}}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'})
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, data []byte) {
		var q joinRequest
		if err := readFrame(bytes.NewReader(data), maxJoinRequest, &q); err != nil {
			return
		}
		if len(data) > 4+maxJoinRequest && len(q.Token)+len(q.Request) > maxJoinRequest {
			t.Fatal("more than allowed")
		}
		if token, err := parseToken(q.Token); err == nil && token.text() != q.Token {
			t.Fatal("two texts for one token")
		}
		_, _ = parseRequest(q.Request)
		_ = q.Node.Validate()
	})
}

func TestFrames(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = writeFrame(a, maxJoinReply, joinReply{Code: "busy"}) }()
	var got joinReply
	if err := readFrame(b, maxJoinReply, &got); err != nil || !errors.Is(refusalOf(got), ErrJoinBusy) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := writeFrame(io.Discard, 10, joinReply{Detail: "much too long"}); err == nil {
		t.Error("too long a frame was written")
	}
	if err := refusalOf(joinReply{Code: "of_a_newer_node"}); !errors.Is(err, ErrJoinRefused) {
		t.Errorf("an unknown code: %v", err)
	}
	if err := refusalOf(joinReply{Code: "refused", Detail: "too old"}); !errors.Is(err, ErrJoinRefused) || !strings.Contains(err.Error(), "too old") {
		t.Errorf("a detail: %v", err)
	}
}
