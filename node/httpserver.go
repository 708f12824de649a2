package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/signaling/tlsout"
)

// Limits of connections over HTTP. A WebSocket leaves them behind when it is
// upgraded.
const (
	headerTimeout   = 10 * time.Second
	bodyTimeout     = 10 * time.Second
	answerTimeout   = time.Minute      // with what the node has to do for it
	stallTimeout    = 10 * time.Second // of a whole HTTP/2 connection
	idleTimeout     = 2 * time.Minute
	maxHeaderBytes  = 32 << 10
	shutdownTimeout = 3 * time.Second
)

// httpServer is a listener with its handler.
type httpServer struct {
	listener net.Listener
	server   *http.Server
}

// listenHTTP opens the listener at once, so that a taken port is told at the
// start. It serves TLS when a certificate is given.
func listenHTTP(ctx context.Context, addr, cert, key string, handler http.Handler, log *slog.Logger) (*httpServer, error) {
	var config *tls.Config
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", addr, err)
		}
		config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if config != nil {
		l = tlsout.NewListener(l, config)
	}
	return &httpServer{listener: l, server: newServer(handler, log)}, nil
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           surviving(log, timely(handler)),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: stallTimeout},
		// What would be logged here is the fault of strangers, with their
		// addresses: scanners, cut handshakes.
		ErrorLog: stdlog.New(io.Discard, "", 0),
	}
}

// surviving logs the panic of a handler, which ends that request only, without
// the address that the server's own log would hold.
func surviving(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				log.Error("a request ended in a panic", "error", fmt.Sprint(v), "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler) // closes the connection, and says no more
		}()
		next.ServeHTTP(w, r)
	})
}

// Run serves until ctx ends, then lets the requests that are under way finish.
func (s *httpServer) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.server.Shutdown(graceful); err != nil {
		_ = s.server.Close() // streams of events do not end by themselves
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

// close releases a server that was never run.
func (s *httpServer) close() { _ = s.listener.Close() }

// gate answers for the public listener while the node takes no traffic. A node
// that is leaving still serves those who are there.
type gate struct {
	open, leaving atomic.Bool
	next          http.Handler
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.open.Load() {
		g.next.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "this node is starting or stopping; try again, or another node", http.StatusServiceUnavailable)
}
