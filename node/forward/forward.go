// Package forward lets a node without the database answer what needs it: it
// passes requests on whole to a server, over the port of the cluster.
//
//	client ── HTTP ─► Forwarder ─┐  mTLS, talkd-http, HTTP/1.1,
//	signaling ── Ask ────────────┴─ streamed ──► Receive ─► the server's handlers
//
// One server is asked for as long as it answers; when it is dead, the next one.
// A server that has not applied yet what the asking node has heard of answers
// when it has, or leaves it to the next: nobody reads less than was known here. What may have been begun there is not
// repeated unless that is harmless. Nothing is kept in memory: bodies stream,
// and more requests than maxInFlight at the same time are refused.
package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/talkd/talkd/store"
)

const (
	// headerClient tells the server who asks, so that its limits meet people
	// and not nodes.
	headerClient = "Talkd-Client"
	// headerIndex is what the asking node has applied, and headerBehind marks
	// the answer of a server that has not.
	headerIndex  = "Talkd-Index"
	headerBehind = "Talkd-Behind"
	catchUp      = 2 * time.Second

	maxInFlight   = 1024
	maxPerServer  = 256
	idlePerServer = 32
	idleTimeout   = time.Minute
	answerTimeout = time.Minute // until a server begins to answer
	// maxAnswer bounds the answer to a question of our own.
	maxAnswer = 4 << 20
)

// ErrNoServer means that no server of the cluster answered.
var ErrNoServer = errors.New("no server of the cluster answers")

var errBehind = errors.New("it is behind")

// errUnreached marks failures before anything was sent.
var errUnreached = errors.New("not reached")

// Config is what a Forwarder needs.
type Config struct {
	// Servers are the nodes to ask, the best first.
	Servers func() []store.NodeID
	// Dial opens a connection for HTTP to a node, met by rpc.Mesh.DialHTTP.
	Dial func(ctx context.Context, id store.NodeID) (net.Conn, error)
	// Index is what this node has applied.
	Index  func() uint64
	Logger *slog.Logger
}

// Forwarder passes requests on. It is safe for concurrent use.
type Forwarder struct {
	config    Config
	transport *http.Transport
	proxy     *httputil.ReverseProxy
	slots     chan struct{}

	mu      sync.Mutex // guards current
	current store.NodeID
}

// New makes a Forwarder.
func New(c Config) *Forwarder {
	f := &Forwarder{config: c, slots: make(chan struct{}, maxInFlight)}
	f.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			conn, err := c.Dial(ctx, store.NodeID(host))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errUnreached, err)
			}
			return conn, nil
		},
		MaxConnsPerHost: maxPerServer, MaxIdleConnsPerHost: idlePerServer, IdleConnTimeout: idleTimeout,
		ResponseHeaderTimeout: answerTimeout, ExpectContinueTimeout: 2 * catchUp, DisableCompression: true,
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "server"
			r.Out.Host = r.In.Host
			r.Out.Header.Set(headerClient, r.In.RemoteAddr)
		},
		Transport:     f,
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				c.Logger.Warn("a request was not passed on", "error", err)
			}
			w.Header().Set("Retry-After", "1")
			if errors.Is(err, ErrNoServer) {
				http.Error(w, ErrNoServer.Error(), http.StatusServiceUnavailable)
				return
			}
			http.Error(w, "the server of the cluster that was asked is gone", http.StatusBadGateway)
		},
		ErrorLog: stdlog.New(io.Discard, "", 0), // it would name addresses
	}
	return f
}

// Close drops the connections that are idle.
func (f *Forwarder) Close() { f.transport.CloseIdleConnections() }

// ServeHTTP passes a request on.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests are waiting for the servers of the cluster", http.StatusServiceUnavailable)
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// RoundTrip sends a request to the first server that can be reached.
func (f *Forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	harmless := (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
	last, index := ErrNoServer, strconv.FormatUint(f.config.Index(), 10)
	for _, id := range f.servers() {
		try := r.Clone(untraced{r.Context()})
		try.Header.Set(headerIndex, index)
		try.URL.Host = string(id)
		switch {
		case r.GetBody != nil: // a question of our own
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			try.Body = body
		case r.Body != nil && r.Body != http.NoBody:
			// The next server may need it: it is not sent before this one wants it
			// (RFC 9110, section 10.1.1).
			try.Body = io.NopCloser(r.Body)
			try.Header.Set("Expect", "100-continue")
		}
		response, err := f.transport.RoundTrip(try)
		if err == nil && response.StatusCode == http.StatusServiceUnavailable && response.Header.Get(headerBehind) != "" {
			_ = response.Body.Close() // it says no more
			err = fmt.Errorf("%w: %w", errUnreached, errBehind)
		}
		if err == nil {
			f.answered(id)
			return response, nil
		}
		if r.Context().Err() != nil {
			return nil, err
		}
		f.config.Logger.Debug("a server does not answer", "peer", id, "error", err)
		if !errors.Is(err, errUnreached) && !harmless && r.GetBody == nil {
			return nil, err
		}
		last = fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return nil, last
}

// untraced is a context without its values: the proxy would hear by one of them
// that a server wants the body, and tell the client, who did not ask.
type untraced struct{ context.Context }

func (untraced) Value(any) any { return nil }

// servers begins with the one that answered last, while it is among those to
// ask.
func (f *Forwarder) servers() []store.NodeID {
	ids := slices.Clone(f.config.Servers())
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(ids, f.current); i > 0 {
		ids = slices.Insert(slices.Delete(ids, i, i+1), 0, f.current)
	}
	return ids
}

// Current is the server that answered last, "" for none.
func (f *Forwarder) Current() store.NodeID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

func (f *Forwarder) answered(id store.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = id
}

// Ask puts a question of this node's own to a server. Questions change nothing:
// they are repeated until somebody answers.
func (f *Forwarder) Ask(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := f.RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s is answered %s", ErrNoServer, path, response.Status)
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer)
}

type callerKey struct{}

// Caller is the node that passed the request on.
func Caller(ctx context.Context) (store.NodeID, bool) {
	id, ok := ctx.Value(callerKey{}).(store.NodeID)
	return id, ok
}

// WithCaller is the context of a connection from another node.
func WithCaller(ctx context.Context, id store.NodeID) context.Context {
	return context.WithValue(ctx, callerKey{}, id)
}

// Members is what a server knows, met by cluster.Cluster.
type Members interface {
	Node(store.NodeID) (store.Node, bool)
	// Reached returns when what is at this index is applied here.
	Reached(ctx context.Context, index uint64) error
}

// Receive serves what other nodes pass on, as if the client had come here.
func Receive(members Members, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := Caller(r.Context())
		if _, member := members.Node(id); !ok || !member {
			http.Error(w, "this is for nodes of the cluster", http.StatusForbidden)
			return
		}
		index, err := strconv.ParseUint(r.Header.Get(headerIndex), 10, 64)
		if err != nil {
			http.Error(w, "it is not said what the asking node knows", http.StatusBadRequest)
			return
		}
		waiting, cancel := context.WithTimeout(r.Context(), catchUp)
		err = members.Reached(waiting, index)
		cancel()
		if err != nil {
			w.Header().Set(headerBehind, "1")
			http.Error(w, "this server is behind", http.StatusServiceUnavailable)
			return
		}
		r = r.WithContext(r.Context()) // a copy: the caller's request stays as it is
		r.RemoteAddr = ""
		if client, err := netip.ParseAddrPort(r.Header.Get(headerClient)); err == nil {
			r.RemoteAddr = client.String()
		}
		r.Header = r.Header.Clone()
		r.Header.Del(headerClient)
		r.Header.Del(headerIndex)
		next.ServeHTTP(w, r)
	})
}

// Answer serves a question that was put by Ask.
func Answer[Q, A any](answer func(context.Context, Q) A) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question Q
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion)).Decode(&question); err != nil {
			http.Error(w, "not a question", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer(r.Context(), question)) // the caller is gone
	})
}

// maxQuestion bounds a question.
const maxQuestion = 64 << 10
