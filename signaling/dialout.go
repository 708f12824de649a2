package signaling

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// A backend asks any node to call somebody into a room. The call is made by an internal
// client that can do so, here or at another node:
//
//	backend ─POST─> Hub.Dialout ─┬─ Session ─ws─> client
//	                             └─gRPC─> the node that said it has one ─ Session ─ws─> client

const (
	// dialoutPatience is how long the client may take to accept the call or not.
	dialoutPatience = 20 * time.Second
	// dialoutSearch is how long it may take to find out which node has one.
	dialoutSearch = time.Second
	// maxDialouts bounds what one client has not answered yet.
	maxDialouts = 100
	// callTold is how long it may take to tell a room how far a call is. The client's next
	// message waits for it, as one state comes after the other.
	callTold = 2 * time.Second
	// callEnded is how long the people in the room can see what became of a call.
	callEnded = 5 * time.Minute
)

// Codes of a call that cannot be made.
const (
	codeNoClient wire.Code = "no_client_available"
	codeTimeout  wire.Code = "timeout"

	codeInvalidNumber wire.Code = "invalid_number"
)

// Dialout lets somebody be called into a room, and gives the id of the call. An error
// that the client named is a *wire.Error.
func (h *Hub) Dialout(ctx context.Context, room store.RoomID, d *backend.Dialout) (callID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialoutPatience)
	defer cancel()
	if s := h.dialler(room.Backend); s != nil {
		return s.dial(ctx, room, d)
	}
	return h.dialThere(ctx, room, d)
}

// dialoutAnswer is what a backend hears of a call that it has asked for.
type dialoutAnswer struct {
	Type    string `json:"type"`
	Dialout struct {
		CallID string      `json:"callid,omitempty"`
		Error  *wire.Error `json:"error,omitempty"`
	} `json:"dialout"`
}

func (h *Hub) takeDialout(ctx context.Context, room store.RoomID, d *backend.Dialout) (status int, answer any, err error) {
	callID, err := h.Dialout(ctx, room, d)
	if err != nil {
		return dialoutRefused(err)
	}
	a := dialoutAnswer{Type: backend.TypeDialout}
	a.Dialout.CallID = callID
	return http.StatusOK, a, nil
}

// errNoCall is for the log: what a bridge says of a refusal may hold the number.
var errNoCall = errors.New("no call was begun")

func dialoutRefused(err error) (status int, answer any, _ error) {
	a := dialoutAnswer{Type: backend.TypeDialout}
	a.Dialout.Error = wire.ErrorFor(err)
	status = http.StatusBadGateway // the client named it
	switch {
	case errors.Is(err, backend.ErrBadNumber):
		status, a.Dialout.Error = http.StatusBadRequest, &wire.Error{Code: codeInvalidNumber, Message: backend.ErrBadNumber.Error()}
	case a.Dialout.Error.Code == codeNoClient:
		status = http.StatusNotFound
	case a.Dialout.Error.Code == codeTimeout:
		status = http.StatusGatewayTimeout
	case errors.Is(err, ErrDetached), errors.Is(err, wire.ErrTooManyRequests):
		status = http.StatusServiceUnavailable
	}
	return status, a, errNoCall
}

// dialler is a client of this node that makes calls for the backend, or nil.
func (h *Hub) dialler(of store.BackendID) *Session {
	h.mu.Lock()
	sessions := values(h.sessions)
	h.mu.Unlock()
	i := slices.IndexFunc(sessions, func(s *Session) bool { return s.dials(of) })
	if i < 0 {
		return nil
	}
	return sessions[i]
}

func (s *Session) dials(of store.BackendID) bool {
	if !s.mayDial() || s.who.backend != of {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// dial asks the client, and waits for its answer.
func (s *Session) dial(ctx context.Context, room store.RoomID, d *backend.Dialout) (callID string, err error) {
	id, answered := rand.Text(), make(chan *wire.DialoutAnswer, 1)
	s.mu.Lock()
	busy := len(s.dialouts) >= maxDialouts
	if !busy {
		if s.dialouts == nil {
			s.dialouts = make(map[string]chan<- *wire.DialoutAnswer)
		}
		s.dialouts[id] = answered
	}
	s.mu.Unlock()
	if busy {
		return "", &wire.Error{Code: wire.CodeTooManyRequests, Message: wire.ErrTooManyRequests.Error()}
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.dialouts, id)
	}()
	s.say(wire.DialoutMessage(id, wire.DialoutRequest{
		RoomID: room.Name, Backend: s.hub.urlOf(room.Backend, d.Via), Request: wire.DialNumber{Number: d.Number, Options: d.Options},
	}))
	select {
	case a := <-answered:
		return judge(a)
	case <-ctx.Done():
		return "", &wire.Error{Code: codeTimeout, Message: "the client did not answer in time"}
	}
}

func judge(a *wire.DialoutAnswer) (callID string, err error) {
	switch {
	case a.Type == wire.DialoutError:
		return "", wire.ForeignError(string(a.Error.Code), a.Error.Message, a.Error.Details, wire.ErrProcessingFailed)
	case a.Status.Status == wire.CallRejected:
		return "", wire.ForeignError(wire.CallRejected, a.Status.Message, nil, wire.ErrProcessingFailed)
	}
	return a.Status.CallID, nil
}

// dialled takes what the client says of a call: the answer under the id of the question,
// and how far the call is, for those in the room.
func (s *Session) dialled(ctx context.Context, id string, a *wire.DialoutAnswer) {
	s.mu.Lock()
	answered := s.dialouts[id]
	delete(s.dialouts, id)
	s.mu.Unlock()
	if answered != nil {
		answered <- a
	}
	if a.Status != nil && a.RoomID != "" {
		ctx, cancel := context.WithTimeout(ctx, callTold)
		defer cancel()
		if err := s.hub.tellCall(ctx, store.RoomID{Backend: s.who.backend, Name: a.RoomID}, a.Status); err != nil {
			s.hub.log.Debug("state of a call not told", keyError, logged(err))
		}
	}
}

// callKey is where clients look for the states of calls among the transient data.
const callKey = "callstatus_"

func (h *Hub) tellCall(ctx context.Context, room store.RoomID, s *wire.CallStatus) error {
	if err := room.Validate(); err != nil {
		return err
	}
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	t := &backend.Transient{Action: backend.TransientSet, Key: callKey + s.CallID, Value: value}
	if s.Status == wire.CallRejected || s.Status == wire.CallCleared {
		t.TTL = callEnded
	}
	return h.Notify(ctx, room, backend.Request{Type: backend.TypeTransient, Transient: t})
}

// urlOf is the base URL of a backend by which somebody came.
func (h *Hub) urlOf(id store.BackendID, via string) string {
	if id == store.Embedded || h.deps.Registry == nil {
		return h.cfg.PublicURL + "/"
	}
	return h.deps.Registry.URL(id, via)
}

// dialThere lets another node do it that has a client which can.
func (h *Hub) dialThere(ctx context.Context, room store.RoomID, d *backend.Dialout) (callID string, err error) {
	node := h.findDialler(ctx, room.Backend)
	if node == "" {
		return "", &wire.Error{Code: codeNoClient, Message: "no client that makes calls is connected"}
	}
	client, err := h.client(node)
	if err != nil {
		return "", err
	}
	reply, err := client.Dialout(ctx, &signalpb.DialoutQuestion{Room: roomOf(room), Number: d.Number, Options: d.Options, Via: d.Via})
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDetached, err)
	}
	if e := reply.GetError(); len(e) > 0 {
		refused := &wire.Error{}
		if err := json.Unmarshal(e, refused); err != nil {
			return "", fmt.Errorf("%w: %w", ErrDetached, err)
		}
		return "", refused
	}
	return reply.GetCallId(), nil
}

// findDialler asks all other nodes at once which of them has a client that makes calls.
func (h *Hub) findDialler(ctx context.Context, of store.BackendID) store.NodeID {
	question := &signalpb.DialoutQuestion{Room: &signalpb.Room{Backend: string(of)}, Search: true}
	for reply := range h.askDiallers(ctx, question) {
		if reply.GetFound() {
			return reply.node
		}
	}
	return ""
}

// nodeReply is what one node has answered.
type nodeReply struct {
	*signalpb.DialoutReply
	node store.NodeID
}

// askDiallers asks all other nodes at once about clients that make calls. Those that do
// not answer soon say nothing, as do those of a version that makes no calls.
func (h *Hub) askDiallers(ctx context.Context, q *signalpb.DialoutQuestion) iter.Seq[nodeReply] {
	return func(yield func(nodeReply) bool) {
		ctx, cancel := context.WithTimeout(ctx, dialoutSearch)
		defer cancel()
		peers := slices.DeleteFunc(h.allPeers(), func(p *peer) bool { return !p.linked() })
		replies := make(chan nodeReply, len(peers))
		for _, p := range peers {
			h.background(func() { replies <- nodeReply{h.asksDialler(ctx, p.id, q), p.id} })
		}
		for range peers {
			if reply := <-replies; reply.DialoutReply != nil && !yield(reply) {
				return
			}
		}
	}
}

func (h *Hub) asksDialler(ctx context.Context, node store.NodeID, q *signalpb.DialoutQuestion) *signalpb.DialoutReply {
	client, err := h.client(node)
	if err != nil {
		return nil
	}
	reply, err := client.Dialout(ctx, q)
	if err != nil {
		return nil
	}
	return reply
}

func (s *service) Dialout(ctx context.Context, q *signalpb.DialoutQuestion) (*signalpb.DialoutReply, error) {
	if _, err := s.caller(ctx); err != nil {
		return nil, err
	}
	if q.GetList() {
		return s.hub.listDiallers(), nil
	}
	room := store.RoomID{Backend: store.BackendID(q.GetRoom().GetBackend()), Name: q.GetRoom().GetName()}
	session := s.hub.dialler(room.Backend)
	if q.GetSearch() {
		return &signalpb.DialoutReply{Found: session != nil}, nil
	}
	var callID string
	var err error = &wire.Error{Code: codeNoClient, Message: "the client has gone"}
	if session != nil {
		callID, err = session.dial(ctx, room, &backend.Dialout{Number: q.GetNumber(), Options: q.GetOptions(), Via: q.GetVia()})
	}
	if err == nil {
		return &signalpb.DialoutReply{Found: true, CallId: callID}, nil
	}
	raw, err := json.Marshal(wire.ErrorFor(err))
	return &signalpb.DialoutReply{Error: raw}, err
}
