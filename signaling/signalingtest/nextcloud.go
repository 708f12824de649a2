package signalingtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// Endpoint is where an instance takes questions.
const Endpoint = "/ocs/v2.php/apps/spreed/api/v3/signaling/backend"

// Nextcloud plays a Nextcloud with Talk: it knows users, guests and rooms,
// verifies checksums, remembers what it was asked, and can tell nodes things.
type Nextcloud struct {
	t      testing.TB
	secret []byte
	server *httptest.Server

	mu       sync.Mutex
	people   map[string]person     // guarded by mu; by ticket
	rooms    map[string]Room       // guarded by mu
	refusals map[string]wire.Error // guarded by mu; by kind of question
	broken   http.Handler          // guarded by mu; answers instead, if set
	asked    []Question            // guarded by mu
	news     chan struct{}         // guarded by mu; closed and replaced at each question

	signing signing // guarded by mu
}

type person struct {
	userID, displayName string
}

// Room is a room as the instance knows it.
type Room struct {
	// Properties are shown to who joins.
	Properties json.RawMessage
	// Users may join; nil means everybody, guests too.
	Users []string
	// Permissions are those of everybody, nil for no restriction. Session
	// permissions come before them.
	Permissions        []string
	SessionPermissions map[wire.RoomSessionID][]string
	// Sessions has what the instance tells about a participant on joining, such
	// as the name a guest gave itself.
	Sessions map[wire.RoomSessionID]json.RawMessage
}

// Question is what a node asked. Kind is auth, room, ping, session or
// capabilities.
type Question struct {
	Kind      string
	RoomID    string
	Action    string // of a room: join or leave; of a session: add or remove
	UserID    string
	SessionID wire.RoomSessionID
	Params    json.RawMessage     // of auth
	Entries   []backend.PingEntry // of ping
	Header    http.Header

	// Of a virtual session that is an attendee.
	ActorID, ActorType string
	InCall             *int
}

// NewNextcloud starts an instance that shares the secret with the nodes.
func NewNextcloud(t testing.TB, secret string) *Nextcloud {
	t.Helper()
	n := &Nextcloud{
		t:        t,
		secret:   []byte(secret),
		people:   make(map[string]person),
		rooms:    make(map[string]Room),
		refusals: make(map[string]wire.Error),
		news:     make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Endpoint, n.answer)
	mux.HandleFunc("GET "+Capabilities, n.capabilities)
	n.server = httptest.NewServer(mux)
	t.Cleanup(n.server.Close)
	n.NewTokenKey()
	return n
}

// URL is the base URL.
func (n *Nextcloud) URL() string { return n.server.URL }

// AuthURL is what clients put into their hello.
func (n *Nextcloud) AuthURL() string { return n.server.URL + Endpoint }

// Instance is the configuration for the nodes.
func (n *Nextcloud) Instance() backend.Instance {
	return backend.Instance{URL: n.server.URL, Secret: string(n.secret)}
}

// AddUser makes a user, and returns the params of a hello.
func (n *Nextcloud) AddUser(id, displayName string) json.RawMessage {
	return n.addPerson(person{id, displayName}, id)
}

// AddGuest makes a guest, and returns the params of a hello.
func (n *Nextcloud) AddGuest(name string) json.RawMessage {
	return n.addPerson(person{}, "guest-"+name)
}

func (n *Nextcloud) addPerson(p person, name string) json.RawMessage {
	n.t.Helper()
	ticket := "ticket-of-" + name
	n.mu.Lock()
	defer n.mu.Unlock()
	n.people[ticket] = p
	return encode(n.t, map[string]string{"userid": p.userID, "ticket": ticket})
}

// SetRoom makes or changes a room.
func (n *Nextcloud) SetRoom(id string, r Room) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rooms[id] = r
}

// RemoveRoom lets a room be unknown.
func (n *Nextcloud) RemoveRoom(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.rooms, id)
}

// Refuse answers all questions of the kind with the error; an empty code ends
// that.
func (n *Nextcloud) Refuse(kind string, code wire.Code) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if code == "" {
		delete(n.refusals, kind)
		return
	}
	n.refusals[kind] = wire.Error{Code: code, Message: "Alice is refused by the test"}
}

// Break lets another handler answer in place of the instance, to hang, to
// redirect or to say nonsense; nil ends that. What it was asked is not
// remembered.
func (n *Nextcloud) Break(h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken = h
}

// Questions returns what was asked so far.
func (n *Nextcloud) Questions() []Question {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

// ExpectQuestion waits until the instance was asked such a question.
func (n *Nextcloud) ExpectQuestion(what string, is func(Question) bool) Question {
	n.t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		n.mu.Lock()
		i, news := slices.IndexFunc(n.asked, is), n.news
		var q Question
		if i >= 0 {
			q = n.asked[i]
		}
		n.mu.Unlock()
		if i >= 0 {
			return q
		}
		select {
		case <-news:
		case <-deadline.C:
			n.t.Fatalf("question %s: not within %v; asked: %+v", what, Patience, n.Questions())
		}
	}
}

// ExpectLeave waits until the instance was told that the session left.
func (n *Nextcloud) ExpectLeave(room string, session wire.RoomSessionID) {
	n.t.Helper()
	n.ExpectQuestion("leave", func(q Question) bool {
		return q.Kind == "room" && q.Action == "leave" && q.RoomID == room && q.SessionID == session
	})
}

func (n *Nextcloud) answer(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	broken := n.broken
	n.mu.Unlock()
	if broken != nil {
		broken.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	if r.Header.Get("OCS-APIRequest") != "true" {
		http.Error(w, "CSRF check failed", http.StatusPreconditionFailed)
		return
	}
	reply(w, n.judge(r.Header, body))
}

// reply writes data in an OCS envelope. Instances answer 200 to refusals too.
func reply(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	// The error is the node's to notice: it reads less than announced.
	_ = json.NewEncoder(w).Encode(map[string]any{"ocs": map[string]any{
		"meta": map[string]any{"status": "ok", "statuscode": 200, "message": "OK"},
		"data": data,
	}})
}

func refuse(code wire.Code, message string) any {
	return map[string]any{"type": "error", "error": wire.Error{Code: code, Message: message}}
}

type question struct {
	Type string `json:"type"`
	Auth struct {
		Version string          `json:"version"`
		Params  json.RawMessage `json:"params"`
	} `json:"auth"`
	Room struct {
		Version   string             `json:"version"`
		RoomID    string             `json:"roomid"`
		UserID    string             `json:"userid"`
		SessionID wire.RoomSessionID `json:"sessionid"`
		Action    string             `json:"action"`
		ActorID   string             `json:"actorid"`
		ActorType string             `json:"actortype"`
		InCall    *int               `json:"incall"`
	} `json:"room"`
	Session struct {
		RoomID    string             `json:"roomid"`
		UserID    string             `json:"userid"`
		SessionID wire.RoomSessionID `json:"sessionid"`
		Action    string             `json:"action"`
	} `json:"session"`
	Ping struct {
		RoomID  string              `json:"roomid"`
		Entries []backend.PingEntry `json:"entries"`
	} `json:"ping"`
}

func (n *Nextcloud) judge(h http.Header, body []byte) any {
	if !backend.VerifyChecksum(n.secret, h.Get(backend.HeaderRandom), body, h.Get(backend.HeaderChecksum)) {
		return refuse(wire.CodeInvalidRequest, "The request could not be authenticated.")
	}
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return refuse("unknown_type", "The given type is not supported.")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rememberLocked(q, h)
	if e, ok := n.refusals[q.Type]; ok {
		return refuse(e.Code, e.Message)
	}
	switch q.Type {
	case "auth":
		return n.authLocked(q)
	case "room":
		return n.roomLocked(q)
	case "session":
		return map[string]any{"type": "session", "session": map[string]any{"version": "1.0", "roomid": q.Session.RoomID}}
	case "ping":
		return map[string]any{"type": "room", "room": map[string]any{"version": "1.0", "roomid": q.Ping.RoomID}}
	}
	return refuse("unknown_type", "The given type is not supported.")
}

func (n *Nextcloud) rememberLocked(q question, h http.Header) {
	asked := Question{Kind: q.Type, Header: h.Clone()}
	switch q.Type {
	case "auth":
		asked.Params = q.Auth.Params
	case "room":
		asked.RoomID, asked.Action = q.Room.RoomID, q.Room.Action
		asked.UserID, asked.SessionID = q.Room.UserID, q.Room.SessionID
		asked.ActorID, asked.ActorType, asked.InCall = q.Room.ActorID, q.Room.ActorType, q.Room.InCall
	case "session":
		asked.RoomID, asked.Action = q.Session.RoomID, q.Session.Action
		asked.UserID, asked.SessionID = q.Session.UserID, q.Session.SessionID
	case "ping":
		asked.RoomID, asked.Entries = q.Ping.RoomID, q.Ping.Entries
	}
	n.asked = append(n.asked, asked)
	close(n.news)
	n.news = make(chan struct{})
}

func (n *Nextcloud) authLocked(q question) any {
	var params struct {
		UserID string `json:"userid"`
		Ticket string `json:"ticket"`
	}
	if err := json.Unmarshal(q.Auth.Params, &params); err != nil {
		return refuse(wire.CodeInvalidTicket, "The given ticket is not valid for this user.")
	}
	p, ok := n.people[params.Ticket]
	if !ok || p.userID != params.UserID {
		return refuse(wire.CodeInvalidTicket, "The given ticket is not valid for this user.")
	}
	auth := map[string]any{"version": "1.0"}
	if p.userID != "" {
		auth["userid"] = p.userID
		auth["user"] = map[string]string{"displayname": p.displayName}
	}
	return map[string]any{"type": "auth", "auth": auth}
}

func (n *Nextcloud) roomLocked(q question) any {
	room, ok := n.rooms[q.Room.RoomID]
	if !ok || room.Users != nil && !slices.Contains(room.Users, q.Room.UserID) {
		return refuse(wire.CodeNoSuchRoom, "The user is not invited to this room.")
	}
	data := map[string]any{"version": "1.0", "roomid": q.Room.RoomID}
	if room.Properties != nil {
		data["properties"] = room.Properties
	}
	permissions := room.Permissions
	if own, ok := room.SessionPermissions[q.Room.SessionID]; ok {
		permissions = own
	}
	if permissions != nil {
		data["permissions"] = permissions
	}
	if session, ok := room.Sessions[q.Room.SessionID]; ok {
		data["session"] = session
	}
	return map[string]any{"type": "room", "room": data}
}
