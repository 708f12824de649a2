package signaling_test

import (
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

// TestFragments: a message that comes drop by drop, with signs of life in between, is
// refused when it is too large, not when it ends (checklist S22).
func TestFragments(t *testing.T) {
	c := newCluster(t, 1)
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(t.Context(), c.nodes[0].url()+"/spreed", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }() // the node has ended it
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := ws.Read(t.Context()); err != nil {
				ended <- err
				return
			}
		}
	}()
	w, err := ws.Writer(t.Context(), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	for sent := 0; sent <= wire.MaxFrame; sent += 512 {
		if _, err := w.Write([]byte(strings.Repeat("x", 512))); err != nil {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
		if sent%(8<<10) == 0 && sent < wire.MaxFrame {
			if err := ws.Ping(t.Context()); err != nil {
				t.Fatalf("after %d bytes: %v", sent, err)
			}
		}
	}
	if err := <-ended; websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("it ends with %v", err)
	}
}

// TestNoCompression: what is not agreed on cannot be more than what comes (checklist
// S22).
func TestNoCompression(t *testing.T) {
	c := newCluster(t, 1)
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, answer, err := websocket.Dial(t.Context(), c.nodes[0].url()+"/spreed", &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }() // nobody listens to what it ends with
	if agreed := answer.Header.Get("Sec-WebSocket-Extensions"); agreed != "" {
		t.Errorf("agreed on %q", agreed)
	}
}
