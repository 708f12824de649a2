package signaling

import (
	"context"
	"io"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

// carrier is what a connection of a client runs over: a WebSocket of this node,
// or another node that has it.
type carrier interface {
	// read gives the next message; it is called by one goroutine.
	read(context.Context) ([]byte, error)
	// write is called by one goroutine. It tells how many of the frames are
	// written whole; those of a session may come back as unheard.
	write(ctx context.Context, frames [][]byte, ofSession bool) (int, error)
	// try is write as far as it goes without waiting. If that is not to the end it is
	// errPatience, and write is next, also if all frames have been taken.
	try(frames [][]byte, ofSession bool) (int, error)
	// ask puts a question for a sign of life before what is written next. It is false if
	// the last one is without an answer.
	ask() bool
	// due tells whether something is to be written besides frames.
	due() bool
	// close ends the connection politely.
	close(websocket.StatusCode)
	// cut ends it at once.
	cut()
	// unheard gives, after cut, what was written for the session and is known not
	// to have come to the client, oldest first.
	unheard() [][]byte
}

// socket is a WebSocket: the library has its beginning, its end, and what is read;
// what is written goes past it, as many frames as there are at once.
type socket struct {
	ws  *websocket.Conn
	out *outlet
}

// read refuses a large message before it is in memory.
func (s socket) read(ctx context.Context) ([]byte, error) {
	kind, r, err := s.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	frame, err := io.ReadAll(io.LimitReader(r, wire.MaxFrame+1))
	switch {
	case err != nil:
		return nil, err
	case len(frame) > wire.MaxFrame:
		return nil, wire.ErrTooLarge
	case kind != websocket.MessageText:
		return nil, wire.ErrFormat
	}
	return frame, nil
}

func (s socket) write(_ context.Context, frames [][]byte, ofSession bool) (int, error) {
	return s.out.writeFrames(frames, ofSession)
}

func (s socket) try(frames [][]byte, ofSession bool) (int, error) {
	return s.out.tryFrames(frames, ofSession)
}

func (s socket) ask() bool { return s.out.ask() }

func (s socket) due() bool { return s.out.control.due() }

func (s socket) close(status websocket.StatusCode) {
	_ = s.ws.Close(status, "") // the client may be gone already
}

func (s socket) cut() {
	_ = s.ws.CloseNow() // after a close handshake there is nothing left to close
}

func (s socket) unheard() [][]byte { return s.out.takeUnheard() }
