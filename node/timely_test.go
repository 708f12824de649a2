package node

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections take no time, so that only deadlines do.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serveOver runs a server as the node makes it, and gives the client's end of a
// connection.
func serveOver(t *testing.T, handler http.HandlerFunc) net.Conn {
	p := &pipes{make(chan net.Conn, 1), make(chan struct{})}
	server := newServer(handler, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- server.Serve(p) }()
	client, conn := net.Pipe()
	p.conns <- conn
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return client
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// TestSlowBody: who sends nearly nothing is refused after a while, whether the
// handler wants the body or not.
func TestSlowBody(t *testing.T) {
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			c := serveOver(t, func(w http.ResponseWriter, r *http.Request) {
				if !reads {
					return
				}
				if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("body: %v", err)
				}
				w.WriteHeader(http.StatusRequestTimeout)
			})
			send(t, c, "POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 1000\r\n\r\nx")
			if _, err := io.ReadAll(c); err != nil { // until the server hangs up
				t.Error(err)
			}
			// Closing, a server waits a moment for the other end.
			if took := time.Since(began); took < bodyTimeout || took > bodyTimeout+time.Second {
				t.Errorf("reads %v: the connection was held for %v", reads, took)
			}
		})
	}
}

// TestSlowAnswer: a body that came in time leaves the handler its own, and the
// connection serves the next request.
func TestSlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serveOver(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != "abc" {
				t.Errorf("body %q: %v", body, err)
			}
			time.Sleep(2 * bodyTimeout) // of the bubble, like all others here: the cluster takes its time
			if err := r.Context().Err(); err != nil {
				t.Errorf("the client was taken for gone: %v", err)
			}
			_, _ = io.WriteString(w, "done")
		})
		replies := bufio.NewReader(c)
		for range 2 {
			send(t, c, "POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n\r\na")
			time.Sleep(bodyTimeout / 2) // of the bubble
			send(t, c, "bc")
			resp, err := http.ReadResponse(replies, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
				t.Errorf("answer %q: %v", body, err)
			}
			_ = resp.Body.Close()
			time.Sleep(answerTimeout) // longer than any deadline of the request before
		}
	})
}

// TestSlowReader: who does not read what was asked for loses the connection.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, ended := time.Now(), make(chan time.Duration, 1)
		c := serveOver(t, func(w http.ResponseWriter, _ *http.Request) {
			_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("writing: %v", err)
			}
			ended <- time.Since(began)
		})
		send(t, c, "GET /app.js HTTP/1.1\r\nHost: n\r\n\r\n")
		if took := <-ended; took != answerTimeout {
			t.Errorf("the handler was held for %v", took)
		}
	})
}

// TestUpgradedConnectionHasNoDeadlines: a WebSocket stays as long as it likes.
func TestUpgradedConnectionHasNoDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serveOver(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.CopyN(conn, conn, 4)
		})
		send(t, c, "GET /spreed HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		time.Sleep(2 * answerTimeout) // of the bubble
		send(t, c, "ping")
		echo := make([]byte, 4)
		if _, err := io.ReadFull(c, echo); err != nil || string(echo) != "ping" {
			t.Errorf("%q: %v", echo, err)
		}
	})
}

// TestSlowHeader: a request that comes drop by drop is given up, however well the drops
// follow each other (checklist S22).
func TestSlowHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serveOver(t, func(http.ResponseWriter, *http.Request) { t.Error("it has come") })
		began := time.Now()
		send(t, client, "GET / HTTP/1.1\r\nHost: node\r\nX-Drop: ")
		var drops sync.WaitGroup
		defer drops.Wait()
		drops.Go(func() {
			for {
				time.Sleep(time.Second) // of the bubble
				if _, err := io.WriteString(client, "x"); err != nil {
					return
				}
			}
		})
		answer, err := io.ReadAll(client)
		if took := time.Since(began); took != headerTimeout || len(answer) > 0 {
			t.Errorf("ended after %v: %q, %v", took, answer, err)
		}
	})
}
