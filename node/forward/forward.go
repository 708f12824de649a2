// Package forward lets a node without the database answer what needs it: it
// passes requests on whole to a server, over the port of the cluster.
//
//	client ── HTTP ─► Forwarder ─┐  mTLS, talkd-http, HTTP/1.1,
//	signaling ── Ask ────────────┴─ connections of its own ──► Receive ─► the server's handlers
//
// The body of a request is read before any of what others need is held for it, so
// that a client who sends slowly keeps nobody else out; the answer streams. More
// than maxInFlight requests at the same time are refused, and when it gets narrow
// those of a client that has its share already. For bodies, which are memory, the
// same bounds hold once more while they are read.
//
// One server is asked for as long as it answers; one that is dead, hangs or has
// not applied yet what the asking node has heard of is passed over for the next:
// nobody reads less than was known here. What may have been begun at a server is
// not repeated at another unless that is harmless.
package forward

import (
	"bytes"
	"context"
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

	"github.com/talkd/talkd/cluster/rpc"
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

	maxInFlight = 512
	maxShare    = 32
	// maxQuestions bounds the connections for questions to one server; more
	// questions wait for one.
	maxQuestions  = 256
	idlePerServer = 32
	idleTimeout   = time.Minute

	// answerTimeout is until a server begins to answer: it bounds what it does by
	// 8 s, after it has caught up. nextTimeout is until another one is asked
	// what is harmless: clients give up after 10 s.
	answerTimeout = 10 * time.Second
	nextTimeout   = 3 * time.Second
	// wholeTimeout bounds a request with its answer.
	wholeTimeout = 30 * time.Second
)

// ErrNoServer means that no server of the cluster answered.
var ErrNoServer = errors.New("no server of the cluster answers")

var (
	errNarrow = errors.New("too many requests are waiting for the servers of the cluster")
	errBehind = errors.New("it is behind")
	errSilent = errors.New("it does not answer in time")
	// errUnreached marks failures before anything was begun.
	errUnreached = errors.New("not reached")
)

// Config is what a Forwarder needs.
type Config struct {
	// Servers are the nodes to ask, the best first.
	Servers func() []store.NodeID
	// Dial opens a connection for HTTP to a node, met by rpc.Mesh.DialHTTP.
	Dial func(ctx context.Context, id store.NodeID) (net.Conn, error)
	// Index is what this node has applied.
	Index func() uint64
	// MaxBody is the longest body that servers take. Of a longer one, a byte more
	// is passed on: the server refuses it in its own words.
	MaxBody int64
	Logger  *slog.Logger
}

// Forwarder passes requests on. It is safe for concurrent use.
type Forwarder struct {
	config Config
	proxy  *httputil.ReverseProxy
	bodies *shares // requests whose body is read
	shares *shares // requests that are with a server
	// Neither waits for connections of the other.
	requests, questions *http.Transport

	mu      sync.Mutex   // guards what follows
	current store.NodeID // answered last: asked first
	silent  store.NodeID // failed last, and has not answered since: asked last
}

// New makes a Forwarder.
func New(c Config) *Forwarder {
	f := &Forwarder{config: c, bodies: newShares(maxInFlight, maxShare), shares: newShares(maxInFlight, maxShare), requests: transport(c), questions: transport(c)}
	f.questions.MaxConnsPerHost = maxQuestions
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "server"
			r.Out.Host = r.In.Host
			r.Out.Header.Set(headerClient, r.In.RemoteAddr)
			r.Out.Header.Del("Expect") // the body is there
		},
		Transport:     f,
		FlushInterval: -1,
		ErrorHandler:  f.failed,
		ErrorLog:      stdlog.New(io.Discard, "", 0), // it would name addresses
	}
	return f
}

// transport keeps connections to servers.
func transport(c Config) *http.Transport {
	return &http.Transport{
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
		MaxIdleConnsPerHost: idlePerServer, IdleConnTimeout: idleTimeout, DisableCompression: true,
	}
}

// Close drops the connections that are idle.
func (f *Forwarder) Close() {
	f.requests.CloseIdleConnections()
	f.questions.CloseIdleConnections()
}

// ServeHTTP passes a request on.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := network(r.RemoteAddr)
	body, err := f.read(r, client)
	if err == nil && !f.shares.take(client) {
		err = errNarrow
	}
	switch {
	case errors.Is(err, errNarrow):
		w.Header().Set("Retry-After", "1")
		http.Error(w, errNarrow.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		http.Error(w, "the body is incomplete", http.StatusBadRequest)
		return
	}
	defer f.shares.leave(client)
	ctx, cancel := context.WithTimeout(r.Context(), wholeTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	r.GetBody = func() (io.ReadCloser, error) {
		if len(body) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	f.proxy.ServeHTTP(w, r)
}

// read reads the body of a request, if it has one.
func (f *Forwarder) read(r *http.Request, client netip.Prefix) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	if !f.bodies.take(client) {
		return nil, errNarrow
	}
	defer f.bodies.leave(client)
	return io.ReadAll(io.LimitReader(r.Body, f.config.MaxBody+1))
}

// failed answers a request that no server has answered.
func (f *Forwarder) failed(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(r.Context().Err(), context.Canceled) { // the client waits still
		f.config.Logger.Warn("a request was not passed on", "error", rpc.WithoutAddress(err))
	}
	w.Header().Set("Retry-After", "1")
	if errors.Is(err, ErrNoServer) {
		http.Error(w, ErrNoServer.Error(), http.StatusServiceUnavailable)
		return
	}
	http.Error(w, "the server of the cluster that was asked is gone", http.StatusBadGateway)
}

// RoundTrip sends a request of a client.
func (f *Forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	return f.send(f.requests, r, r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// send sends a request to one server after another until one answers. What is
// not harmless goes on to the next only if nothing was begun.
func (f *Forwarder) send(over *http.Transport, r *http.Request, harmless bool) (*http.Response, error) {
	last := ErrNoServer
	servers := f.servers()
	for i, id := range servers {
		patience := answerTimeout
		if harmless && i+1 < len(servers) {
			patience = nextTimeout
		}
		response, err := f.try(over, r, id, patience)
		if err == nil {
			f.answered(id)
			return response, nil
		}
		if r.Context().Err() != nil {
			return nil, err
		}
		f.passOver(id)
		f.config.Logger.Debug("a server does not answer", "peer", id, "error", rpc.WithoutAddress(err))
		if !harmless && !errors.Is(err, errUnreached) {
			return nil, err
		}
		last = fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return nil, last
}

// try sends a request to one server, which must begin to answer in time.
func (f *Forwarder) try(over *http.Transport, r *http.Request, id store.NodeID, patience time.Duration) (_ *http.Response, err error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	late := time.AfterFunc(patience, cancel)

	r = r.Clone(ctx)
	r.URL.Host = string(id)
	r.Header.Set(headerIndex, strconv.FormatUint(f.config.Index(), 10))
	if r.Body, err = r.GetBody(); err != nil {
		return nil, err
	}
	response, err := over.RoundTrip(r)
	inTime := late.Stop()
	switch {
	case err != nil && inTime:
		return nil, err
	case err != nil:
		return nil, errSilent
	case !inTime:
		_ = response.Body.Close() // what comes of it was given up
		return nil, errSilent
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get(headerBehind) != "":
		_ = response.Body.Close() // it says no more
		return nil, fmt.Errorf("%w: %w", errUnreached, errBehind)
	}
	response.Body = answerBody{response.Body, cancel}
	return response, nil
}

// answerBody is the body of a response, whose request ends with it.
type answerBody struct {
	io.ReadCloser
	end context.CancelFunc
}

func (b answerBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// servers are those to ask, in that order.
func (f *Forwarder) servers() []store.NodeID {
	ids := slices.Clone(f.config.Servers())
	f.mu.Lock()
	defer f.mu.Unlock()
	rank := func(id store.NodeID) int {
		switch id {
		case f.current:
			return 0
		case f.silent:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(ids, func(a, b store.NodeID) int { return rank(a) - rank(b) })
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
	if f.silent == id {
		f.silent = ""
	}
}

func (f *Forwarder) passOver(id store.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = id
	if f.current == id {
		f.current = ""
	}
}
