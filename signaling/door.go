package signaling

import (
	"context"
	"net/http"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

// standalone is the path under which a proxy may put a signaling server.
const standalone = "/standalone-signaling"

func (h *Hub) routes() http.Handler {
	mux := http.NewServeMux()
	for _, prefix := range []string{"", standalone} {
		mux.HandleFunc("GET "+prefix+"/spreed", h.socket)
		mux.HandleFunc("GET "+prefix+"/api/v1/welcome", h.welcome)
		mux.HandleFunc("POST "+prefix+"/api/v1/room/{roomid}", h.backendRequest)
	}
	return mux
}

// socket is the WebSocket of the protocol.
func (h *Hub) socket(w http.ResponseWriter, r *http.Request) {
	if target, ok := h.socketElsewhere(r); ok {
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
		return
	}
	if !h.begin() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	defer h.end()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// The pages of all nodes and of all Nextclouds come here. A foreign
		// page gains nothing: there are no cookies, and hello asks for a proof.
		InsecureSkipVerify: true,
	})
	if err != nil {
		return // Accept has answered
	}
	// readFrame bounds what is read, to be able to say so to the client.
	ws.SetReadLimit(-1)
	c := &conn{
		hub:  h,
		ws:   ws,
		addr: h.cfg.ClientAddr(r),
		stay: r.URL.Query().Get(paramRedirect) == "0",
		wake: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
	if !h.addConn(c) {
		_ = ws.CloseNow()
		return
	}
	defer h.removeConn(c)
	c.serve(h.ctx)
}

// connsPerSession leaves room for those that say hello.
const connsPerSession = 2

func (h *Hub) addConn(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.conns) >= connsPerSession*h.cfg.MaxSessions {
		return false
	}
	h.conns[c] = struct{}{}
	h.metrics.conns.Set(float64(len(h.conns)))
	return true
}

func (h *Hub) removeConn(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.metrics.conns.Set(float64(len(h.conns)))
}

// handle takes one frame of a client. It runs on the reader of the connection.
func (h *Hub) handle(ctx context.Context, c *conn, frame []byte) {
	m, err := wire.Decode(frame)
	if err != nil {
		h.metrics.received("invalid")
		c.say(wire.ErrorReply(m.ID, err))
		return
	}
	h.metrics.received(m.Type)
	s := c.current()
	if s == nil {
		switch m.Type {
		case wire.TypeHello:
			h.hello(ctx, c, m)
		case wire.TypeBye:
			c.say(wire.ByeMessage(m.ID, ""))
			c.close(websocket.StatusNormalClosure)
		default:
			c.say(wire.ErrorReply(m.ID, wire.ErrHelloExpected))
		}
		return
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	switch m.Type {
	case wire.TypeHello:
		// Web clients say hello when the socket opens, and again at the welcome.
		// They take any answer to the second amiss.
	case wire.TypeBye:
		s.bye(m)
	case wire.TypeRoom:
		s.joinRoom(ctx, m)
	case wire.TypeMessage:
		s.message(m)
	case wire.TypeControl:
		s.control(m)
	}
}

// Features are those that are there. Clients replace the list of the welcome by
// that of the hello, so they are the same.
func Features() []string {
	return []string{
		wire.FeatureAudioVideoPermissions,
		wire.FeatureInCallAll,
		wire.FeatureJoinFeatures,
		wire.FeatureMCU,
		wire.FeatureRecipientCall,
		wire.FeatureRedirect,
		wire.FeatureSimulcast,
		wire.FeatureSwitchTo,
		wire.FeatureUpdateSDP,
		wire.FeatureWelcome,
	}
}

func (h *Hub) serverInfo() wire.ServerInfo {
	info := wire.ServerInfo{Version: h.cfg.Version, Features: Features(), Node: h.deps.Self}
	for _, n := range h.deps.Nodes.Nodes() {
		if n.Alive && n.URL != "" {
			info.Nodes = append(info.Nodes, wire.NodeRef{ID: n.ID, URL: n.URL})
		}
	}
	return info
}
