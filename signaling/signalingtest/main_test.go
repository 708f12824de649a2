package signalingtest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server just big enough to test the kit: everybody is let in, and
// hears what he says.
type echo struct {
	sessions atomic.Int64
	registry *backend.Registry
}

func startEcho(t *testing.T, nc *Nextcloud) string {
	t.Helper()
	r, err := backend.NewRegistry([]backend.Instance{nc.Instance()})
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{registry: r}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /spreed", e.socket)
	mux.HandleFunc("POST /api/v1/room/{room}", e.request)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func (e *echo) socket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	ctx := r.Context()
	say := func(m wire.ServerMessage) { _ = ws.Write(ctx, websocket.MessageText, wire.Encode(m)) }
	say(wire.WelcomeMessage(wire.ServerInfo{Version: "test"}))
	session := store.SessionID("session-" + strconv.FormatInt(e.sessions.Add(1), 10))
	for {
		_, frame, err := ws.Read(ctx)
		if err != nil {
			return
		}
		m, err := wire.Decode(frame)
		if err != nil {
			say(wire.ErrorReply(m.ID, err))
			continue
		}
		if !e.handle(ctx, ws, say, session, m) {
			return
		}
	}
}

func (e *echo) handle(_ context.Context, ws *websocket.Conn, say func(wire.ServerMessage), session store.SessionID, m *wire.ClientMessage) bool {
	switch m.Type {
	case wire.TypeHello:
		say(wire.ServerMessage{ID: m.ID, Type: m.Type, Hello: &wire.HelloReply{Version: "1.0", SessionID: session, ResumeID: "resume-" + string(session)}})
	case wire.TypeRoom:
		if m.Room.RoomID == "closed" {
			say(wire.ErrorReply(m.ID, wire.ErrNoSuchRoom))
			return true
		}
		say(wire.ServerMessage{ID: m.ID, Type: m.Type, Room: &wire.Room{RoomID: m.Room.RoomID}})
		say(wire.JoinEvent(wire.SessionEntry{SessionID: session}))
	case wire.TypeMessage:
		say(wire.DeliverMessage(wire.Sender{Type: m.Message.Recipient.Type, SessionID: session}, m.Message.Data))
	case wire.TypeControl:
		say(wire.DeliverControl(wire.Sender{Type: m.Control.Recipient.Type, SessionID: session}, m.Control.Data))
	case wire.TypeBye:
		say(wire.ServerMessage{ID: m.ID, Type: m.Type, Bye: &wire.Bye{}})
		_ = ws.Close(websocket.StatusNormalClosure, "")
		return false
	}
	return true
}

func (e *echo) request(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if _, err := e.registry.VerifyRequest(r.Header, body); err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if _, err := backend.DecodeRequest(body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
}
