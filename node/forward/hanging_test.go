package forward

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/store"
)

// silent hangs like a process that was stopped: it is connected to, and says
// nothing.
var silent = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

// pipes are servers whose connections are in memory, so that their time is that
// of the test.
type pipes struct {
	forward *Forwarder

	mu    sync.Mutex // guards dials
	dials int
}

// inBubble runs a test with servers that are asked in the order of their names.
func inBubble(t *testing.T, servers map[store.NodeID]http.Handler, test func(t *testing.T, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pipes)
		listeners := make(map[store.NodeID]*pipeListener)
		var order []store.NodeID
		for _, id := range []store.NodeID{"s1", "s2"} {
			handler, ok := servers[id]
			if !ok {
				continue
			}
			order = append(order, id)
			l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
			listeners[id] = l
			ctx, stop := context.WithCancel(context.Background())
			server := &http.Server{Handler: handler, BaseContext: func(net.Listener) context.Context { return ctx }}
			done := make(chan struct{})
			go func() { _ = server.Serve(l); close(done) }()
			t.Cleanup(func() { stop(); _ = server.Close(); <-done })
		}
		p.forward = New(Config{
			Servers: func() []store.NodeID { return order },
			Dial: func(_ context.Context, id store.NodeID) (net.Conn, error) {
				p.mu.Lock()
				p.dials++
				p.mu.Unlock()
				here, there := net.Pipe()
				listeners[id].conns <- there
				return here, nil
			},
			Index: func() uint64 { return 0 }, MaxBody: 8, Logger: slog.New(slog.DiscardHandler),
		})
		t.Cleanup(p.forward.Close)
		test(t, p)
	})
}

func (p *pipes) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return new(net.TCPAddr) }

// from sends a request of a client.
func (p *pipes) from(ctx context.Context, client, method string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, "http://talk.example/ocs/x", body)
	r.RemoteAddr = client + ":1234"
	w := httptest.NewRecorder()
	p.forward.ServeHTTP(w, r)
	return w
}

// A server that hangs is given up soon for another one, and is not asked first
// again; what may have been begun there is waited for, and not repeated.
func TestServerThatHangs(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `"yes"`) })
	ask := func(t *testing.T, p *pipes) int {
		var answer string
		if err := p.forward.Ask(t.Context(), "/q", 1, &answer); err != nil || answer != "yes" {
			t.Errorf("%q, %v", answer, err)
		}
		return http.StatusOK
	}
	for name, tt := range map[string]struct {
		send  func(t *testing.T, p *pipes) int
		code  int
		after time.Duration
	}{
		"GET":      {func(t *testing.T, p *pipes) int { return p.from(t.Context(), "192.0.2.1", http.MethodGet, nil).Code }, http.StatusOK, nextTimeout},
		"question": {ask, http.StatusOK, nextTimeout},
		"POST": {func(t *testing.T, p *pipes) int {
			return p.from(t.Context(), "192.0.2.1", http.MethodPost, strings.NewReader("text")).Code
		}, http.StatusBadGateway, answerTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, map[store.NodeID]http.Handler{"s1": silent, "s2": answers}, func(t *testing.T, p *pipes) {
				begun := time.Now()
				if code := tt.send(t, p); code != tt.code || time.Since(begun) != tt.after {
					t.Errorf("answered %d after %v, want %d after %v", code, time.Since(begun), tt.code, tt.after)
				}
				begun = time.Now()
				if code := tt.send(t, p); code != http.StatusOK || time.Since(begun) != 0 {
					t.Errorf("the next one is answered %d after %v", code, time.Since(begun))
				}
			})
		})
	}
}

// The only server has its time, and no more: also for an answer that does not end.
func TestOnlyServerHangs(t *testing.T) {
	stuck := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for name, tt := range map[string]struct {
		server http.Handler
		after  time.Duration
	}{
		"silent":               {silent, answerTimeout},
		"in the middle of one": {stuck, wholeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, map[store.NodeID]http.Handler{"s1": tt.server}, func(t *testing.T, p *pipes) {
				begun := time.Now()
				func() {
					defer func() { _ = recover() }() // the proxy's way to end an answer that it began
					p.from(t.Context(), "192.0.2.1", http.MethodGet, nil)
				}()
				if waited := time.Since(begun); waited != tt.after {
					t.Errorf("given up after %v, want %v", waited, tt.after)
				}
			})
		})
	}
}

// A body that is sent slowly holds nothing that others need.
func TestSlowBody(t *testing.T) {
	inBubble(t, map[store.NodeID]http.Handler{"s1": http.NotFoundHandler()}, func(t *testing.T, p *pipes) {
		body, client := io.Pipe()
		done := make(chan int, 1)
		go func() { done <- p.from(t.Context(), "192.0.2.1", http.MethodPost, body).Code }()
		_, _ = client.Write([]byte("te"))
		synctest.Wait()
		if p.forward.shares.held != 0 || p.dialled() != 0 {
			t.Errorf("%d places and %d connections are held", p.forward.shares.held, p.dialled())
		}
		_, _ = client.Write([]byte("xt"))
		_ = client.Close()
		if code := <-done; code != http.StatusNotFound {
			t.Errorf("with its body it is answered %d", code)
		}
	})
}

// Of bodies that are sent slowly there are no more than may wait for servers, and
// who send none are not concerned.
func TestSlowBodies(t *testing.T) {
	inBubble(t, map[store.NodeID]http.Handler{"s1": http.NotFoundHandler()}, func(t *testing.T, p *pipes) {
		body, client := io.Pipe()
		codes := make(chan int, maxInFlight)
		for range maxInFlight {
			go func() { codes <- p.from(t.Context(), "192.0.2.1", http.MethodPost, body).Code }()
		}
		synctest.Wait()
		if len(codes) != maxInFlight/2 || <-codes != http.StatusServiceUnavailable {
			t.Errorf("%d of one address are refused", len(codes))
		}
		if code := p.from(t.Context(), "192.0.2.1", http.MethodGet, nil).Code; code != http.StatusNotFound {
			t.Errorf("without a body it is answered %d", code)
		}
		if code := p.from(t.Context(), "192.0.2.2", http.MethodPost, strings.NewReader("text")).Code; code != http.StatusNotFound {
			t.Errorf("another client is answered %d", code)
		}
		_ = client.Close()
		synctest.Wait()
		if s := p.forward.bodies; s.held != 0 || len(s.by) != 0 {
			t.Errorf("%d places are held by %d", s.held, len(s.by))
		}
	})
}

// A body that is cut off is passed on to nobody; of one that is too long, no
// more than shows that.
func TestBodies(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			t.Error("the server is to ask for the body again")
		}
		_, _ = io.Copy(w, r.Body)
	})
	inBubble(t, map[store.NodeID]http.Handler{"s1": echo}, func(t *testing.T, p *pipes) {
		cut := io.MultiReader(strings.NewReader("te"), brokenReader{})
		if w := p.from(t.Context(), "192.0.2.1", http.MethodPost, cut); w.Code != http.StatusBadRequest || p.dialled() != 0 {
			t.Errorf("cut off: %d, %d connections", w.Code, p.dialled())
		}
		if w := p.from(t.Context(), "192.0.2.1", http.MethodPost, strings.NewReader("0123456789")); w.Body.String() != "012345678" {
			t.Errorf("too long: %d %q", w.Code, w.Body)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "http://talk.example/", io.MultiReader(strings.NewReader("text"))) // chunked
		r.Header.Set("Expect", "100-continue")
		w := httptest.NewRecorder()
		if p.forward.ServeHTTP(w, r); w.Body.String() != "text" {
			t.Errorf("of unknown length: %d %q", w.Code, w.Body)
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// One client takes half of all places, not those of others, and requests of
// clients take nothing from the questions of the node.
func TestShares(t *testing.T) {
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/q" {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `"yes"`)
	})
	inBubble(t, map[store.NodeID]http.Handler{"s1": server}, func(t *testing.T, p *pipes) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		send := func(n int, client func(i int) string) (refused int) {
			codes := make(chan int, n)
			for i := range n {
				wg.Go(func() { codes <- p.from(ctx, client(i), http.MethodGet, nil).Code })
			}
			synctest.Wait()
			return len(codes)
		}
		if n := send(maxInFlight, func(int) string { return "192.0.2.1" }); n != maxInFlight/2 {
			t.Errorf("of one address %d are refused", n)
		}
		if n := send(maxInFlight/2, func(i int) string { return fmt.Sprintf("[2001:db8::%x]", i) }); n != maxInFlight/2-maxShare {
			t.Errorf("of one network %d are refused", n)
		}
		if n := send(maxInFlight, func(i int) string { return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}).String() }); n != maxInFlight/2+maxShare {
			t.Errorf("of many addresses %d are refused", n)
		}
		var answer string
		begun := time.Now()
		if err := p.forward.Ask(ctx, "/q", 1, &answer); err != nil || time.Since(begun) != 0 {
			t.Errorf("a question beside them: %v after %v", err, time.Since(begun))
		}
		cancel()
		wg.Wait()
		if s := p.forward.shares; s.held != 0 || len(s.by) != 0 {
			t.Errorf("%d places are held by %d", s.held, len(s.by))
		}
	})
}

// What is logged tells no address.
func TestNoAddressIsLogged(t *testing.T) {
	var log bytes.Buffer
	addr := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 4711}
	f := New(Config{
		Servers: func() []store.NodeID { return []store.NodeID{"s1"} },
		Dial: func(context.Context, store.NodeID) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Source: addr, Addr: addr, Err: io.ErrUnexpectedEOF}
		},
		Index:  func() uint64 { return 0 },
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(f.Close)
	if w := send(t, f, http.MethodGet, ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
	if text := log.String(); strings.Contains(text, "198.51.100.7") || strings.Count(text, "dial: unexpected EOF") != 2 {
		t.Error(text)
	}
}
