package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/node/forward"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// Paths of the questions that a node without the database asks a server.
const (
	pathAuthenticate = "/embedded/authenticate"
	pathJoinRoom     = "/embedded/join-room"
	pathConversation = "/embedded/conversation"
)

// reply is the answer to a question: a value, or the refusal as a client would
// be told it.
type reply[T any] struct {
	Value   T           `json:"value"`
	Refusal *wire.Error `json:"refusal,omitempty"`
}

func replyOf[T any](value T, err error) reply[T] {
	if err != nil {
		return reply[T]{Refusal: wire.ErrorFor(err)}
	}
	return reply[T]{Value: value}
}

type authenticateQuestion struct {
	Params json.RawMessage `json:"params"`
}

type conversationQuestion struct {
	Room string `json:"room"`
}

// answers serves what other nodes pass on and ask.
func (n *Node) answers() http.Handler {
	e := embedded{n.api}
	mux := http.NewServeMux()
	mux.Handle("/ocs/", n.api.Handler())
	mux.Handle("/status.php", n.api.Handler())
	mux.Handle("POST "+pathAuthenticate, forward.Answer(func(ctx context.Context, q authenticateQuestion) reply[backend.AuthResponse] {
		return replyOf(e.Authenticate(ctx, q.Params))
	}))
	mux.Handle("POST "+pathJoinRoom, forward.Answer(func(ctx context.Context, q backend.RoomRequest) reply[backend.RoomResponse] {
		return replyOf(e.JoinRoom(ctx, q))
	}))
	mux.Handle("POST "+pathConversation, forward.Answer(func(ctx context.Context, q conversationQuestion) reply[api.Conversation] {
		c, err := n.api.Conversation(ctx, q.Room)
		if errors.Is(err, api.ErrNoRoom) {
			err = wire.ErrNoSuchRoom
		}
		return replyOf(c, err)
	}))
	return forward.Receive(n.cluster, mux)
}

// asker meets signaling.Embedded and conversationBook on a node without the
// database.
type asker struct{ *forward.Forwarder }

func (a asker) Authenticate(ctx context.Context, params json.RawMessage) (backend.AuthResponse, error) {
	return ask[backend.AuthResponse](ctx, a, pathAuthenticate, authenticateQuestion{params}, wire.ErrAuthFailed)
}

func (a asker) JoinRoom(ctx context.Context, r backend.RoomRequest) (backend.RoomResponse, error) {
	return ask[backend.RoomResponse](ctx, a, pathJoinRoom, r, wire.ErrRoomJoinFailed)
}

// LeaveRoom has nothing to do: who is in a conversation is known at its home.
func (asker) LeaveRoom(context.Context, backend.RoomRequest) error { return nil }

func (a asker) Conversation(ctx context.Context, room string) (api.Conversation, error) {
	c, err := ask[api.Conversation](ctx, a, pathConversation, conversationQuestion{room}, wire.ErrProcessingFailed)
	if errors.Is(err, wire.ErrNoSuchRoom) {
		return api.Conversation{}, errors.Join(api.ErrNoRoom, err)
	}
	return c, err
}

// ask gives the answer of a server, its refusal, or failed when none answers.
func ask[A any](ctx context.Context, a asker, path string, question any, failed error) (A, error) {
	var r reply[A]
	if err := a.Ask(ctx, path, question, &r); err != nil {
		return r.Value, errors.Join(failed, err)
	}
	if r.Refusal != nil {
		return r.Value, r.Refusal
	}
	return r.Value, nil
}
