package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

const upgradeHead = "GET /spreed?x=1 HTTP/1.1\r\nHost: talk.example:8443\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"

var upgradePaths = []string{"/spreed", "/standalone-signaling/spreed"}

func TestUpgradeOf(t *testing.T) {
	with := func(old, now string) string {
		if !strings.Contains(upgradeHead, old) {
			t.Fatalf("the head has no %q", old)
		}
		return strings.Replace(upgradeHead, old, now, 1)
	}
	for what, c := range map[string]struct {
		head string
		ok   bool
	}{
		"an upgrade":              {upgradeHead, true},
		"behind a path":           {with("/spreed", "/standalone-signaling/spreed"), true},
		"fields in small letters": {with("Upgrade: WebSocket", "upgrade: websocket"), true},
		"another path":            {with("/spreed", "/spreed/"), false},
		"a path in other letters": {with("/spreed", "/%73preed"), false},
		"another method":          {with("GET", "POST"), false},
		"another version":         {with("HTTP/1.1", "HTTP/1.0"), false},
		"a whole URL":             {with("/spreed", "http://talk.example/spreed"), false},
		"another protocol":        {with("WebSocket", "h2c"), false},
		"no connection field":     {with("keep-alive, Upgrade", "keep-alive"), false},
		"a body":                  {with("X-Forwarded-For: 192.0.2.1", "Content-Length: 4"), false},
		"chunks":                  {with("X-Forwarded-For: 192.0.2.1", "Transfer-Encoding: chunked"), false},
		"an expectation":          {with("X-Forwarded-For: 192.0.2.1", "Expect: 100-continue"), false},
		"two hosts":               {with("X-Forwarded-For: 192.0.2.1", "host: other.example"), false},
		"no host":                 {with("Host: talk.example:8443\r\n", ""), false},
		"a bad host":              {with("talk.example:8443", "talk example"), false},
		"a folded line":           {with("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.1\r\n 192.0.2.2"), false},
		"a space before a colon":  {with("Upgrade:", "Upgrade :"), false},
		"a line feed alone":       {with("13\r\n", "13\n"), false},
		"a carriage return alone": {with("13\r\n", "1\r3\r\n"), false},
		"a zero":                  {with("13\r\n", "1\x003\r\n"), false},
		"not the end":             {strings.TrimSuffix(upgradeHead, "\r\n"), false},
		"more than the head":      {upgradeHead + "x", false},
		"two requests":            {upgradeHead + upgradeHead, false},
		"nothing":                 {"", false},
	} {
		t.Run(what, func(t *testing.T) {
			if r := upgradeOf([]byte(c.head), upgradePaths); (r != nil) != c.ok {
				t.Errorf("taken: %v", r != nil)
			}
		})
	}
}

// FuzzUpgradeOf: what is taken as an upgrade is what net/http makes of the same bytes.
func FuzzUpgradeOf(f *testing.F) {
	f.Add([]byte(upgradeHead))
	f.Add([]byte(strings.ReplaceAll(upgradeHead, "Host", "hOST")))
	f.Add([]byte(strings.ReplaceAll(upgradeHead, "Connection: ", "Connection:\t ")))
	f.Add([]byte(strings.ReplaceAll(upgradeHead, "?x=1", "?%zz;#")))
	f.Add([]byte(strings.ReplaceAll(upgradeHead, "Sec-WebSocket-Version: 13", "Content-Length: 0")))
	f.Add([]byte(strings.ReplaceAll(upgradeHead, "Sec-WebSocket-Version: 13", "Transfer-Encoding: identity")))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: n\r\n\r\n"))
	came := make(chan *http.Request, 1)
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { came <- r }), slog.New(slog.DiscardHandler))
	server.MaxHeaderBytes = maxHeaderBytes
	go func() { _ = server.Serve(p) }()
	f.Cleanup(func() { _ = server.Close() })
	f.Fuzz(func(t *testing.T, head []byte) {
		ours := upgradeOf(head, upgradePaths)
		if ours == nil {
			return
		}
		c, there := net.Pipe()
		defer func() { _ = c.Close() }()
		p.conns <- there
		go func() { _, _ = c.Write(head) }()
		refused := make(chan string, 1)
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				refused <- err.Error()
				return
			}
			_ = resp.Body.Close()
			refused <- resp.Status
		}()
		var theirs *http.Request
		select {
		case theirs = <-came:
		case why := <-refused:
			select {
			case theirs = <-came: // it has been answered
			default:
				t.Fatalf("net/http does not take %q: %s", head, why)
			}
		}
		a := []any{ours.Method, ours.URL, ours.Proto, ours.Header, ours.ContentLength, ours.TransferEncoding, ours.Close, ours.Host, ours.RequestURI}
		b := []any{theirs.Method, theirs.URL, theirs.Proto, theirs.Header, theirs.ContentLength, theirs.TransferEncoding, theirs.Close, theirs.Host, theirs.RequestURI}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%q is\n%v, to net/http\n%v", head, a, b)
		}
	})
}

// serveUpgrades runs a public listener, and gives its address.
func serveUpgrades(t *testing.T, log io.Writer, handler http.HandlerFunc) string {
	t.Helper()
	s, err := listenHTTP(t.Context(), "127.0.0.1:0", "", "", handler, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	at := s.listener.Addr().String()
	s.upgradesAt(upgradePaths...)
	if _, ok := s.listener.(*upgrades); !ok {
		t.Fatal("the listener is as it was")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the listener ended with %v", err)
		}
	})
	return at
}

func dialTCP(t *testing.T, at string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// said is an answer that has been read.
type said struct {
	status int
	header http.Header
	last   bool // the connection ends with it
	body   string
}

func answerOf(t *testing.T, c net.Conn) said {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return said{resp.StatusCode, resp.Header, resp.Close, string(body)}
}

// byWhom answers with what has served the request.
func byWhom(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%T %s %s %q", w, r.Method, r.URL, body)
}

// TestUpgradesServe: an upgrade is served past net/http, and all else by it, whole, as
// often as the client likes.
func TestUpgradesServe(t *testing.T) {
	at := serveUpgrades(t, t.Output(), byWhom)
	t.Run("an upgrade", func(t *testing.T) {
		c := dialTCP(t, at)
		send(t, c, upgradeHead)
		a := answerOf(t, c)
		if a.body != `*node.upgradeWriter GET /spreed?x=1 ""` || a.status != http.StatusOK || !a.last || a.header.Get("Date") == "" {
			t.Errorf("%+v", a)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after a refusal: %v", err)
		}
	})
	t.Run("requests", func(t *testing.T) {
		c := dialTCP(t, at)
		for range 2 {
			send(t, c, "POST /x HTTP/1.1\r\nHost: n\r\nContent-Length: 4\r\n\r\nbody")
			if a := answerOf(t, c); a.body != `*http.response POST /x "body"` {
				t.Errorf("%+v", a)
			}
		}
		send(t, c, upgradeHead) // as behind a proxy that keeps connections
		if a := answerOf(t, c); a.body != `*http.response GET /spreed?x=1 ""` {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a long head", func(t *testing.T) {
		c := dialTCP(t, at)
		send(t, c, strings.Replace(upgradeHead, "192.0.2.1", strings.Repeat("192.0.2.1,", maxHead/8)+"192.0.2.1", 1))
		if a := answerOf(t, c); a.body != `*http.response GET /spreed?x=1 ""` {
			t.Errorf("%+v", a)
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		c := dialTCP(t, at)
		send(t, c, "\x16\x03\x01\r\n\r\n")
		if a := answerOf(t, c); a.status != http.StatusBadRequest {
			t.Errorf("%+v", a)
		}
	})
}

// TestUpgradesRefused: a refusal is written at once.
func TestUpgradesRefused(t *testing.T) {
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	u := newUpgrades(p, http.NotFoundHandler(), upgradePaths)
	go func() { _, _ = u.Accept() }()
	c, there := net.Pipe()
	p.conns <- there
	send(t, c, upgradeHead)
	answer := make([]byte, maxHead)
	n, err := c.Read(answer)
	if text := string(answer[:n]); err != nil || !strings.HasPrefix(text, "HTTP/1.1 404 ") || !strings.HasSuffix(text, "\r\n\r\n404 page not found\n") {
		t.Errorf("the first write is %q, %v", text, err)
	}
	if _, err := c.Read(answer); !errors.Is(err, io.EOF) {
		t.Errorf("and then %v", err)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}

// TestUpgradesSlowly: the rest of what has come in pieces is for net/http, and who says
// nothing is given up.
func TestUpgradesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &hungry{pipes: &pipes{make(chan net.Conn), make(chan struct{})}, times: 3}
		server := newServer(http.HandlerFunc(byWhom), slog.New(slog.DiscardHandler))
		s := &httpServer{listener: newUpgrades(p, server.Handler, upgradePaths), server: server}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		c, there := net.Pipe()
		p.conns <- there
		go func() {
			_, _ = io.WriteString(c, upgradeHead[:40])
			_, _ = io.WriteString(c, upgradeHead[40:])
		}()
		if a := answerOf(t, c); a.body != `*http.response GET /spreed?x=1 ""` {
			t.Errorf("%+v", a)
		}
		_ = c.Close()
		began := time.Now()
		c, there = net.Pipe()
		p.conns <- there
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 || time.Since(began) != headerTimeout {
			t.Errorf("%q, %v after %v", b, err, time.Since(began))
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestUpgradesTaken: who takes the connection of an upgrade goes on with it when the
// handler has returned, without the deadline of the head; also by way of net/http.
func TestUpgradesTaken(t *testing.T) {
	gone := make(chan error, 1)
	at := serveUpgrades(t, t.Output(), func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("taken twice: %v", err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("written to one that was taken: %v", err)
		}
		echo := func() {
			defer func() { _ = conn.Close() }()
			_, err := io.CopyN(conn, rw, 4)
			gone <- err
		}
		if w, ok := w.(interface{ GoOn(func()) }); ok {
			w.GoOn(echo)
			return
		}
		go echo()
	})
	for _, head := range []string{upgradeHead, strings.Replace(upgradeHead, "/spreed", "/other", 1)} {
		c := dialTCP(t, at)
		send(t, c, head)
		send(t, c, "ping")
		echo := make([]byte, 4)
		if _, err := io.ReadFull(c, echo); err != nil || string(echo) != "ping" {
			t.Errorf("%q: %v", echo, err)
		}
		if err := <-gone; err != nil {
			t.Error(err)
		}
	}
}

// TestUpgradesDropped: who has taken a connection may drop what it still has to send,
// whichever way it came; what a client resumes with would come twice.
func TestUpgradesDropped(t *testing.T) {
	at := serveUpgrades(t, t.Output(), func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c, ok := conn.(interface{ SetLinger(sec int) error })
		if !ok {
			t.Errorf("%T has no SetLinger", conn)
		} else if err := c.SetLinger(0); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	})
	for _, head := range []string{upgradeHead, strings.Replace(upgradeHead, "/spreed", "/other", 1)} {
		c := dialTCP(t, at)
		send(t, c, head)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client hears %v", err)
		}
	}
}

// TestUpgradesTakenInTheEnd: a connection that has been taken is not closed with the
// listener, as who has it writes to its descriptor; one that has been closed is not given.
func TestUpgradesTakenInTheEnd(t *testing.T) {
	taken, late := make(chan struct{}), make(chan error, 1)
	heard := func(handler http.HandlerFunc, ready <-chan struct{}) string {
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		u := newUpgrades(p, handler, upgradePaths)
		go func() { _, _ = u.Accept() }()
		c, there := net.Pipe()
		p.conns <- there
		send(t, c, upgradeHead)
		<-ready
		read := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(c)
			read <- string(b)
		}()
		if err := u.Close(); err != nil {
			t.Error(err)
		}
		return <-read
	}
	if text := heard(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		close(taken)
		<-r.Context().Done()
		_, _ = io.WriteString(conn, "still open")
		_ = conn.Close()
	}, taken); text != "still open" {
		t.Errorf("the client heard %q", text)
	}
	asked := make(chan struct{})
	if text := heard(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		_, _, err := http.NewResponseController(w).Hijack()
		late <- err
	}, asked); text != "" {
		t.Errorf("the client heard %q", text)
	}
	if err := <-late; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection is given: %v", err)
	}
}

// TestUpgradesPanic: a panic ends its connection, and is logged once.
func TestUpgradesPanic(t *testing.T) {
	var log bytes.Buffer
	t.Run("until the listener has ended", func(t *testing.T) {
		c := dialTCP(t, serveUpgrades(t, &log, func(http.ResponseWriter, *http.Request) { panic("broken") }))
		send(t, c, upgradeHead)
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
	})
	if text := log.String(); strings.Count(text, "a request ended in a panic") != 1 {
		t.Errorf("log: %s", text)
	}
}

// TestUpgradesClose: who has said nothing, or has not been answered, does not hold up
// the end; nor does one that was never run.
func TestUpgradesClose(t *testing.T) {
	l, err := nettest.NewLocalListener("tcp")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	s := &httpServer{listener: l, server: newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}), slog.New(slog.DiscardHandler))}
	s.upgradesAt(upgradePaths...)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	silent, waiting := dialTCP(t, l.Addr().String()), dialTCP(t, l.Addr().String())
	send(t, waiting, upgradeHead)
	<-asked
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, c := range []net.Conn{silent, waiting} {
		if b, _ := io.ReadAll(c); bytes.Contains(b, []byte("101")) {
			t.Errorf("%q", b)
		}
	}
	never := newUpgrades(&pipes{make(chan net.Conn), make(chan struct{})}, http.NotFoundHandler(), upgradePaths)
	if err := never.Close(); err != nil {
		t.Error(err)
	}
	if _, err := never.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// hungry has no files left for a while.
type hungry struct {
	*pipes
	times int
}

type errHungry struct{}

func (errHungry) Error() string   { return "too many open files" }
func (errHungry) Temporary() bool { return true }

func (h *hungry) Accept() (net.Conn, error) {
	if h.times--; h.times >= 0 {
		return nil, errHungry{}
	}
	return h.pipes.Accept()
}
