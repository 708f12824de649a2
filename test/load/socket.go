package load

import (
	"context"
	"encoding/json"
	"fmt"
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

func open(ctx context.Context, url string) (*socket, error) {
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ws.SetReadLimit(maxServerFrame)
	return &socket{url: url, ws: ws}, nil
}

// heard is a frame of a node.
type heard struct {
	wire.ServerMessage
	Hello *greeting  `json:"hello"`
	Move  *MoveOrder `json:"move"`
}

// greeting is the answer to a hello.
type greeting struct {
	wire.HelloReply
	// Resumed is what became of the media of a session that was taken up.
	Resumed *Resumed `json:"resumed"`
	// Moving: this is a session on its way here.
	Moving bool `json:"moving"`
}

// Resumed tells whether the media have gone on, and if not, in which room the
// session is.
type Resumed struct {
	Media bool   `json:"media"`
	Room  string `json:"room"`
}

// MoveOrder asks a client to go to another node; the answer to its end is one
// too.
type MoveOrder struct {
	State      string `json:"state"`
	RoomID     string `json:"roomid"`
	URL        string `json:"url"`
	Ticket     string `json:"ticket"`
	Reason     string `json:"reason"`
	DeadlineMS int    `json:"deadline_ms"`
}

func (s *socket) nextID() string { return strconv.FormatUint(s.asked.Add(1), 10) }

// write sends anything that has the shape of a message.
func (s *socket) write(ctx context.Context, m any) error {
	frame, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, frame)
}

// read waits for the next frame.
func (s *socket) read(ctx context.Context) (heard, error) {
	_, frame, err := s.ws.Read(ctx)
	if err != nil {
		return heard{}, err
	}
	s.frames.Add(1)
	var h heard
	if err := json.Unmarshal(frame, &h); err != nil {
		return heard{}, fmt.Errorf("%w: %w", ErrBadFrame, err)
	}
	return h, nil
}

// greet says hello and waits for the answer. What comes in between is the
// welcome.
func (s *socket) greet(ctx context.Context, hello wire.Hello) (*greeting, error) {
	id := s.nextID()
	if err := s.write(ctx, wire.ClientMessage{ID: id, Type: wire.TypeHello, Hello: &hello}); err != nil {
		return nil, err
	}
	for {
		h, err := s.read(ctx)
		switch {
		case err != nil:
			return nil, err
		case h.ID != id:
			continue
		case h.Error != nil:
			return nil, h.Error
		case h.Hello == nil || h.Hello.SessionID == "":
			return nil, ErrAnswer
		}
		return h.Hello, nil
	}
}

// ping asks for a sign of life; any frame is one.
func (s *socket) ping(ctx context.Context) error {
	return s.write(ctx, wire.ClientMessage{ID: s.nextID(), Type: "ping"})
}

func (s *socket) close() { _ = s.ws.CloseNow() }
