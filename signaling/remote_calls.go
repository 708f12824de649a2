package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// rpcTimeout bounds a question to another node.
const rpcTimeout = 5 * time.Second

// service answers other nodes.
type service struct {
	signalpb.UnimplementedSignalingServer
	hub *Hub
}

func (s *service) caller(ctx context.Context) (store.NodeID, error) {
	id, ok := s.hub.deps.Peers.PeerID(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "no node")
	}
	return id, nil
}

// Link is the other end of a stream that a node with a smaller id opened.
func (s *service) Link(st grpc.BidiStreamingServer[signalpb.Frame, signalpb.Frame]) error {
	id, err := s.caller(st.Context())
	if err != nil {
		return err
	}
	if id >= s.hub.deps.Self {
		return status.Error(codes.FailedPrecondition, "the node with the smaller id opens the link")
	}
	if !s.hub.begin() {
		return status.Error(codes.Unavailable, "stopping")
	}
	defer s.hub.end()
	p := s.hub.addPeer(id)
	if p == nil {
		return status.Error(codes.Unavailable, "stopping")
	}
	if err := st.Send(&signalpb.Frame{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	return p.serve(serverStream{st, ctx}, cancel)
}

// serverStream is a stream that can be ended from our side: a handler ends its
// stream by returning.
type serverStream struct {
	grpc.BidiStreamingServer[signalpb.Frame, signalpb.Frame]
	ctx context.Context
}

func (s serverStream) Context() context.Context { return s.ctx }

func (s *service) Notify(ctx context.Context, q *signalpb.NotifyRequest) (*signalpb.NotifyReply, error) {
	if _, err := s.caller(ctx); err != nil {
		return nil, err
	}
	id, err := roomID(q.GetRoom())
	if err != nil {
		return &signalpb.NotifyReply{Outcome: signalpb.Outcome_OUTCOME_BAD_REQUEST}, nil
	}
	req, err := backend.DecodeRequest(q.GetRequest())
	if err != nil {
		return &signalpb.NotifyReply{Outcome: signalpb.Outcome_OUTCOME_BAD_REQUEST}, nil
	}
	out, err := s.hub.notifyHere(ctx, id, q.GetEpoch(), req)
	return &signalpb.NotifyReply{Outcome: outcomeOf(err), Out: texts(out)}, nil
}

func (s *service) Status(ctx context.Context, q *signalpb.StatusRequest) (*signalpb.StatusReply, error) {
	if _, err := s.caller(ctx); err != nil {
		return nil, err
	}
	id, err := roomID(q.GetRoom())
	if err != nil {
		return &signalpb.StatusReply{Outcome: signalpb.Outcome_OUTCOME_BAD_REQUEST}, nil
	}
	since, members, err := s.hub.statusHere(ctx, id, q.GetEpoch())
	reply := &signalpb.StatusReply{Outcome: outcomeOf(err), CallSince: millis(since)}
	for _, m := range members {
		// The list of rooms asks often; the entries of clients are not for it.
		reply.Sessions = append(reply.Sessions, &signalpb.Member{
			Session: m.GetSession(), UserId: m.GetUserId(), RoomSession: m.GetRoomSession(), InCall: m.GetInCall(),
		})
	}
	return reply, nil
}

func (s *service) Handover(ctx context.Context, q *signalpb.HandoverRequest) (*signalpb.HandoverReply, error) {
	to, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	reply, ok := s.hub.giveAway(to, store.SessionID(q.GetSession()), q.GetKey())
	if !ok {
		return &signalpb.HandoverReply{Outcome: signalpb.Outcome_OUTCOME_NO_SESSION}, nil
	}
	return reply, nil
}

func (s *service) Warm(ctx context.Context, q *signalpb.WarmRequest) (*signalpb.WarmReply, error) {
	to, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	gone := &signalpb.WarmReply{Session: &signalpb.HandoverReply{Outcome: signalpb.Outcome_OUTCOME_NO_SESSION}}
	room, err := roomID(q.GetRoom())
	if err != nil {
		return gone, nil
	}
	reply, ok := s.hub.lend(to, room, store.SessionID(q.GetSession()), q.GetKey())
	if !ok {
		return gone, nil
	}
	return reply, nil
}

// handover asks a node for a session.
func (h *Hub) handover(ctx context.Context, from store.NodeID, q *signalpb.HandoverRequest) (*signalpb.HandoverReply, error) {
	client, err := h.client(from)
	if err != nil {
		return nil, err
	}
	reply, err := client.Handover(ctx, q)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", wire.ErrNoSuchSession, err)
	case reply.GetOutcome() != signalpb.Outcome_OUTCOME_OK:
		return nil, wire.ErrNoSuchSession
	}
	return reply, nil
}

func (h *Hub) client(id store.NodeID) (signalpb.SignalingClient, error) {
	cc, err := h.deps.Peers.Dial(id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDetached, err)
	}
	return signalpb.NewSignalingClient(cc), nil
}

func (h *Hub) notifyThere(ctx context.Context, home store.Home, id store.RoomID, req backend.Request) (out []store.SessionID, err error) {
	client, err := h.client(home.Node)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	reply, err := client.Notify(ctx, &signalpb.NotifyRequest{Room: roomOf(id), Epoch: home.Epoch, Request: raw})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDetached, err)
	}
	for _, text := range reply.GetOut() {
		out = append(out, store.SessionID(text))
	}
	return out, errorOf(reply.GetOutcome())
}

func (h *Hub) statusThere(ctx context.Context, home store.Home, id store.RoomID) (time.Time, []*signalpb.Member, error) {
	client, err := h.client(home.Node)
	if err != nil {
		return time.Time{}, nil, err
	}
	reply, err := client.Status(ctx, &signalpb.StatusRequest{Room: roomOf(id), Epoch: home.Epoch})
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("%w: %w", ErrDetached, err)
	}
	return fromMillis(reply.GetCallSince()), reply.GetSessions(), errorOf(reply.GetOutcome())
}

// outcomes says how errors travel. It is read only.
var outcomes = []struct {
	err     error
	outcome signalpb.Outcome
}{
	{ErrNoSession, signalpb.Outcome_OUTCOME_NO_SESSION},
	{ErrNotHome, signalpb.Outcome_OUTCOME_NOT_HOME},
	{errStale, signalpb.Outcome_OUTCOME_NOT_HOME},
	{backend.ErrBadRequest, signalpb.Outcome_OUTCOME_BAD_REQUEST},
}

func outcomeOf(err error) signalpb.Outcome {
	if err == nil {
		return signalpb.Outcome_OUTCOME_OK
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o.outcome
		}
	}
	return signalpb.Outcome_OUTCOME_DETACHED
}

func errorOf(outcome signalpb.Outcome) error {
	if outcome == signalpb.Outcome_OUTCOME_OK {
		return nil
	}
	for _, o := range outcomes {
		if o.outcome == outcome {
			return o.err
		}
	}
	return ErrDetached
}
