package signaling

import (
	"context"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

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
		mux.HandleFunc("GET "+prefix+"/api/v1/serverinfo", h.serverInfoHTTP)
		mux.HandleFunc("GET "+prefix+"/api/v1/stats", h.stats)
		mux.HandleFunc("GET "+prefix+"/turn/credentials", h.turnCredentials)
		mux.HandleFunc("POST "+prefix+"/api/v1/room/{roomid}", h.backendRequest)
	}
	return mux
}

// socket is the WebSocket of the protocol.
func (h *Hub) socket(w http.ResponseWriter, r *http.Request) {
	if h.foreign(r) {
		http.Error(w, "foreign page", http.StatusForbidden)
		return
	}
	if target, ok := h.socketElsewhere(r); ok {
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
		return
	}
	if !h.begin() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	served := false
	defer func() {
		if !served {
			h.end()
		}
	}()
	h.sayFeatures(w)
	out := &outlet{buffers: &h.buffers}
	var c *conn
	ws, err := websocket.Accept(&upgrade{ResponseWriter: w, outlet: out}, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // foreign has looked at the origin
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			out.control.answer(payload)
			c.writeNow()
			return false // the library would give up who reads slowly
		},
		OnPongReceived: func(context.Context, []byte) {
			out.answered()
			c.answered()
		},
	})
	if err != nil {
		return // Accept has answered
	}
	// The carrier bounds what is read, to be able to say so to the client.
	ws.SetReadLimit(-1)
	c = h.newConn(socket{ws, out})
	c.addr, c.page, c.agent = remoteAddr(r), fromPage(r), agentOf(r)
	c.stay = r.URL.Query().Get(paramRedirect) == "0"
	served = true
	goOn := func() {
		defer h.end()
		GrowStack()
		if !h.addConn(c) {
			_, _ = out.Write(nil) // the answer of the handshake
			_ = ws.CloseNow()
			return
		}
		defer h.removeConn(c)
		c.serve(h.ctx)
	}
	if w, ok := w.(interface{ GoOn(func()) }); ok {
		w.GoOn(goOn)
		return
	}
	// In a goroutine of its own, as that of the request holds on to the request, the
	// buffers of the server and a deep stack.
	go goOn()
}

// GrowStack makes the stack of a goroutine as large as a hello and a join need it. It
// would grow in steps, each of which has to look at all that is on it; now there is
// nothing yet. When it is not needed any more the runtime makes it small again.
//
//go:noinline
func GrowStack() {
	var room [14 << 10]byte
	runtime.KeepAlive(&room)
}

// survive keeps what is wrong with one connection from all others. Its session goes
// on with the next one.
func (h *Hub) survive() {
	if v := recover(); v != nil {
		h.metrics.panics.Inc()
		h.log.Error("a connection has failed", keyError, v, "stack", string(debug.Stack()))
	}
}

func (h *Hub) newConn(over carrier) *conn {
	return &conn{
		hub:     h,
		carrier: over,
		done:    make(chan struct{}),
	}
}

// connsPerSession leaves room for those that say hello.
const connsPerSession = 2

// What one address may have, which may be that of an office: when a node dies,
// all of it comes at once. Nobody takes all places of a node.
const (
	maxStrangers = 512 // connections without a session
	addressShare = 4   // a quarter of all connections
)

// visitors counts the connections of one address.
type visitors struct{ conns, strangers int }

func (h *Hub) addConn(c *conn) bool {
	most := connsPerSession * h.cfg.MaxSessions
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.conns) >= most {
		return false
	}
	v := h.visitors[prefixOf(c.addr)]
	if !h.trusts(c.addr) && (v.strangers >= maxStrangers || v.conns >= max(most/addressShare, 1)) {
		h.metrics.overflow("address")
		return false
	}
	v.conns++
	v.strangers++
	h.visitors[prefixOf(c.addr)] = v
	c.stranger = true
	h.conns[c] = struct{}{}
	h.metrics.conns.Set(float64(len(h.conns)))
	return true
}

// introduced tells that a connection has its session.
func (h *Hub) introduced(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.introducedLocked(c)
}

func (h *Hub) introducedLocked(c *conn) {
	if !c.stranger {
		return
	}
	c.stranger = false
	v := h.visitors[prefixOf(c.addr)]
	v.strangers--
	h.visitors[prefixOf(c.addr)] = v
}

func (h *Hub) removeConn(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.introducedLocked(c)
	p := prefixOf(c.addr)
	if v := h.visitors[p]; v.conns > 1 {
		v.conns--
		h.visitors[p] = v
	} else {
		delete(h.visitors, p)
	}
	delete(h.conns, c)
	h.metrics.conns.Set(float64(len(h.conns)))
}

// prefixOf is what one customer of a provider has: an IPv4 address, or a /64.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// trusts tells whether an address is not slowed down: loopback, of a development
// node.
func (h *Hub) trusts(a netip.Addr) bool { return h.cfg.Dev && a.IsLoopback() }

// handle takes one frame of a client. It runs on the reader of the connection.
func (h *Hub) handle(ctx context.Context, c *conn, frame []byte) {
	m, err := wire.Decode(frame)
	if err != nil {
		h.metrics.received("invalid")
		c.say(wire.ErrorReply(m.ID, err))
		return
	}
	h.metrics.received(m.Type)
	s, budget := c.current(), &c.rate
	if s != nil {
		s.turn.Lock()
		defer s.turn.Unlock()
		budget = &s.rate
	}
	if wait := budget.take(time.Now(), cost(m, len(frame))); wait > 0 {
		h.metrics.overflow("client")
		c.say(wire.ErrorReply(m.ID, wire.ErrTooManyRequests))
		pause(ctx, wait)
		return
	}
	if m.Type == wire.TypePing {
		c.say(wire.ServerMessage{ID: m.ID, Type: wire.TypePong})
		return
	}
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
	if s.warm.Load() && (m.Type == wire.TypeRoom || m.Type == wire.TypeControl || m.Type == wire.TypeTransient) {
		s.fail(m.ID, errWarm)
		return
	}
	if s.relay(m, frame) {
		return
	}
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
	case wire.TypeMove:
		s.move(m)
	case wire.TypeTransient:
		s.transient(m)
	case wire.TypeInternal:
		s.internal(ctx, m)
	}
}
