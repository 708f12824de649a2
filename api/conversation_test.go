package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/talkd/talkd/store"
)

func TestConversationLife(t *testing.T) {
	f := newFixture(t)
	ada, ben := f.login("ada"), f.login("ben")
	made := f.conversation(ada, store.Public)
	if !regexp.MustCompile(`^[a-z2-7]{16}$`).MatchString(made.Token) || made.Type != 3 || made.Name != "Team" || made.DisplayName != "Team" ||
		made.ParticipantType != 1 || !made.CanDeleteConversation || !made.CanLeaveConversation || !made.CanStartCall || made.HasCall || made.SessionID != "0" {
		t.Errorf("%+v", made)
	}
	path := rooms + "/" + made.Token
	if list := into[[]roomData](f, f.ok("GET", rooms, ada, nil)); len(list) != 1 || list[0].Token != made.Token {
		t.Errorf("%+v", list)
	}
	if list := into[[]roomData](f, f.ok("GET", rooms, ben, nil)); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	f.ok("PUT", path, ada, map[string]string{"roomName": "Renamed"})
	if d := into[roomData](f, f.ok("GET", path, ben, nil)); d.Name != "Renamed" || d.CanDeleteConversation || d.ParticipantType != 5 {
		t.Errorf("%+v", d)
	}
	if c, err := f.Conversation(t.Context(), made.Token); err != nil || !strings.Contains(string(c.Properties), `"name":"Renamed"`) ||
		!c.Public || !slices.Equal(c.Users, []string{"ada"}) {
		t.Errorf("%+v %v", c, err)
	}
	f.refused(403, "permission", "PUT", path, ben, map[string]string{"roomName": "x"})
	f.refused(403, "permission", "DELETE", path, ben, nil)
	f.refused(400, "roomName", "PUT", path, ada, map[string]string{"roomName": "  "})
	f.refused(400, "roomName", "PUT", path, ada, map[string]string{"roomName": strings.Repeat("x", 256)})
	f.ok("DELETE", path, ada, nil)
	f.refused(404, "", "GET", path, ada, nil)
	f.refused(404, "", "DELETE", path, ada, nil)
	if _, err := f.Conversation(t.Context(), made.Token); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a deleted conversation: %v", err)
	}
}

func TestCreateRoomRefuses(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	for _, c := range []struct {
		code string
		body map[string]any
	}{
		{"roomType", map[string]any{"roomName": "x"}},
		{"roomType", map[string]any{"roomType": 1, "roomName": "x"}},
		{"roomType", map[string]any{"roomType": "public", "roomName": "x"}},
		{"roomName", map[string]any{"roomType": 3}},
		{"roomName", map[string]any{"roomType": 3, "roomName": "a\nb"}},
		{"invite", map[string]any{"roomType": 2, "roomName": "x", "invite": "ben"}},
	} {
		f.refused(400, c.code, "POST", rooms, ada, c.body)
	}
	f.refused(401, "", "POST", rooms, "", map[string]any{"roomType": 3, "roomName": "x"})
}

// Parameters come in the query, a form or JSON, whatever the method.
func TestParametersEverywhere(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	form := url.Values{"roomType": {"3"}, "roomName": {"Team"}}.Encode()
	for _, c := range []struct {
		name, query, contentType, body string
		status                         int
	}{
		{"query, empty JSON body", "?" + form, "application/json", "", 201},
		{"query, null", "?" + form, "application/json", "null", 201},
		{"query, []", "?" + form, "application/json", "[]", 201},
		{"form", "", "application/x-www-form-urlencoded; charset=utf-8", form, 201},
		{"JSON", "", "application/json", `{"roomType":3,"roomName":"Team","participants":{"users":[]}}`, 201},
		{"the body wins", "?roomType=9&roomName=x", "application/json", `{"roomType":"3"}`, 201},
		{"no type", "", "", form, 415},
		{"XML", "", "text/xml", "<a/>", 415},
		{"cut JSON", "", "application/json", `{"roomType":3`, 400},
		{"two values", "", "application/json", `{} {}`, 400},
		{"a list", "", "application/json", `[1]`, 400},
		{"a text", "", "application/json", `"x"`, 400},
		{"deep", "", "application/json", strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17), 400},
		{"large", "", "application/json", `{"a":"` + strings.Repeat("x", MaxBody) + `"}`, 413},
		{"long query", "?a=" + strings.Repeat("x", maxQuery), "", "", 414},
		{"odd query", "?a=%zz", "", "", 400},
		{"odd form", "", "application/x-www-form-urlencoded", "a=%zz", 400},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", rooms+c.query, strings.NewReader(c.body))
		r.Header.Set("Authorization", "Bearer "+ada)
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", c.name, w.Code, c.status, w.Body)
		}
	}
	many := url.Values{}
	for i := range maxParams + 1 {
		many.Set(strings.Repeat("a", i+1), "1")
	}
	f.refused(400, "", "GET", rooms+"?"+many.Encode(), ada, nil)
}

// TestUnknownAndForbiddenAreAlike compares every answer about a conversation
// that is closed to somebody with the one about none.
func TestUnknownAndForbiddenAreAlike(t *testing.T) {
	f := newFixture(t)
	ada, ben := f.login("ada"), f.login("ben")
	closed, public := f.conversation(ada, store.Group), f.conversation(ada, store.Public)
	guest := f.join("", public.Token, "Gina").GuestToken
	for _, r := range f.table() {
		if !strings.Contains(r.path, "{token}") {
			continue
		}
		for who, token := range map[string]string{"another user": ben, "anybody": "", "a guest of another conversation": guest} {
			at := func(room string) answer {
				return f.do(r.method, ocs2+strings.ReplaceAll(r.path, "{token}", room), token, map[string]any{
					"roomName": "x", "newParticipant": "ben", "displayName": "x", "flags": 7,
				})
			}
			forbidden, unknown := at(closed.Token), at("unknown000")
			if forbidden.status != unknown.status || string(forbidden.body) != string(unknown.body) || forbidden.status < 400 {
				t.Errorf("%s, %s %s: %d %s\nand %d %s", who, r.method, r.path, forbidden.status, forbidden.body, unknown.status, unknown.body)
			}
		}
	}
	for who, token := range map[string]string{"another user": ben, "anybody": "", "a guest": guest} {
		forbidden := f.refused(404, "", "GET", talk+"/v3/signaling/settings?token="+closed.Token, token, nil)
		unknown := f.refused(404, "", "GET", talk+"/v3/signaling/settings?token=unknown000", token, nil)
		if string(forbidden.body) != string(unknown.body) {
			t.Errorf("settings for %s differ", who)
		}
	}
}

// Strict clients decode rooms: the types are part of the contract.
func TestRoomTypes(t *testing.T) {
	f := newFixture(t)
	a := f.ok("POST", rooms, f.login("ada"), map[string]any{"roomType": 3, "roomName": "Team"})
	if a.status != http.StatusCreated {
		t.Errorf("%d", a.status)
	}
	var d map[string]any
	if err := json.Unmarshal(a.data, &d); err != nil {
		t.Fatal(err)
	}
	for field, like := range map[string]any{
		"readOnly": 0.0, "lobbyTimer": 0.0, "lastPing": 0.0, "type": 0.0, "hasPassword": false, "hasCall": false, "canStartCall": false,
		"isFavorite": false, "unreadMention": false, "token": "", "sessionId": "", "tagIds": []any{}, "callFlag": 0.0,
	} {
		if got, ok := d[field]; !ok || typeOf(got) != typeOf(like) {
			t.Errorf("%s is %v (%T), want a %T", field, got, got, like)
		}
	}
	if _, ok := d["lastMessage"]; ok {
		t.Error("lastMessage must be an object or absent")
	}
}

func typeOf(v any) string {
	switch v.(type) {
	case float64:
		return "number"
	case bool:
		return "truth"
	case string:
		return "text"
	case []any:
		return "list"
	}
	return "other"
}
