package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// hostile is a connection that answers with what a script has, whatever it is asked.
type hostile struct {
	script []byte
	last   [stun.TransactionIDSize]byte // of what was asked
	stream bool
	asked  int
}

// What becomes of a message of the script.
const (
	mine   = 1 // it gets the transaction of the question
	signed = 2 // and is signed anew
)

var key = stun.NewLongTermIntegrity("user", "realm", "password")

// Read gives a message: a length of two bytes, a byte of flags, and so many bytes.
func (h *hostile) Read(p []byte) (int, error) {
	if len(h.script) < 3 {
		return 0, os.ErrDeadlineExceeded
	}
	n, flags := int(h.script[0])<<8|int(h.script[1]), h.script[2]
	h.script = h.script[3:]
	if n == 0 && h.stream {
		return 0, io.EOF
	}
	message := bytes.Clone(h.script[:min(n, len(h.script), len(p))])
	h.script = h.script[len(message):]
	if flags&mine != 0 && len(message) >= header {
		copy(message[8:], h.last[:])
	}
	if m := stun.New(); flags&signed != 0 && stun.Decode(message, m) == nil {
		if again, err := stun.Build(append(without(m), key)...); err == nil {
			message = again.Raw
		}
	}
	return copy(p, message), nil
}

// without is a message without its signature.
func without(m *stun.Message) []stun.Setter {
	setters := []stun.Setter{stun.NewTransactionIDSetter(m.TransactionID), m.Type}
	for _, a := range m.Attributes {
		if a.Type != stun.AttrMessageIntegrity {
			setters = append(setters, a)
		}
	}
	return setters
}

func (h *hostile) Write(p []byte) (int, error) {
	if h.asked++; len(p) >= header {
		copy(h.last[:], p[8:header])
	}
	return len(p), nil
}

func (*hostile) Close() error                     { return nil }
func (*hostile) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (*hostile) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (*hostile) SetDeadline(time.Time) error      { return nil }
func (*hostile) SetReadDeadline(time.Time) error  { return nil }
func (*hostile) SetWriteDeadline(time.Time) error { return nil }

// says adds a message to a script.
func says(t testing.TB, script []byte, flags byte, setters ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	script = append(script, byte(len(m.Raw)>>8), byte(len(m.Raw)), flags)
	return append(script, m.Raw...)
}

// dialogue is one in which everything is answered.
func dialogue(t testing.TB) []byte {
	me := stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 7}
	script := says(t, nil, mine, stun.NewType(stun.MethodBinding, stun.ClassSuccessResponse), &me)
	script = says(t, script, mine, stun.NewType(stun.MethodAllocate, stun.ClassErrorResponse), stun.CodeUnauthorized, stun.NewRealm("realm"), stun.NewNonce("1"))
	script = says(t, script, mine, stun.NewType(stun.MethodAllocate, stun.ClassErrorResponse), stun.CodeStaleNonce, stun.NewRealm("realm"), stun.NewNonce("2"))
	script = says(t, script, mine|signed, stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse), &me, relayed(me), key)
	script = says(t, script, 0, stun.TransactionID, stun.NewType(stun.MethodData, stun.ClassIndication), peer{netip.MustParseAddrPort("[2001:db8::1]:9")}, stun.RawAttribute{Type: stun.AttrData, Value: []byte("hello")})
	return says(t, script, mine|signed, stun.NewType(stun.MethodCreatePermission, stun.ClassSuccessResponse), key)
}

type relayed stun.XORMappedAddress

func (r relayed) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress(r).AddToAs(m, stun.AttrXORRelayedAddress)
}

// FuzzTURNServer: whatever a server answers, by datagrams or a stream, nothing panics, little
// is asked, and who looks gets an answer or an error that is known.
func FuzzTURNServer(f *testing.F) {
	well := dialogue(f)
	for _, stream := range []bool{false, true} {
		f.Add(well, stream)
		f.Add(well[:len(well)/2], stream)
	}
	f.Add([]byte{0, 4, 0, 0x40, 0, 0xff, 0xff}, true)
	f.Add([]byte{0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, script []byte, stream bool) {
		h := &hostile{script: script, stream: stream}
		c := New(h, stream)
		known := func(err error) {
			var refused *Refusal
			if err != nil && !errors.As(err, &refused) && !errors.Is(err, ErrSilent) && !errors.Is(err, ErrClosed) &&
				!errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsigned) && !errors.Is(err, ErrNoRealm) {
				t.Errorf("%v", err)
			}
			if refused != nil && len([]rune(refused.Reason)) > maxReason {
				t.Errorf("a reason of %d runes", len(refused.Reason))
			}
		}
		mapped, err := c.Bind(t.Context())
		known(err)
		if err == nil && !mapped.IsValid() {
			t.Errorf("mapped %v", mapped)
		}
		a, err := c.Allocate(t.Context(), "user", "password", false)
		known(err)
		if err == nil && (!a.Relayed.IsValid() || !a.Mapped.IsValid()) {
			t.Errorf("%+v", a)
		}
		known(c.Permit(t.Context(), netip.MustParseAddr("192.0.2.1")))
		for range 3 {
			from, _, err := c.Receive(t.Context())
			known(err)
			if err == nil && !from.IsValid() {
				t.Errorf("from %v", from)
			}
		}
		_ = c.Close()
		if len(c.waiting) > maxWaiting || h.asked > 4*maxTries*8 {
			t.Errorf("%d packets wait, %d requests", len(c.waiting), h.asked)
		}
	})
}

// TestDialogue: all steps, by datagrams and by a stream.
func TestDialogue(t *testing.T) {
	for _, stream := range []bool{false, true} {
		c := New(&hostile{script: dialogue(t), stream: stream}, stream)
		if mapped, err := c.Bind(t.Context()); err != nil || mapped.String() != "192.0.2.1:7" {
			t.Errorf("%v, %v", mapped, err)
		}
		a, err := c.Allocate(t.Context(), "user", "password", false)
		if err != nil || a.Open || a.Relayed.String() != "192.0.2.1:7" {
			t.Errorf("%+v, %v", a, err)
		}
		if err := c.Permit(t.Context(), a.Relayed.Addr()); err != nil {
			t.Error(err)
		}
		// It came while the permission was waited for.
		if from, data, err := c.Receive(t.Context()); err != nil || from.String() != "[2001:db8::1]:9" || string(data) != "hello" {
			t.Errorf("%v %q, %v", from, data, err)
		}
	}
	// Another password: the answer is not believed.
	c := New(&hostile{script: dialogue(t)}, false)
	if _, err := c.Bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Allocate(t.Context(), "user", "another", false); !errors.Is(err, ErrUnsigned) {
		t.Errorf("%v", err)
	}
}

// TestStream: messages come in pieces, with data of channels in between.
func TestStream(t *testing.T) {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	channel := []byte{0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0}
	all := append(append(bytes.Clone(channel), m.Raw...), channel...)
	all = append(all, m.Raw...)
	var script []byte
	for _, b := range all {
		script = append(script, 0, 1, 0, b)
	}
	s := newStream(&hostile{script: script, stream: true})
	for range 2 {
		got, err := s.read(time.Now())
		if err != nil || got.TransactionID != m.TransactionID {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if _, err := s.read(time.Now()); !late(err) {
		t.Errorf("%v", err)
	}
}
