package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	writeTimeout = 10 * time.Second
	pingInterval = 20 * time.Second
	pongTimeout  = 25 * time.Second
	// mostBefore is how much another server may say before it answers.
	mostBefore = 100
)

var errBroken = errors.New("the connection broke")

// line is one connection to another server.
type line struct{ ws *websocket.Conn }

func (l *line) next(ctx context.Context) (*said, error) {
	_, r, err := l.ws.Reader(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errBroken)
	}
	frame, err := io.ReadAll(io.LimitReader(r, maxFrame+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errBroken)
	}
	m, err := hear(frame)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, err)
	}
	return m, nil
}

func (l *line) write(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return l.ws.Write(ctx, websocket.MessageText, frame)
}

func (l *line) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pongTimeout)
	defer cancel()
	return l.ws.Ping(ctx)
}

func (l *line) cut() { _ = l.ws.CloseNow() }

// ask says something and waits for the answer. What comes before that is for a client
// that is in no room yet. An error that is the answer is a *wire.Error.
func (l *line) ask(ctx context.Context, m wire.ClientMessage) (*said, error) {
	m.ID = "federation"
	frame := wire.Marshal(m)
	if frame == nil {
		return nil, wire.ErrFormat
	}
	if l.write(ctx, frame) != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errBroken)
	}
	for range mostBefore {
		answer, err := l.next(ctx)
		switch {
		case err != nil:
			return nil, err
		case answer.Type == wire.TypeBye:
			return nil, answer.farewell()
		case answer.ID != m.ID:
			continue
		case answer.Type == wire.TypeError:
			return nil, answer.refusal()
		case answer.Type != m.Type:
			return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errNonsense)
		}
		return answer, nil
	}
	return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errNonsense)
}

// session is what the client has at the other server.
type session struct {
	id       store.SessionID
	resumeID string
}

func (l *line) hello(ctx context.Context, h wire.Hello) (session, error) {
	answer, err := l.ask(ctx, wire.ClientMessage{Type: wire.TypeHello, Hello: &h})
	if err != nil {
		return session{}, err
	}
	if !validID(answer.Hello.SessionID) {
		return session{}, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errNonsense)
	}
	return session{store.SessionID(answer.Hello.SessionID), answer.Hello.ResumeID}, nil
}
