package store

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// oneOfEach is a valid command of every op.
func oneOfEach() []Command {
	return []Command{
		NewClusterInit(t0, testIdentity(), testSecret(1)),
		NewPutNode(t0, testNode("n1")),
		NewRemoveNode(t0, "n1"),
		NewAssignHome(t0, RoomID{"cloud", "abc"}, "n1", 7, ReasonMove),
		NewAssignHomes(t0, []Assignment{{RoomID{"cloud", "abc"}, "n1", 7, ReasonMove}, {room("abc"), "n2", 0, ReasonNew}}),
		NewSetDrain(t0, "n1", true, "update"),
		NewReleaseRoom(t0, room("abc"), 7),
		NewPutSecret(t0, testSecret(2)),
		NewRemoveSecret(t0, "seal", 1),
		NewPutKey(t0, KeyCA, testKey(KeyCA, 2)),
		NewUseKey(t0, KeyCA, 2),
		NewDropKey(t0, KeyGossip, 1),
		NewCreateJoinToken(t0, HashToken("t"), t0.Add(time.Hour)),
		NewUseJoinToken(t0, HashToken("t"), NewJoiner("n1", []byte("key"))),
		NewPutUser(t0, testUser("alice")),
		NewRemoveUser(t0, "alice"),
		NewPutLogin(t0, Login{HashToken("l"), "alice", t0.Add(time.Hour)}),
		NewRemoveLogin(t0, HashToken("l")),
		NewCreateConversation(t0, testConversation("abcd", "alice"), testAttendee("alice")),
		NewRenameConversation(t0, "abcd", "Tea"),
		NewDeleteConversation(t0, "abcd"),
		NewAddAttendee(t0, "abcd", testAttendee("bob")),
		NewRemoveAttendee(t0, "abcd", ActorUsers, "bob"),
		NewPutBackend(t0, testBackend("https://cloud.example")),
		NewRemoveBackend(t0, "https://cloud.example"),
	}
}

func TestCommandSurvivesTheLog(t *testing.T) {
	for _, c := range oneOfEach() {
		b, err := c.Encode()
		if err != nil {
			t.Errorf("%s: encode: %v", c, err)
			continue
		}
		got, err := DecodeCommand(b)
		if err != nil {
			t.Errorf("%s: decode: %v", c, err)
			continue
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%s: got %+v, want %+v", c, got, c)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: validate: %v", c, err)
		}
		if got.Version != MinVersion(got.Op) {
			t.Errorf("%s: version is not the op's", c)
		}
	}
}

// The largest batch of homes fits a command, whatever the rooms are called.
func TestAssignHomesFits(t *testing.T) {
	name := strings.Repeat("<", MaxAssignedNames/MaxAssignments-MaxBackendID/2)
	homes := make([]Assignment, MaxAssignments)
	for i := range homes {
		homes[i] = Assignment{RoomID{BackendID(strings.Repeat("&", MaxBackendID/2)), name}, NodeID(strings.Repeat("n", MaxNodeID)), math.MaxUint64, ReasonDrain}
	}
	if b, err := NewAssignHomes(t0, homes).Encode(); err != nil || len(b) > MaxCommand {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// A clock of another zone, and its monotonic part, must not reach the log.
func TestCommandTimeIsPlain(t *testing.T) {
	at := time.Now().In(time.FixedZone("somewhere", 3600))
	c := NewRemoveNode(at, "n1")
	if want := at.Round(0).UTC().Truncate(time.Millisecond); c.At != want {
		t.Errorf("time is %#v, want %#v", c.At, want)
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeCommand(b); err != nil || got.At != c.At {
		t.Errorf("decoded time is %#v, %v", got.At, err)
	}
}

func TestConstructorsRefuse(t *testing.T) {
	long := strings.Repeat("x", 5000)
	node := func(change func(*Node)) Command {
		n := testNode("n1")
		change(&n)
		return NewPutNode(t0, n)
	}
	conversation := func(change func(*Conversation)) Command {
		c := testConversation("abcd", "alice")
		change(&c)
		return NewCreateConversation(t0, c)
	}
	attendee := func(change func(*Attendee)) Command {
		a := testAttendee("alice")
		change(&a)
		return NewAddAttendee(t0, "abcd", a)
	}
	pair := testConversation("abcd", "alice")
	pair.Type = OneToOne
	for name, c := range map[string]Command{
		"no cluster id":             NewClusterInit(t0, Identity{CACert: []byte("c"), SealedCAKey: []byte("k")}),
		"no certificate":            NewClusterInit(t0, Identity{ClusterID: "c", SealedCAKey: []byte("k"), SealedGossipKey: []byte("g")}),
		"no gossip key":             NewClusterInit(t0, Identity{ClusterID: "c", CACert: []byte("c"), SealedCAKey: []byte("k")}),
		"a CA without certificate":  NewPutKey(t0, KeyCA, testKey(KeyGossip, 2)),
		"a certificate for gossip":  NewPutKey(t0, KeyGossip, testKey(KeyCA, 2)),
		"an unknown kind of key":    NewUseKey(t0, "turn", 2),
		"a kind of key, dropped":    NewDropKey(t0, "", 2),
		"huge certificate":          NewClusterInit(t0, Identity{ClusterID: "c", CACert: make([]byte, MaxCertificate+1), SealedCAKey: []byte("k")}),
		"too many secrets":          NewClusterInit(t0, testIdentity(), make([]Secret, MaxSecrets+1)...),
		"short secret":              NewPutSecret(t0, Secret{Name: "seal", Key: []byte("short")}),
		"secret without a name":     NewPutSecret(t0, Secret{Key: make([]byte, 32)}),
		"node id":                   node(func(n *Node) { n.ID = "N 1" }),
		"node without versions":     node(func(n *Node) { n.Commands = 0 }),
		"node URL scheme":           node(func(n *Node) { n.PublicURL = "javascript:alert(1)" }),
		"node URL with a user":      node(func(n *Node) { n.PublicURL = "https://a:b@example.org" }),
		"node URL with a query":     node(func(n *Node) { n.PublicURL = "https://example.org/?a=b" }),
		"node URL length":           node(func(n *Node) { n.PublicURL = "https://example.org/" + long }),
		"node address":              node(func(n *Node) { n.ClusterAddr = long }),
		"node region":               node(func(n *Node) { n.Region = "eu\n" }),
		"node roles":                node(func(n *Node) { n.Roles = make([]string, MaxRoles+1) }),
		"node role":                 node(func(n *Node) { n.Roles = []string{""} }),
		"room without a name":       NewAssignHome(t0, RoomID{}, "n1", 0, ReasonNew),
		"room name not UTF-8":       NewAssignHome(t0, room("a\xff"), "n1", 0, ReasonNew),
		"no reason":                 NewAssignHome(t0, room("abc"), "n1", 0, ""),
		"no assignments":            NewAssignHomes(t0, nil),
		"too many assignments":      NewAssignHomes(t0, make([]Assignment, MaxAssignments+1)),
		"an assignment of many":     NewAssignHomes(t0, []Assignment{{room("abc"), "n1", 0, ReasonNew}, {room(long), "n1", 0, ReasonNew}}),
		"assignments of long names": NewAssignHomes(t0, slices.Repeat([]Assignment{{room(long[:MaxRoomName]), "n1", 0, ReasonNew}}, 300)),
		"drain of nobody":           NewSetDrain(t0, "", true, ""),
		"drain with a long reason":  NewSetDrain(t0, "n1", true, long),
		"room name length":          NewReleaseRoom(t0, room(long), 1),
		"backend with a tilde":      NewAssignHome(t0, RoomID{"a~b", "c"}, "n1", 0, ReasonNew),
		"embedded with a tilde":     NewAssignHome(t0, room("a~b"), "n1", 0, ReasonNew),
		"empty join token":          NewCreateJoinToken(t0, TokenHash{}, t0),
		"join token for ever":       NewCreateJoinToken(t0, HashToken("t"), time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC)),
		"join without a token":      NewUseJoinToken(t0, TokenHash{}, NewJoiner("n1", nil)),
		"join without a node":       NewUseJoinToken(t0, HashToken("t"), NewJoiner("", nil)),
		"join without a key":        NewUseJoinToken(t0, HashToken("t"), Joiner{Node: "n1"}),
		"join with a long key":      NewUseJoinToken(t0, HashToken("t"), Joiner{Node: "n1", Key: long}),
		"user without an id":        NewPutUser(t0, testUser("")),
		"user id with a slash":      NewPutUser(t0, testUser("a/b")),
		"user id with a line feed":  NewPutUser(t0, testUser("a\nb")),
		"user id of dots":           NewPutUser(t0, testUser("..")),
		"user id length":            NewRemoveUser(t0, long),
		"user without a password":   NewPutUser(t0, User{ID: "alice"}),
		"user display name":         NewPutUser(t0, User{ID: "alice", PasswordHash: "h", DisplayName: strings.Repeat("ä", MaxDisplayName+1)}),
		"login without a user":      NewPutLogin(t0, Login{TokenHash: HashToken("l")}),
		"login without a token":     NewPutLogin(t0, Login{User: "alice"}),
		"short conversation token":  conversation(func(c *Conversation) { c.Token = "abc" }),
		"conversation token":        conversation(func(c *Conversation) { c.Token = "ab/cd" }),
		"conversation type":         conversation(func(c *Conversation) { c.Type = 9 }),
		"conversation name":         conversation(func(c *Conversation) { c.Name = long }),
		"conversation description":  conversation(func(c *Conversation) { c.Description = long }),
		"conversation owner":        conversation(func(c *Conversation) { c.Owner = "" }),
		"too many attendees":        NewCreateConversation(t0, testConversation("abcd", "alice"), make([]Attendee, MaxFirstAttendees+1)...),
		"one-to-one of one":         NewCreateConversation(t0, pair, testAttendee("alice")),
		"one-to-one with oneself":   NewCreateConversation(t0, pair, testAttendee("alice"), testAttendee("alice")),
		"actor type":                attendee(func(a *Attendee) { a.ActorType = "robots" }),
		"actor id":                  attendee(func(a *Attendee) { a.ActorID = "" }),
		"participant type":          attendee(func(a *Attendee) { a.ParticipantType = 0 }),
		"permissions":               attendee(func(a *Attendee) { a.Permissions = -1 }),
		"attendee's display name":   attendee(func(a *Attendee) { a.DisplayName = "a\x00b" }),
		"rename":                    NewRenameConversation(t0, "abcd", "a\nb"),
		"delete":                    NewDeleteConversation(t0, ""),
		"remove attendee":           NewRemoveAttendee(t0, "abcd", "", "alice"),
	} {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(c.Err(), ErrInvalid) {
				t.Errorf("constructor says %v", c.Err())
			}
			if _, err := c.Encode(); !errors.Is(err, ErrInvalid) {
				t.Errorf("encode says %v", err)
			}
			if err := c.Validate(); !errors.Is(err, ErrInvalid) {
				t.Errorf("validate says %v", err)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	body := `{"node":"n1"}`
	command := func(v, op, body, more string) string {
		return "\x01" + fmt.Sprintf(`{"v":%s,"op":%q,"at":"2026-11-24T12:00:00Z","body":%s%s}`, v, op, body, more)
	}
	for name, test := range map[string]struct {
		data string
		want error
		says []string
	}{
		"nothing":                {"", ErrMalformed, nil},
		"no JSON":                {"\x01nonsense", ErrMalformed, nil},
		"not an object":          {"\x01[]", ErrMalformed, nil},
		"text after it":          {command("1", OpRemoveNode, body, "") + "{}", ErrMalformed, nil},
		"no body":                {"\x01" + `{"v":1,"op":"remove_node","at":"2026-11-24T12:00:00Z"}`, ErrMalformed, nil},
		"no time":                {"\x01" + `{"v":1,"op":"remove_node","at":"noon","body":{}}`, ErrMalformed, nil},
		"body of a wrong type":   {command("1", OpRemoveNode, `{"node":1}`, ""), ErrMalformed, nil},
		"hash of a wrong length": {command("1", OpUseJoinToken, `{"hash":"00"}`, ""), ErrMalformed, nil},
		"version nought":         {command("0", OpRemoveNode, body, ""), ErrMalformed, nil},
		"too large":              {"\x01" + strings.Repeat(" ", MaxCommand), ErrMalformed, nil},
		"newer format":           {"\x02whatever", ErrUnknownCommand, []string{"format 2"}},
		"newer version":          {command("9", OpRemoveNode, body, ""), ErrUnknownCommand, []string{"remove_node", "version 9"}},
		"much newer version":     {command("99999", OpRemoveNode, `"text"`, `,"more":1`), ErrUnknownCommand, []string{"version 99999"}},
		"unknown op":             {command("1", "make_tea", body, ""), ErrUnknownCommand, []string{"make_tea", "version 1"}},
		"unknown field":          {command("1", OpRemoveNode, body, `,"more":1`), ErrUnknownCommand, []string{"remove_node", "version 1"}},
		"unknown body field":     {command("1", OpRemoveNode, `{"node":"n1","force":true}`, ""), ErrUnknownCommand, []string{"remove_node", "version 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeCommand([]byte(test.data))
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			for _, s := range test.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not name %q", err, s)
				}
			}
		})
	}
}

// Commands and what they carry are printed by careless people.
func TestSecretsAreNotPrinted(t *testing.T) {
	s := Secret{Name: "seal", ID: 3, Key: []byte("0123456789abcdef-key")}
	c := NewPutSecret(t0, s)
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", s, s, s, s), fmt.Sprint([]Secret{s}), s.LogValue().String(),
		fmt.Sprintf("%v %+v %#v %s", c, c, c, c), User{ID: "alice", PasswordHash: "-key"}.LogValue().String(),
	} {
		if strings.Contains(text, "key") || strings.Contains(text, "MDEy") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestResultTravels(t *testing.T) {
	for _, err := range []error{nil, ErrRefused, ErrMalformed, ErrInvalid, ErrExists, ErrNotFound, ErrNoSuchNode, ErrNoSuchUser,
		ErrStaleEpoch, ErrTokenUsed, ErrTokenExpired, ErrLimit} {
		r := Result{Err: err, ID: 4, Home: Home{Node: "n1", Epoch: 9, Created: t0, Reason: ReasonAnew}}
		r.Homes = []Assigned{{Home: r.Home}, {Err: err}}
		if err != nil {
			r.Err = fmt.Errorf("detail: %w", err)
		}
		b, e := r.MarshalJSON()
		if e != nil {
			t.Fatal(e)
		}
		var got Result
		if e := got.UnmarshalJSON(b); e != nil {
			t.Fatal(e)
		}
		if len(got.Homes) != 2 || got.Homes[0] != r.Homes[0] || !errors.Is(got.Homes[1].Err, err) {
			t.Errorf("%s became %+v", b, got)
		}
		if !errors.Is(got.Err, err) || got.ID != r.ID || got.Home != r.Home {
			t.Errorf("%s became %+v", b, got)
		}
	}
	if err := ErrorFromCode("of_tomorrow"); !errors.Is(err, ErrRefused) {
		t.Errorf("an unknown code becomes %v", err)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range oneOfEach() {
		b, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x02{}"))
	f.Add([]byte("\x01" + `{"v":2,"op":"put_node","at":"2026-11-24T12:00:00Z","body":{}}`))
	f.Add([]byte("\x01" + `{"v":1,"op":"put_node","at":"2026-11-24T12:00:00Z","body":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnknownCommand) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("validate: an error of no kind: %v", err)
		}
		again, err := c.Encode()
		if err != nil {
			return // it may have grown over the limit
		}
		d, err := DecodeCommand(again)
		if err != nil {
			t.Fatalf("encoded again, it is refused: %v", err)
		}
		if d.Op != c.Op || d.Version != c.Version || !d.At.Equal(c.At) {
			t.Fatalf("encoded again, %+v is %+v", c, d)
		}
	})
}
