package federation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

// TestUnsupported: a server that takes no federated clients hears no token.
func TestUnsupported(t *testing.T) {
	there := newFarServer(t)
	done := make(chan error, 1)
	go func() {
		_, err := dialer().Join(t.Context(), seat(there.url()))
		done <- err
	}()
	c := there.next(`{"type":"welcome","welcome":{"features":["mcu"]}}`)
	if err := <-done; !errors.Is(err, wire.ErrFederation) {
		t.Errorf("error %v", err)
	}
	if _, frame, err := c.ws.Read(t.Context()); err == nil {
		t.Errorf("heard %s", frame)
	}
}

// TestNonsense: whatever the other server says instead of an answer, the client is
// told that there is no connection.
func TestNonsense(t *testing.T) {
	for name, lines := range map[string][]string{
		"not JSON":           {`{`},
		"not UTF-8":          {welcome, "{\"type\":\"x\",\"x\":\"\xff\"}"},
		"no type":            {`{"welcome":{}}`},
		"too large":          {`{"type":"welcome","x":"` + strings.Repeat("x", maxFrame) + `"}`},
		"too deep":           {`{"type":"welcome","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`},
		"another answer":     {welcome, `{"id":"federation","type":"room","room":{"roomid":"x"}}`},
		"hello without ids":  {welcome, `{"id":"federation","type":"hello","hello":{}}`},
		"an id of quotes":    {welcome, `{"id":"federation","type":"hello","hello":{"sessionid":"a\"b"}}`},
		"hello of a number":  {welcome, `{"id":"federation","type":"hello","hello":7}`},
		"hello without body": {welcome, `{"id":"federation","type":"hello"}`},
		"room of a list":     {welcome, hello, `{"id":"federation","type":"room","room":[]}`},
		"too much before":    append([]string{welcome}, slices.Repeat([]string{`{"type":"event"}`}, mostBefore)...),
	} {
		t.Run(name, func(t *testing.T) {
			there := newFarServer(t)
			done := make(chan error, 1)
			go func() {
				_, err := dialer().Join(t.Context(), seat(there.url()))
				done <- err
			}()
			c := <-there.conns
			for _, l := range lines {
				// It may be gone before all is said.
				_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(l))
			}
			if err := <-done; wire.ErrorFor(err).Code != wire.CodeFederationFailed && !errors.Is(err, wire.ErrFederation) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestRefusal: what the other server answers is the answer.
func TestRefusal(t *testing.T) {
	there := newFarServer(t)
	done := make(chan error, 1)
	go func() {
		_, err := dialer().Join(t.Context(), seat(there.url()))
		done <- err
	}()
	c := there.next(welcome)
	c.hears(wire.TypeHello)
	c.say(hello)
	c.hears(wire.TypeRoom)
	c.say(`{"id":"federation","type":"error","error":{"code":"no_such_room","message":"not there"}}`)
	if e := wire.ErrorFor(<-done); e.Code != wire.CodeNoSuchRoom || e.Message != "not there" {
		t.Errorf("error %+v", e)
	}
}

// TestNobodySentElsewhere: another server does not send a client of this one elsewhere.
func TestNobodySentElsewhere(t *testing.T) {
	const redirect = `"error":{"code":"redirect","message":"m","details":{"roomid":"r","url":"wss://evil.example/spreed","ticket":"t"}}}`
	there := newFarServer(t)
	done := make(chan error, 1)
	go func() {
		_, err := dialer().Join(t.Context(), seat(there.url()))
		done <- err
	}()
	c := there.next(welcome)
	c.hears(wire.TypeHello)
	c.say(hello)
	c.hears(wire.TypeRoom)
	c.say(`{"id":"federation","type":"error",` + redirect)
	if e := wire.ErrorFor(<-done); e.Code != wire.CodeFederationFailed || e.Details != nil {
		t.Errorf("error %+v", e)
	}
	j := join(t)
	j.far.say(`{"id":"1","type":"error",` + redirect)
	j.hears(`{"id":"1","type":"error","error":{"code":"federation_error","message":"no connection to the other server"}}`)
}

// TestLinkBreaks: the session of before is taken up again; what the client said
// meanwhile goes out then, under its id of there.
func TestLinkBreaks(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	if err := j.link.Send([]byte(`{"type":"message","message":{"data":{"from":"near-session"}}}`)); err != nil {
		t.Fatal(err)
	}
	if j.link.Serves(seat(j.url())) {
		t.Error("serves, though it is interrupted")
	}
	j.far = j.next(welcome)
	if h := j.far.hears(wire.TypeHello).Hello; h.ResumeID != "far-resume" {
		t.Errorf("hello %+v", h)
	}
	j.far.say(hello)
	if m := j.far.hears(wire.TypeMessage); string(m.Message.Data) != `{"from":"far-session"}` {
		t.Errorf("message %s", m.Message.Data)
	}
	j.hears(`{"type":"event","event":{"target":"room","type":"federation_resumed","resumed":true}}`)
	if got := <-j.observed; got != "resumed" {
		t.Errorf("observed %s", got)
	}
}

// TestLinkRenewed: another session, in the same room; what was said is about one that
// is gone.
func TestLinkRenewed(t *testing.T) {
	j := join(t)
	j.far.say(`{"type":"bye"}`)
	j.hears(interrupted)
	if err := j.link.Send([]byte(`{"type":"message","message":{}}`)); err != nil {
		t.Fatal(err)
	}
	j.far = j.next(welcome)
	if h := j.far.hears(wire.TypeHello).Hello; h.Auth == nil {
		t.Errorf("hello %+v", h)
	}
	j.far.say(`{"id":"federation","type":"hello","hello":{"sessionid":"second","resumeid":"r"}}`)
	j.far.hears(wire.TypeRoom)
	j.far.say(room)
	j.hears(`{"type":"event","event":{"target":"room","type":"federation_resumed","resumed":false}}`)
	j.hears(`{"type":"room","room":{"roomid":"near-room","properties":{"name":"R"}}}`)
	j.far.say(`{"type":"event","event":{"target":"room","type":"leave","leave":["second"]}}`)
	j.hears(`{"event":{"leave":["near-session"],"target":"room","type":"leave"},"type":"event"}`)
	j.link.Close()
	j.far.hears(wire.TypeBye)
}

// TestNotRenewedForNobody: the session at the other server is gone, perhaps as the
// participant has come with another one. Nobody takes that one's place for a client that
// is away; when it is back it is in the room again.
func TestNotRenewedForNobody(t *testing.T) {
	j := join(t)
	j.away.Store(true)
	j.far.end()
	j.hears(interrupted)
	c := j.next(welcome)
	c.hears(wire.TypeHello)
	c.say(`{"id":"federation","type":"error","error":{"code":"no_such_session","message":"x"}}`)
	if _, frame, err := c.ws.Read(t.Context()); err == nil {
		t.Fatalf("heard %s", frame)
	}
	c.end()
	for range 2 {
		<-j.asked
	}
	if len(j.conns) > 0 {
		t.Error("it connects for nobody")
	}
	j.away.Store(false)
	j.far = j.next(welcome)
	if h := j.far.hears(wire.TypeHello).Hello; h.Auth == nil {
		t.Errorf("hello %+v", h)
	}
}

// TestTokenExpired: the other server wants another session, and the token is too old.
func TestTokenExpired(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	j.far = j.next(welcome)
	j.far.hears(wire.TypeHello)
	j.far.say(`{"id":"federation","type":"error","error":{"code":"no_such_session","message":"x"}}`)
	j.far.hears(wire.TypeHello)
	j.far.say(`{"id":"federation","type":"error","error":{"code":"token_expired","message":"x"}}`)
	if err := j.end(); wire.ErrorFor(err).Code != wire.CodeTokenExpired {
		t.Errorf("error %v", err)
	}
	if got := <-j.observed; got != "given_up" {
		t.Errorf("observed %s", got)
	}
}

// TestReplaced: the participant has come with another session.
func TestReplaced(t *testing.T) {
	j := join(t)
	j.far.say(`{"type":"bye","bye":{"reason":"room_session_reconnected"}}`)
	if err := j.end(); !errors.Is(err, ErrReplaced) {
		t.Errorf("error %v", err)
	}
}

// TestReplacedMeanwhile: it has come while this one was interrupted, and the other server
// says so when it is asked.
func TestReplacedMeanwhile(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	c := j.next(welcome)
	c.hears(wire.TypeHello)
	c.say(`{"type":"bye","bye":{"reason":"room_session_reconnected"}}`)
	if err := j.end(); !errors.Is(err, ErrReplaced) {
		t.Errorf("error %v", err)
	}
}

// TestAllCounts: also what the client does not hear of has to be read.
func TestAllCounts(t *testing.T) {
	j := join(t)
	const unheard, heard = `{"type":"event","event":{"target":"roomlist","type":"update"}}`, `{"type":"message","message":{"data":1}}`
	j.far.say(unheard, heard)
	j.hears(`{"message":{"data":1},"type":"message"}`)
	for _, frame := range []string{unheard, heard} {
		if got := <-j.read; got != len(frame) {
			t.Errorf("%d bytes, want %d", got, len(frame))
		}
	}
}

// TestLastWords: what the client has said before it leaves is heard.
func TestLastWords(t *testing.T) {
	there := newFarServer(t)
	lines := make(chan *line, 1)
	go func() {
		ln, err := dialer().dial(t.Context(), there.url())
		if err != nil {
			t.Errorf("dial: %v", err)
		}
		lines <- ln
	}()
	c := there.next(welcome)
	l := newLink(dialer(), seat(there.url()), <-lines)
	const last = 32
	for range last {
		if err := l.Send([]byte(`{"type":"message","message":{}}`)); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	ended := make(chan error, 1)
	go func() { ended <- l.Run(t.Context(), &joined{}) }()
	for range last {
		c.hears(wire.TypeMessage)
	}
	c.hears(wire.TypeBye)
	c.end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestLeave: the other server hears it, and the client hears nothing more.
func TestLeave(t *testing.T) {
	j := join(t)
	j.link.Close()
	j.link.Close()
	j.far.hears(wire.TypeBye)
	j.far.say(`{"type":"message","message":{"data":1}}`)
	j.far.end()
	if err := j.end(); err != nil {
		t.Errorf("error %v", err)
	}
	if len(j.heard) > 0 {
		t.Errorf("heard %s", <-j.heard)
	}
}

// TestLeaveInBetween: who leaves while the connection is made again does not come back.
func TestLeaveInBetween(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	c := j.next()
	j.link.Close()
	if err := j.end(); err != nil {
		t.Errorf("error %v", err)
	}
	_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(welcome)) // it has gone
	if _, frame, err := c.ws.Read(t.Context()); err == nil {
		t.Errorf("heard %s", frame)
	}
}

// TestQueueFull: a server that cannot be reached holds up nobody.
func TestQueueFull(t *testing.T) {
	l := &Link{out: make(chan []byte, maxQueued)}
	for n := range maxQueued {
		if err := l.Send(fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Send(nil); wire.ErrorFor(err).Code != wire.CodeFederationFailed {
		t.Errorf("error %v", err)
	}
	l.held = []byte("0")
	if l.forget(); l.held != nil || len(l.out) != 0 {
		t.Error("not forgotten")
	}
}
