package api

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/store"
	"github.com/talkd/talkd/turn"
)

func TestGuestComesBack(t *testing.T) {
	f := newFixture(t)
	room := f.conversation(f.login("ada"), store.Public).Token
	first := f.join("", room, " Gina ")
	if first.GuestToken == "" || first.SessionID == "" || first.ActorType != "guests" || len(first.ActorID) != 32 || first.ParticipantType != 4 {
		t.Errorf("%+v", first)
	}
	again := f.join(first.GuestToken, room, "")
	if again.ActorID != first.ActorID || again.SessionID == first.SessionID && again.GuestToken == "" {
		t.Errorf("another guest: %+v", again)
	}
	if p, err := f.openSession(room, again.SessionID, false); err != nil || p.name != "Gina" || !p.guest {
		t.Errorf("%+v %v", p, err)
	}
	renamed := into[map[string]string](f, f.ok("POST", talk+"/v1/guest/"+room+"/name", first.GuestToken, map[string]string{"displayName": "Gina B."}))
	if d := f.join(renamed["guestToken"], room, ""); d.ActorID != first.ActorID {
		t.Errorf("%+v", d)
	}
	f.refused(403, "actor", "POST", talk+"/v1/guest/"+room+"/name", "token-of-ada", map[string]string{"displayName": "x"})
	f.refused(404, "", "POST", talk+"/v1/guest/"+room+"/name", "", map[string]string{"displayName": "x"})
	f.refused(400, "displayName", "POST", rooms+"/"+room+"/participants/active", "", map[string]string{"displayName": strings.Repeat("x", maxGuestName+1)})
	// A guest is no user, and gone after a while.
	f.refused(401, "", "GET", rooms, first.GuestToken, nil)
	f.clock.move(guestLifetime + time.Second)
	f.refused(401, "", "POST", rooms+"/"+room+"/participants/active", first.GuestToken, nil)
}

func TestUserSession(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	room := f.conversation(ada, store.Group).Token
	d := f.join(ada, room, "ignored")
	if d.GuestToken != "" || d.ActorID != "ada" || d.SessionID == "" {
		t.Errorf("%+v", d)
	}
	f.ok("DELETE", rooms+"/"+room+"/participants/active", ada, nil)
	f.ok("DELETE", rooms+"/"+room+"/participants/active?sessionId="+d.SessionID, ada, nil)
}

func TestParticipants(t *testing.T) {
	f := newFixture(t)
	ada, ben := f.login("ada"), f.login("ben")
	f.user("cleo")
	room := f.conversation(ada, store.Public).Token
	path := rooms + "/" + room + "/participants"
	f.ok("POST", path, ada, map[string]string{"newParticipant": "cleo", "source": "users"})
	f.ok("POST", path, ada, map[string]string{"newParticipant": "cleo"}) // as wanted
	f.refused(404, "new-participant", "POST", path, ada, map[string]string{"newParticipant": "nobody"})
	f.refused(404, "new-participant", "POST", path, ada, map[string]string{"newParticipant": "a/b"})
	f.refused(400, "newParticipant", "POST", path, ada, nil)
	f.refused(400, "source", "POST", path, ada, map[string]string{"newParticipant": "x", "source": "emails"})
	f.refused(403, "permission", "POST", path, ben, map[string]string{"newParticipant": "ben"})

	gina, benHere := f.join("", room, "Gina"), f.join(ben, room, "")
	for _, d := range []roomData{gina, benHere} {
		f.calls.enter(room, d.SessionID)
	}
	f.calls.enter(room, "sealed by nobody")
	list := into[[]participantData](f, f.ok("GET", path, ada, nil))
	var got []string
	for _, p := range list {
		got = append(got, p.ActorType+" "+p.DisplayName)
	}
	if diff := cmp.Diff([]string{"users Ada", "users Cleo", "guests Gina", "users Ben"}, got); diff != "" {
		t.Error(diff)
	}
	if p := list[2]; p.ParticipantType != 4 || p.ActorID != gina.ActorID || !slices.Equal(p.SessionIDs, []string{gina.SessionID}) {
		t.Errorf("%+v", p)
	}
	if p := list[1]; len(p.SessionIDs) != 0 || p.SessionIDs == nil || p.LastPing != 0 {
		t.Errorf("%+v", p)
	}
	f.ok("GET", path, gina.GuestToken, nil)
	f.refused(404, "", "GET", path, "", nil)
}

func TestRemoveSelf(t *testing.T) {
	f := newFixture(t)
	ada, ben := f.login("ada"), f.login("ben")
	room := f.conversation(ada, store.Public).Token
	self := rooms + "/" + room + "/participants/self"
	f.refused(404, "", "DELETE", self, ben, nil)
	f.ok("POST", rooms+"/"+room+"/participants", ada, map[string]string{"newParticipant": "ben"})
	f.refused(400, "last-moderator", "DELETE", self, ada, nil)
	f.ok("DELETE", self, ben, nil)
	f.ok("DELETE", self, ada, nil)
	f.refused(404, "", "GET", rooms+"/"+room, ada, nil)
}

func TestSignalingSettings(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	room := f.conversation(ada, store.Public).Token
	f.places[room] = otherURL + "/"
	path := talk + "/v3/signaling/settings"
	for _, c := range []struct{ name, query, token, server string }{
		{"no conversation", "", ada, "https://n1.example.org"},
		{"its home", "?token=" + room, ada, otherURL},
		{"its home, a guest", "?token=" + room, "", otherURL},
		{"stay", "?token=" + room + "&redirect=0", ada, "https://n1.example.org"},
	} {
		d := into[settingsData](f, f.ok("GET", path+c.query, c.token, nil))
		if d.Server != c.server || d.SignalingMode != "external" || d.Ticket == "" || d.HelloAuthParams["1.0"].Ticket != d.Ticket || d.STUNServers == nil {
			t.Errorf("%s: %+v", c.name, d)
		}
		user := ""
		if c.token == ada {
			user = "ada"
		}
		if d.HelloAuthParams["1.0"].UserID != user || (d.UserID != nil) != (user != "") {
			t.Errorf("%s: user %q, %v", c.name, d.HelloAuthParams["1.0"].UserID, d.UserID)
		}
	}
}

// TestTURNSettings: who may be in a conversation gets credentials for the TURN servers,
// and each a name of its own. Strangers get none, else the servers would be everybody's.
func TestTURNSettings(t *testing.T) {
	servers := turn.Servers{Secret: "north", Lifetime: time.Hour}
	var err error
	if servers.TURN, err = turn.ParseTURN([]string{"turn:turn.example.org?transport=udp", "turns:turn.example.org:443?transport=tcp"}); err != nil {
		t.Fatal(err)
	}
	if servers.STUN, err = turn.ParseSTUN([]string{"stun:turn.example.org"}); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) { c.TURN = servers })
	ada := f.login("ada")
	room := f.conversation(ada, store.Public).Token
	guest := f.join("", room, "Grace").GuestToken
	seen := make(map[string]bool)
	for _, c := range []struct {
		name, query, token string
		relays             bool
	}{
		{"a user", "", ada, true},
		{"a user in a conversation", "?token=" + room, ada, true},
		{"a guest", "?token=" + room, guest, true},
		{"a stranger", "", "", false},
		{"a stranger with a link", "?token=" + room, "", false},
	} {
		d := into[settingsData](f, f.ok("GET", talk+"/v3/signaling/settings"+c.query, c.token, nil))
		const stun = "stun:turn.example.org:3478"
		if len(d.STUNServers) != 1 || d.STUNServers[0].URL != stun || !slices.Equal(d.STUNServers[0].URLs, []string{stun}) || d.STUNServers[0].Credential != "" {
			t.Errorf("%s: %+v", c.name, d.STUNServers)
		}
		if !c.relays {
			if len(d.TURNServers) != 0 || d.TURNServers == nil {
				t.Errorf("%s: %+v", c.name, d.TURNServers)
			}
			continue
		}
		if len(d.TURNServers) != 2 {
			t.Errorf("%s: %+v", c.name, d.TURNServers)
			continue
		}
		first, tls := d.TURNServers[0], d.TURNServers[1]
		expiry, user, _ := strings.Cut(first.Username, ":")
		want, err := servers.Credentials(user, t0)
		if err != nil || first.Username != want.Username || first.Credential != want.Password || expiry != strconv.FormatInt(t0.Add(time.Hour).Unix(), 10) {
			t.Errorf("%s: %+v, %v", c.name, first, err)
		}
		if tls.URL != "turns:turn.example.org:443?transport=tcp" || tls.Username != first.Username {
			t.Errorf("%s: %+v", c.name, tls)
		}
		if seen[user] || strings.Contains(user, "ada") {
			t.Errorf("%s: the TURN server is told who that is: %q", c.name, user)
		}
		seen[user] = true
	}
}

func (f *fixture) ticket(token string) helloParams {
	return into[settingsData](f, f.ok("GET", talk+"/v3/signaling/settings", token, nil)).HelloAuthParams["1.0"]
}

func TestAuthenticateTicket(t *testing.T) {
	f := newFixture(t)
	ada, guest := f.ticket(f.login("ada")), f.ticket("")
	gone := f.ticket(f.login("gone"))
	if _, err := f.cluster.Propose(t.Context(), store.NewRemoveUser(t0, "gone")); err != nil {
		t.Fatal(err)
	}
	room := f.conversation("token-of-ada", store.Public).Token
	session := f.join("token-of-ada", room, "").SessionID
	gina := f.join("", room, "Gina")
	if again := f.join(gina.GuestToken, room, "Gina G."); f.guest(gina).GuestID != f.guest(again).GuestID {
		t.Error("with the token of before a guest is another one")
	}
	for _, c := range []struct {
		name   string
		params any
		want   error
		user   string
	}{
		{"user", ada, nil, "ada"},
		{"guest", guest, nil, ""},
		{"guest, user id null", map[string]any{"userid": nil, "ticket": guest.Ticket}, nil, ""},
		{"another user", helloParams{"ben", ada.Ticket}, ErrBadTicket, ""},
		{"no user with a user's ticket", helloParams{"", ada.Ticket}, ErrBadTicket, ""},
		{"user with a guest's ticket", helloParams{"ada", guest.Ticket}, ErrBadTicket, ""},
		{"a session is no ticket", helloParams{"ada", session}, ErrBadTicket, ""},
		{"invented", helloParams{"ada", "x"}, ErrBadTicket, ""},
		{"removed account", gone, ErrBadTicket, ""},
		{"of a wrong type", []int{1}, ErrBadTicket, ""},
		{"endless", helloParams{"ada", strings.Repeat("x", maxTicketParams)}, ErrBadTicket, ""},
	} {
		params, err := json.Marshal(c.params)
		if err != nil {
			t.Fatal(err)
		}
		who, err := f.AuthenticateTicket(t.Context(), params)
		if !errors.Is(err, c.want) || who.UserID != c.user {
			t.Errorf("%s: %+v, %v, want %v", c.name, who, err, c.want)
		}
		if c.user == "ada" && string(who.User) != `{"displayname":"Ada"}` {
			t.Errorf("%s", who.User)
		}
	}
	if _, err := f.AuthenticateTicket(t.Context(), nil); !errors.Is(err, ErrBadTicket) {
		t.Error(err)
	}
	f.clock.move(ticketLifetime + time.Second)
	params, err := json.Marshal(ada)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.AuthenticateTicket(t.Context(), params); !errors.Is(err, ErrTicketExpired) {
		t.Errorf("old ticket: %v", err)
	}
}

// guest is who signaling takes a guest for who asks for the settings with the
// token that joining gave.
func (f *fixture) guest(joined roomData) Identity {
	f.t.Helper()
	raw, err := json.Marshal(f.ticket(joined.GuestToken))
	if err != nil {
		f.t.Fatal(err)
	}
	who, err := f.AuthenticateTicket(f.t.Context(), raw)
	if err != nil || who.UserID != "" || who.GuestID == "" || who.User != nil {
		f.t.Fatalf("guest: %+v, %v", who, err)
	}
	return who
}

func TestAuthorizeJoin(t *testing.T) {
	f := newFixture(t)
	ada, ben := f.login("ada"), f.login("ben")
	public, closed := f.conversation(ada, store.Public).Token, f.conversation(ada, store.Group).Token
	f.ok("POST", rooms+"/"+closed+"/participants", ada, map[string]string{"newParticipant": "ben"})
	adas, bens := f.join(ada, public, "").SessionID, f.join(ben, closed, "").SessionID
	gina, nameless := f.join("", public, "Gina"), f.join("", public, "")
	publish := []string{"publish-audio", "publish-video", "publish-screen", "transient-data"}
	for _, c := range []struct {
		name, room  string
		who         Identity
		session     string
		permissions []string // nil: refused
		shown       string
	}{
		{"owner", public, Identity{UserID: "ada"}, adas, append(publish, "control"), `{"displayname":"Ada"}`},
		{"attendee", closed, Identity{UserID: "ben"}, bens, publish, `{"displayname":"Ben"}`},
		{"guest", public, f.guest(gina), gina.SessionID, publish, `{"displayname":"Gina"}`},
		{"guest without a name", public, f.guest(nameless), nameless.SessionID, publish, ``},
		{"another room", closed, Identity{UserID: "ada"}, adas, nil, ""},
		{"another user", public, Identity{UserID: "ben"}, adas, nil, ""},
		{"a guest with a user's session", public, f.guest(gina), adas, nil, ""},
		{"a user with a guest's session", public, Identity{UserID: "ada"}, gina.SessionID, nil, ""},
		{"another guest", public, f.guest(nameless), gina.SessionID, nil, ""},
		{"a stranger with a guest's session", public, Identity{}, gina.SessionID, nil, ""},
		{"a user named like a guest", public, Identity{UserID: f.guest(gina).GuestID}, gina.SessionID, nil, ""},
		{"a guest named like a user", public, Identity{GuestID: "ada"}, adas, nil, ""},
		{"no session", public, Identity{UserID: "ada"}, "", nil, ""},
		{"a ticket is no session", public, Identity{UserID: "ada"}, f.ticket(ada).Ticket, nil, ""},
		{"an endless session", public, Identity{UserID: "ada"}, strings.Repeat("x", 600), nil, ""},
	} {
		e, err := f.AuthorizeJoin(t.Context(), c.room, c.who, c.session)
		if c.permissions == nil {
			if !errors.Is(err, ErrNoRoom) {
				t.Errorf("%s: %v, want ErrNoRoom", c.name, err)
			}
			continue
		}
		if err != nil || !slices.Equal(e.Permissions, c.permissions) || string(e.Session) != c.shown || !strings.Contains(string(e.Properties), `"name":"Team"`) {
			t.Errorf("%s: %+v %v", c.name, e, err)
		}
	}
	// What was allowed once is looked at again.
	f.ok("DELETE", rooms+"/"+closed+"/participants/self", ben, nil)
	if _, err := f.AuthorizeJoin(t.Context(), closed, Identity{UserID: "ben"}, bens); !errors.Is(err, ErrNoRoom) {
		t.Errorf("after leaving for good: %v", err)
	}
	f.clock.move(sessionLifetime + time.Second)
	if _, err := f.AuthorizeJoin(t.Context(), public, Identity{UserID: "ada"}, adas); !errors.Is(err, ErrNoRoom) {
		t.Errorf("old session: %v", err)
	}
}
