package tlsout_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/tlsout"
)

// counted counts what comes.
type counted struct {
	net.Conn
	came int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.came += int64(n)
	return n, err
}

// pair is a connection that is made by both ends, and the socket of the client.
func pair(t *testing.T) (here net.Conn, there *tls.Conn, socket *counted) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sealed := tlsout.NewListener(l, server.TLS)
	defer func() { _ = sealed.Close() }()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if here, err = sealed.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	socket = &counted{Conn: conn}
	there = tls.Client(socket, &tls.Config{InsecureSkipVerify: true})
	t.Cleanup(func() {
		_ = conn.Close()
		_ = here.Close()
	})
	first := make(chan error, 1)
	go func() {
		_, err := here.Write([]byte("first"))
		first <- err
	}()
	got := make([]byte, 5)
	if _, err := io.ReadFull(there, got); err != nil || string(got) != "first" {
		t.Fatalf("%q: %v", got, err)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	return here, there, socket
}

// TestHold: whoever holds a connection knows each byte on the wire, writes them itself,
// also the end, and the other end reads what was sealed.
func TestHold(t *testing.T) {
	here, there, socket := pair(t)
	held, written, ok := tlsout.Hold(here)
	if !ok || written != socket.came {
		t.Fatalf("held: %v; %d bytes are said to be written, %d came", ok, written, socket.came)
	}
	want := bytes.Repeat([]byte("a text that is longer than a record may be "), 1000)
	wire, err := held.Seal([]byte("before"), want)
	if err != nil || !bytes.HasPrefix(wire, []byte("before")) || len(wire) <= len(want) {
		t.Fatalf("%d bytes: %v", len(wire), err)
	}
	wire, err = held.Seal(wire[len("before"):], []byte("more"))
	if err != nil {
		t.Fatal(err)
	}
	end, err := held.SealEnd()
	if err != nil || len(end) == 0 {
		t.Fatalf("%d bytes end it: %v", len(end), err)
	}
	go func() {
		for _, p := range [][]byte{wire, end} {
			if _, err := held.Conn.Write(p); err != nil {
				t.Error(err)
			}
		}
	}()
	got, err := io.ReadAll(there)
	if err != nil || !bytes.Equal(got, append(want, "more"...)) {
		t.Errorf("%d bytes came: %v", len(got), err)
	}
	if all := written + int64(len(wire)+len(end)); socket.came != all {
		t.Errorf("%d bytes came of %d", socket.came, all)
	}
}

// TestHoldUnasked: what the other end makes crypto/tls say, until something is sealed, is
// bounded; what is sealed is not.
func TestHoldUnasked(t *testing.T) {
	here, there, _ := pair(t)
	held, _, _ := tlsout.Hold(here)
	unasked := 0
	for unasked < 1<<20 {
		n, err := held.Write(make([]byte, 27)) // an answer to a new key
		if err != nil {
			break
		}
		unasked += n
	}
	if unasked == 0 || unasked > 16<<10 {
		t.Errorf("%d bytes wait for somebody who seals", unasked)
	}
	text := bytes.Repeat([]byte("long "), 10_000)
	wire, err := held.Seal(nil, text)
	if err != nil || len(wire) < unasked+len(text) {
		t.Fatalf("%d bytes: %v", len(wire), err)
	}
	go func() { _, _ = held.Conn.Write(wire[unasked:]) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(there, got); err != nil || !bytes.Equal(got, text) {
		t.Errorf("what came is not what was sealed: %v", err)
	}
}

// TestHoldOthers: what is not of here is not held.
func TestHoldOthers(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	for name, c := range map[string]net.Conn{"no TLS": a, "another TLS": tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS12})} {
		if _, _, ok := tlsout.Hold(c); ok {
			t.Error(name)
		}
	}
}
