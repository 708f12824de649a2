package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

// socket is one WebSocket to a node. Until somebody reads it continuously its
// owner exchanges questions and answers.
type socket struct {
	url    string
	ws     *websocket.Conn
	asked  atomic.Uint64
	frames atomic.Uint64 // that came
}

// Limits of what a client takes.
const (
	maxServerFrame = 4 << 20
	maxInbox       = 256
	writeTimeout   = 5 * time.Second
)

func open(ctx context.Context, url string, via *http.Client) (*socket, error) {
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: via})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ws.SetReadLimit(maxServerFrame)
	return &socket{url: url, ws: ws}, nil
}

func (s *socket) nextID() string { return strconv.FormatUint(s.asked.Add(1), 10) }

// write sends a message.
func (s *socket) write(ctx context.Context, m wire.ClientMessage) error {
	frame, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, frame)
}

// read waits for the next frame.
func (s *socket) read(ctx context.Context) (wire.ServerMessage, error) {
	_, frame, err := s.ws.Read(ctx)
	if err != nil {
		return wire.ServerMessage{}, err
	}
	s.frames.Add(1)
	var m wire.ServerMessage
	if err := json.Unmarshal(frame, &m); err != nil {
		return wire.ServerMessage{}, fmt.Errorf("%w: %w", ErrBadFrame, err)
	}
	return m, nil
}

// greet says hello and waits for the answer. What comes in between is the
// welcome.
func (s *socket) greet(ctx context.Context, hello wire.Hello) (*wire.HelloReply, error) {
	id := s.nextID()
	if err := s.write(ctx, wire.ClientMessage{ID: id, Type: wire.TypeHello, Hello: &hello}); err != nil {
		return nil, err
	}
	for {
		m, err := s.read(ctx)
		switch {
		case err != nil:
			return nil, err
		case m.ID != id:
			continue
		case m.Error != nil:
			return nil, m.Error
		case m.Hello == nil || m.Hello.SessionID == "":
			return nil, ErrAnswer
		}
		return m.Hello, nil
	}
}

// ping asks for a sign of life; any frame is one.
func (s *socket) ping(ctx context.Context) error {
	return s.write(ctx, wire.ClientMessage{ID: s.nextID(), Type: wire.TypePing})
}

func (s *socket) close() { _ = s.ws.CloseNow() }
