package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/quiet"
)

const (
	idleTimeout = 90 * time.Second
	maxHeader   = 64 << 10
	maxInterim  = 5 // answers that only say that one is to come
)

// lines are the connections to instances, each of which is for one question at a time.
// Who asks writes and reads itself: the transport of net/http has two goroutines for
// each connection, which hand a question and its answer over six times.
type lines struct {
	dial func(context.Context, *url.URL) (net.Conn, error)
	most int // to one instance

	mu     sync.Mutex
	hosts  map[string]*host // guarded by mu
	sweep  *time.Timer      // guarded by mu; nil while no line is idle
	closed bool             // guarded by mu
}

// host is where instances are.
type host struct {
	tokens chan struct{} // one for each question that is being asked
	idle   []*line       // guarded by mu of the lines; the one that was used last is the last
}

type line struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	left io.LimitedReader // what r may take of conn
	rest time.Time        // since when it is idle
}

// errHungUp: a line ended before anything came of an answer.
var errHungUp = errors.New("closed without an answer")

// reply is what an instance answers: of the body as much as may be in it, and a byte
// more.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request, which may come twice: the instance may close a line while it is
// idle, and one finds out by asking.
func (l *lines) ask(req *http.Request, most int64) (reply, error) {
	ctx, h := req.Context(), l.host(req.URL)
	select {
	case h.tokens <- struct{}{}:
		defer func() { <-h.tokens }()
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	ln := l.take(h)
	if ln != nil {
		r, err := l.askBy(ln, h, req, most)
		if !errors.Is(err, errHungUp) || ctx.Err() != nil {
			return r, err
		}
		l.drop(h) // they have been idle for longer
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return reply{}, err
			}
		}
	}
	conn, err := l.dial(ctx, req.URL)
	if err != nil {
		return reply{}, err
	}
	ln = &line{conn: conn, w: bufio.NewWriter(conn)}
	ln.left.R = conn
	ln.r = bufio.NewReader(&ln.left)
	return l.askBy(ln, h, req, most)
}

// askBy asks by that line, and keeps it for the next question.
func (l *lines) askBy(ln *line, h *host, req *http.Request, most int64) (reply, error) {
	stop := context.AfterFunc(req.Context(), func() { _ = ln.conn.Close() })
	r, again, err := ln.exchange(req, most)
	switch stopped := stop(); {
	case err == nil && again && stopped && l.put(h, ln):
		return r, nil
	case err != nil && !stopped:
		err = req.Context().Err()
	}
	_ = ln.conn.Close()
	return r, err
}

// exchange tells also whether the line can be used again.
func (ln *line) exchange(req *http.Request, most int64) (r reply, again bool, err error) {
	err = req.Write(ln.w)
	if err == nil {
		err = ln.w.Flush()
	}
	ln.left.N = maxHeader
	if err == nil {
		_, err = ln.r.Peek(1)
	}
	if err != nil {
		return r, false, fmt.Errorf("%w: %w", errHungUp, err)
	}
	var resp *http.Response
	for range maxInterim {
		if resp, err = http.ReadResponse(ln.r, req); err != nil {
			return r, false, err
		}
		if resp.StatusCode >= http.StatusOK {
			break
		}
	}
	ln.left.N = math.MaxInt64
	r = reply{status: resp.StatusCode, header: resp.Header}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	again = err == nil && int64(len(r.body)) <= most && !resp.Close && resp.StatusCode >= http.StatusOK && ln.r.Buffered() == 0
	if !again {
		_ = ln.conn.Close() // for the rest of the body is not waited
	}
	_ = resp.Body.Close()
	return r, again, err
}

func (l *lines) host(u *url.URL) *host {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := u.Scheme + "://" + u.Host
	if l.hosts[at] == nil {
		l.hosts[at] = &host{tokens: make(chan struct{}, l.most)}
	}
	return l.hosts[at]
}

// take gives the line that was used last, so that no more are kept than are needed; nil
// if there is none.
func (l *lines) take(h *host) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := len(h.idle); n > 0; n = len(h.idle) {
		ln := h.idle[n-1]
		if h.idle = h.idle[:n-1]; !ln.spoken() {
			return ln
		}
		_ = ln.conn.Close()
	}
	return nil
}

// spoken tells whether something has come by an idle line, be it the end. It answers
// no question, and would be taken for the answer to the next one.
func (ln *line) spoken() bool {
	conn := ln.conn
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // TLS may have read on, and shall not now
		n, err := secured.Read(make([]byte, 1))
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || conn.SetReadDeadline(time.Time{}) != nil {
			return true
		}
	}
	return quiet.Heard(conn)
}

// put is false if the line is not kept.
func (l *lines) put(h *host, ln *line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	ln.rest = time.Now()
	h.idle = append(h.idle, ln)
	if l.sweep == nil {
		l.sweep = time.AfterFunc(idleTimeout, l.closeOld)
	}
	return true
}

// drop closes all that are idle.
func (l *lines) drop(h *host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.closeIdleLocked(func(*line) bool { return true })
}

// closeOld closes lines that nobody has needed for long.
func (l *lines) closeOld() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep = nil
	idle := 0
	for _, h := range l.hosts {
		h.closeIdleLocked(func(ln *line) bool { return time.Since(ln.rest) >= idleTimeout })
		idle += len(h.idle)
	}
	if idle > 0 && !l.closed {
		l.sweep = time.AfterFunc(idleTimeout, l.closeOld)
	}
}

// close gives the idle ones up; the others are not kept.
func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.sweep != nil {
		l.sweep.Stop()
	}
	for _, h := range l.hosts {
		h.closeIdleLocked(func(*line) bool { return true })
	}
}

func (h *host) closeIdleLocked(which func(*line) bool) {
	h.idle = slices.DeleteFunc(h.idle, func(ln *line) bool {
		if which(ln) {
			_ = ln.conn.Close()
			return true
		}
		return false
	})
}
