package store

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestClusterInitOnce(t *testing.T) {
	l := newLog(t)
	if _, ok := l.Cluster(); ok {
		t.Error("a cluster before cluster_init")
	}
	l.must(NewClusterInit(t0, testIdentity(), testSecret(1), testSecret(2)))
	if got, ok := l.Cluster(); !ok || got != (Cluster{ID: testIdentity().ClusterID, Created: t0}) {
		t.Errorf("cluster is %+v, %v", got, ok)
	}
	l.refused(ErrExists, NewClusterInit(t0, testIdentity(), testSecret(9)))

	l.must(NewPutSecret(t0, testSecret(3)))
	l.refused(ErrExists, NewPutSecret(t0, testSecret(3)))
	l.must(NewRemoveSecret(t0, "seal", 1))
	l.refused(ErrNotFound, NewRemoveSecret(t0, "seal", 1))
	ring := l.Secrets("seal")
	if len(ring) != 2 || ring[0].ID != 2 || ring[1].ID != 3 {
		t.Errorf("ring is %v", ring)
	}
	// What is handed out is a copy.
	ring[0].Key[0]++
	if s, ok := l.Secret("seal", 2); !ok || !reflect.DeepEqual(s.Key, testSecret(2).Key) {
		t.Errorf("the state's key was changed through a copy")
	}
	for id := uint32(10); len(l.Secrets("seal")) < MaxSecrets; id++ {
		l.must(NewPutSecret(t0, testSecret(id)))
	}
	l.refused(ErrLimit, NewPutSecret(t0, testSecret(9)))
}

// A secret that is twice in one cluster_init refuses all of it.
func TestClusterInitWhole(t *testing.T) {
	l := newLog(t)
	l.refused(ErrExists, NewClusterInit(t0, testIdentity(), testSecret(1), testSecret(1)))
}

func TestNodes(t *testing.T) {
	l := newLog(t)
	if v := l.CommandVersionOfAll(); v != CommandVersion {
		t.Errorf("without nodes: version %d", v)
	}
	l.refused(ErrNoSuchNode, NewRemoveNode(t0, "n1"))
	l.must(NewPutNode(t0, testNode("n2")))
	l.must(NewPutNode(t0, testNode("n1")))

	later := testNode("n1")
	later.PublicURL, later.Joined = "https://moved.example.org", t0.Add(time.Hour)
	_, events := l.apply(NewPutNode(t0.Add(time.Hour), later))
	if want := []Event{{Index: l.index, Kind: EventNodePut, Node: "n1"}}; !reflect.DeepEqual(events, want) {
		t.Errorf("events are %+v", events)
	}
	n, ok := l.Node("n1")
	if !ok || n.PublicURL != later.PublicURL || !n.Joined.Equal(t0) {
		t.Errorf("after the update: %+v", n)
	}
	n.Roles[0] = "none"
	if nodes := l.Nodes(); len(nodes) != 2 || nodes[0].ID != "n1" || nodes[0].Roles[0] != RoleServer || nodes[1].ID != "n2" {
		t.Errorf("nodes are %+v", nodes)
	}

	// The home stays with a node that is gone, until it is placed anew.
	home := l.must(NewAssignHome(t0, room("a"), "n1", 0, ReasonNew)).Home
	l.must(NewRemoveNode(t0, "n1"))
	if h, _ := l.Home(room("a")); h != home {
		t.Errorf("home is %+v, want %+v", h, home)
	}
	if got := l.HomesOf("n1"); !reflect.DeepEqual(got, []RoomID{room("a")}) {
		t.Errorf("homes of the gone node: %v", got)
	}
	if moved := l.must(NewAssignHome(t0.Add(time.Minute), room("a"), "n2", home.Epoch, ReasonMove)).Home; moved.Node != "n2" || !moved.Created.Equal(t0) {
		t.Errorf("moved to %+v", moved)
	}
	if got := l.HomeCounts(); !reflect.DeepEqual(got, map[NodeID]int{"n2": 1}) {
		t.Errorf("counts are %v", got)
	}
}

func TestCommandVersionOfAll(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes []Node
		want  uint16
	}{
		{"equal", []Node{{ID: "a", Commands: CommandVersion}}, CommandVersion},
		{"a newer one", []Node{{ID: "a", Commands: CommandVersion + 3}}, CommandVersion},
		{"an older one that follows", []Node{{ID: "a", Commands: CommandVersion}, {ID: "b", Commands: CommandVersion - 1, Roles: []string{"media"}}}, CommandVersion - 1},
		{"an older server", []Node{{ID: "a", Commands: CommandVersion}, {ID: "b", Commands: CommandVersion - 1, Roles: []string{"media", RoleServer}}}, CommandVersion - 1},
		{"an older node of all roles", []Node{{ID: "b", Commands: CommandVersion - 1}}, CommandVersion - 1},
	} {
		s := NewView()
		for _, n := range test.nodes {
			s.mem.nodes[n.ID] = n
		}
		if got := s.CommandVersionOfAll(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestHomesAreFenced(t *testing.T) {
	l := newLog(t)
	l.refused(ErrNoSuchNode, NewAssignHome(t0, room("a"), "n1", 0, ReasonNew))
	l.must(NewPutNode(t0, testNode("n1")))
	l.must(NewPutNode(t0, testNode("n2")))

	l.refused(ErrStaleEpoch, NewAssignHome(t0, room("a"), "n1", 1, ReasonMove))
	first := l.must(NewAssignHome(t0, room("a"), "n1", 0, ReasonNew)).Home
	if first != (Home{Node: "n1", Epoch: 1, Created: t0, Reason: ReasonNew}) {
		t.Errorf("first home is %+v", first)
	}
	// Two nodes placed the room at the same time: the second learns so.
	l.refused(ErrStaleEpoch, NewAssignHome(t0, room("a"), "n2", 0, ReasonNew))
	other := l.must(NewAssignHome(t0, RoomID{"cloud", "a"}, "n2", 0, ReasonNew)).Home
	if other.Epoch <= first.Epoch {
		t.Errorf("epoch %d after %d", other.Epoch, first.Epoch)
	}
	r, events := l.apply(NewAssignHome(t0.Add(time.Second), room("a"), "n2", first.Epoch, ReasonMove))
	moved := r.Home
	if r.Err != nil || moved.Epoch <= other.Epoch || !moved.Created.Equal(t0) {
		t.Errorf("moved to %+v, %v", moved, r.Err)
	}
	if want := []Event{{Index: l.index, Kind: EventHomeAssigned, Room: room("a"), Node: "n2", Home: moved, Previous: first}}; !reflect.DeepEqual(events, want) {
		t.Errorf("events are %+v", events)
	}
	if got := l.HomesOf("n2"); !reflect.DeepEqual(got, []RoomID{room("a"), {"cloud", "a"}}) {
		t.Errorf("homes of n2 are %v", got)
	}

	l.refused(ErrStaleEpoch, NewReleaseRoom(t0, room("a"), first.Epoch))
	l.refused(ErrStaleEpoch, NewReleaseRoom(t0, room("a"), 0))
	l.must(NewReleaseRoom(t0, room("a"), moved.Epoch))
	l.refused(ErrNotFound, NewReleaseRoom(t0, room("a"), moved.Epoch))
	if _, ok := l.Home(room("a")); ok || l.Rooms() != 1 {
		t.Error("the room still has a home")
	}
	// The epoch goes on rising when the room comes back.
	back := l.must(NewAssignHome(t0.Add(time.Hour), room("a"), "n1", 0, ReasonNew)).Home
	if back.Epoch <= moved.Epoch || !back.Created.Equal(t0.Add(time.Hour)) {
		t.Errorf("after release: %+v", back)
	}
}

func TestJoinTokens(t *testing.T) {
	l := newLog(t)
	a, b := HashToken("a"), HashToken("b")
	n1 := NewJoiner("n1", []byte("key"))
	l.refused(ErrNotFound, NewUseJoinToken(t0, a, n1))
	l.must(NewCreateJoinToken(t0, a, t0.Add(time.Minute)))
	l.refused(ErrExists, NewCreateJoinToken(t0, a, t0.Add(time.Hour)))
	l.must(NewUseJoinToken(t0, a, n1))
	l.must(NewUseJoinToken(t0.Add(time.Minute-time.Millisecond), a, n1)) // the answer was lost
	l.refused(ErrTokenExpired, NewUseJoinToken(t0.Add(time.Minute), a, n1))
	l.refused(ErrTokenUsed, NewUseJoinToken(t0, a, NewJoiner("n1", []byte("another key"))))
	l.refused(ErrTokenUsed, NewUseJoinToken(t0, a, NewJoiner("n2", []byte("key"))))
	l.must(NewPutNode(t0, testNode("n1")))
	l.must(NewPutNode(t0, testNode("n2")))
	l.must(NewRemoveNode(t0, "n2"))
	l.must(NewUseJoinToken(t0, a, n1)) // another one was removed
	l.must(NewRemoveNode(t0, "n1"))
	l.refused(ErrTokenUsed, NewUseJoinToken(t0, a, n1))

	l.must(NewCreateJoinToken(t0, b, t0.Add(time.Minute)))
	l.refused(ErrTokenExpired, NewUseJoinToken(t0.Add(time.Minute), b, n1))

	// Those that have expired make room for new ones.
	for i := 2; i < MaxJoinTokens; i++ {
		l.must(NewCreateJoinToken(t0, HashToken(fmt.Sprint(i)), t0.Add(time.Minute)))
	}
	l.refused(ErrLimit, NewCreateJoinToken(t0, HashToken("more"), t0.Add(time.Minute)))
	l.must(NewCreateJoinToken(t0.Add(time.Minute), HashToken("more"), t0.Add(time.Hour)))
	if _, ok := l.JoinToken(a); ok {
		t.Error("an expired token is still there")
	}
}

func TestBatch(t *testing.T) {
	l := newLog(t)
	batch := encode(t, 3,
		NewPutNode(t0, testNode("n1")),
		NewPutUser(t0, testUser("alice")),
		NewPutUser(t0, testUser("alice")),
		NewCreateUser(t0, testUser("alice")), // refused between two that are not
		NewAssignHome(t0, room("a"), "n1", 0, ReasonNew),
		NewCreateConversation(t0, testConversation("abcd", "alice"), testAttendee("alice")),
	)
	batch = append(batch, Entry{Index: 100, Data: []byte("\x01nonsense")})
	applied, err := l.ApplyBatch(batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, nil, ErrExists, nil, nil, ErrMalformed} {
		if applied[i].Index != batch[i].Index || !errors.Is(applied[i].Result.Err, want) || (want != nil) != (applied[i].Result.Err != nil) {
			t.Errorf("entry %d: %+v, want %v", i, applied[i], want)
		}
	}
	if applied[4].Result.Home.Node != "n1" || applied[5].Result.ID != 1 || len(applied[5].Events) != 2 {
		t.Errorf("results are %+v", applied[4:6])
	}
	if got := l.Applied(); got != 100 {
		t.Errorf("applied is %d", got)
	}

	// The log does not go backwards.
	for _, index := range []uint64{99, 100} {
		if _, _, err := l.Apply(index, NewRemoveNode(t0, "n1")); !errors.Is(err, ErrOutOfOrder) {
			t.Errorf("index %d: %v", index, err)
		}
	}
	if _, err := l.ApplyBatch(append(encode(t, 201, NewRemoveNode(t0, "n1")), encode(t, 201, NewRemoveUser(t0, "alice"))...)); !errors.Is(err, ErrOutOfOrder) {
		t.Errorf("an index twice: %v", err)
	}
}

// A command of a newer binary stops the node before anything of its batch is
// applied.
func TestUnknownCommandStops(t *testing.T) {
	l := newLog(t)
	l.must(NewPutNode(t0, testNode("n1")))
	before := dump(t, l.State)
	batch := encode(t, 10, NewRemoveNode(t0, "n1"), NewPutUser(t0, testUser("alice")))
	batch = append(batch, Entry{Index: 12, Data: []byte("\x01" + `{"v":7,"op":"put_tea","at":"2026-11-24T12:00:00Z","body":{}}`)})
	applied, err := l.ApplyBatch(batch)
	if !errors.Is(err, ErrUnknownCommand) || applied != nil {
		t.Fatalf("got %v, %v", applied, err)
	}
	for _, s := range []string{"entry 12", "put_tea", "version 7"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not name %q", err, s)
		}
	}
	if after := dump(t, l.State); after != before {
		t.Errorf("something was applied: %s", diff(before, after))
	}
	if _, _, err := l.Apply(13, Command{Version: CommandVersion + 1, Op: OpPutNode, At: t0}); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("a newer version: %v", err)
	}
}

// Whoever forged a command around the constructors is refused by Apply.
func TestApplyValidates(t *testing.T) {
	l := newLog(t)
	for _, body := range []string{`{}`, `null`, `{"node":{"id":"N 1"}}`} {
		l.refused(ErrInvalid, Command{Version: 1, Op: OpPutNode, At: t0, Body: []byte(body)})
	}
	l.refused(ErrMalformed, Command{Version: 1, Op: OpPutNode, At: t0, Body: []byte(`7`)})
	l.refused(ErrMalformed, Command{Version: 0, Op: OpPutNode, At: t0, Body: []byte(`{}`)})
	l.refused(ErrInvalid, NewRemoveNode(t0, ""))
}

func encode(t testing.TB, first uint64, commands ...Command) []Entry {
	t.Helper()
	entries := make([]Entry, len(commands))
	for i, c := range commands {
		b, err := c.Encode()
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		entries[i] = Entry{Index: first + uint64(i), Data: b}
	}
	return entries
}
