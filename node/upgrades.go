package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/quiet"
)

// upgrades stands between a listener and its server, and serves those itself who come
// for a WebSocket: what they need of a server is little, and what net/http keeps ready
// for a request, with two goroutines and 12 kB of buffers, is most of what such a
// connection costs there.
//
//	who comes ─▶ first bytes ─┬─ one whole upgrade, nothing odd ─▶ handler ─▶ what it began, in the same goroutine
//	                          └─ all else, unread ───────────────▶ net/http
//
// What it takes is what net/http would have made of it; what it does not know for sure it
// leaves alone.
type upgrades struct {
	net.Listener
	handler http.Handler
	paths   []string

	ctx     context.Context // of requests; ends with the listener
	cancel  context.CancelFunc
	begin   sync.Once
	rest    chan net.Conn  // for net/http
	stopped chan struct{}  // closed when nobody else comes
	err     error          // why; set before stopped is closed
	running sync.WaitGroup // who accepts, and requests until they are answered or upgraded
	heads   sync.Pool      // of *head

	mu     sync.Mutex
	early  map[net.Conn]struct{} // guarded by mu; whose requests are under way
	closed bool                  // guarded by mu
}

// maxHead is as much as is read of a request before it is known whose it is.
const maxHead = 4 << 10

type head [maxHead]byte

// upgradesAt lets upgrades to a WebSocket under these paths be served past net/http, if
// the listener is a plain one. It is called before Run.
func (s *httpServer) upgradesAt(paths ...string) {
	if _, ok := s.listener.(*net.TCPListener); ok {
		s.listener = newUpgrades(quiet.Listener(s.listener), s.server.Handler, paths)
	}
}

func newUpgrades(l net.Listener, handler http.Handler, paths []string) *upgrades {
	u := &upgrades{
		Listener: l, handler: handler, paths: paths,
		rest: make(chan net.Conn), stopped: make(chan struct{}), early: make(map[net.Conn]struct{}),
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.heads.New = func() any { return new(head) }
	return u
}

// Accept gives net/http what is for it.
func (u *upgrades) Accept() (net.Conn, error) {
	u.begin.Do(func() { u.running.Go(u.accept) })
	select {
	case c := <-u.rest:
		return c, nil
	case <-u.stopped:
		return nil, u.err
	}
}

// Close refuses who comes, cuts off who has not been answered, and waits for them.
func (u *upgrades) Close() error {
	err := u.Listener.Close()
	u.begin.Do(func() { // it has never been used
		u.err = net.ErrClosed
		close(u.stopped)
	})
	u.mu.Lock()
	u.closed = true
	for c := range u.early {
		_ = c.Close()
	}
	u.mu.Unlock()
	u.cancel()
	u.running.Wait()
	return err
}

// accept waits a little when there are no files left, as net/http does.
func (u *upgrades) accept() {
	defer close(u.stopped)
	const first, most = 5 * time.Millisecond, time.Second
	for wait := first; ; {
		c, err := u.Listener.Accept()
		if err == nil {
			wait = first
			u.running.Add(1)
			go u.serve(c)
			continue
		}
		var passing interface{ Temporary() bool }
		if u.err = err; !errors.As(err, &passing) || !passing.Temporary() {
			return
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, most)
		case <-u.ctx.Done():
			return
		}
	}
}

func (u *upgrades) serve(c net.Conn) {
	signaling.GrowStack()
	if goOn := u.answer(c); goOn != nil {
		goOn()
	}
}

// answer gives what the handler has begun, which holds on to nothing of the request.
func (u *upgrades) answer(c net.Conn) (goOn func()) {
	defer u.running.Done()
	if !u.enter(c) {
		_ = c.Close()
		return nil
	}
	defer func() { _ = u.leave(c) }()
	r, head := u.read(c)
	switch {
	case r != nil:
		return u.serveHTTP(c, r)
	case head == nil:
		_ = c.Close()
		return nil
	}
	select {
	case u.rest <- &replayed{Conn: c, head: head}:
	case <-u.ctx.Done():
		_ = c.Close()
	}
	return nil
}

// enter is false when the listener is closed.
func (u *upgrades) enter(c net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.early[c] = struct{}{}
	}
	return !u.closed
}

// leave is false if the connection has been closed with the listener.
func (u *upgrades) leave(c net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.early, c)
	return !u.closed
}

// read gives an upgrade, or what has come for net/http; neither if nothing has.
func (u *upgrades) read(c net.Conn) (*http.Request, []byte) {
	head, _ := u.heads.Get().(*head)
	defer u.heads.Put(head)
	if c.SetReadDeadline(time.Now().Add(headerTimeout)) != nil {
		return nil, nil
	}
	n, err := c.Read(head[:])
	if err != nil || c.SetReadDeadline(time.Time{}) != nil {
		return nil, nil
	}
	r := upgradeOf(head[:n], u.paths)
	if r == nil {
		return nil, bytes.Clone(head[:n])
	}
	r.RemoteAddr = c.RemoteAddr().String()
	return r.WithContext(u.ctx), nil
}

// serveHTTP answers, or leaves the connection to who has taken it.
func (u *upgrades) serveHTTP(c net.Conn, r *http.Request) func() {
	w := &upgradeWriter{conn: c, take: func() bool { return u.leave(c) }, header: make(http.Header)}
	defer func() {
		if recover() != nil && !w.hijacked { // surviving has told of it
			_ = c.Close()
		}
	}()
	u.handler.ServeHTTP(w, r)
	if !w.hijacked {
		w.finish()
	}
	return w.goOn
}

// upgradeOf reads a request for a WebSocket under one of these paths; nil if it is
// anything else, or not whole, or not alone, or if a server could take it in two ways.
func upgradeOf(head []byte, paths []string) *http.Request {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	target, ok := bytes.CutPrefix(line, []byte("GET "))
	target, ok11 := bytes.CutSuffix(target, []byte(" HTTP/1.1"))
	path, _, _ := bytes.Cut(target, []byte("?"))
	if !ok || !ok11 || !slices.Contains(paths, string(path)) || !wellFormed(fields) {
		return nil
	}
	r, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(head), len(head)))
	if err != nil || r.Body != http.NoBody || !httpguts.ValidHostHeader(r.Host) || r.Header.Get("Expect") != "" ||
		!httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil
	}
	return r
}

// wellFormed tells whether these are the lines of a header to its end, each of which is
// one field, and one of which is Host.
func wellFormed(fields []byte) bool {
	hosts := 0
	for {
		line, rest, ok := bytes.Cut(fields, []byte("\r\n"))
		if !ok {
			return false
		}
		if len(line) == 0 {
			return len(rest) == 0 && hosts == 1
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !httpguts.ValidHeaderFieldName(string(name)) || !httpguts.ValidHeaderFieldValue(string(value)) {
			return false
		}
		if bytes.EqualFold(name, []byte("Host")) {
			hosts++
		}
		fields = rest
	}
}

// upgradeWriter is the answer to an upgrade. Who refuses one says little, and the
// connection ends with it.
type upgradeWriter struct {
	conn     net.Conn
	take     func() bool // nobody else closes the connection from then on; false if that has been done
	header   http.Header
	status   int
	body     bytes.Buffer
	hijacked bool
	goOn     func()
}

// maxRefusal bounds an answer that is no upgrade.
const maxRefusal = 64 << 10

var errLongRefusal = errors.New("too long for the answer to an upgrade")

func (w *upgradeWriter) Header() http.Header { return w.header }

func (w *upgradeWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

func (w *upgradeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.hijacked:
		return 0, http.ErrHijacked
	case w.body.Len()+len(p) > maxRefusal:
		return 0, errLongRefusal
	}
	return w.body.Write(p)
}

// Hijack gives the connection away. Who has it may keep its descriptor and write to that:
// it must not be another one's meanwhile.
func (w *upgradeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	if !w.take() {
		return nil, nil, net.ErrClosed
	}
	w.hijacked = true
	const least = 16 // nothing has been read too early
	return w.conn, bufio.NewReadWriter(bufio.NewReaderSize(w.conn, least), bufio.NewWriterSize(w.conn, least)), nil
}

// GoOn lets what the handler has begun with the connection go on when it has returned,
// in its goroutine.
func (w *upgradeWriter) GoOn(with func()) { w.goOn = with }

func (w *upgradeWriter) finish() {
	w.WriteHeader(http.StatusOK)
	w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	answer := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Close: true,
	}
	var all bytes.Buffer // in one packet
	if answer.Write(&all) == nil && w.conn.SetWriteDeadline(time.Now().Add(answerTimeout)) == nil {
		_, _ = w.conn.Write(all.Bytes()) // who asked may be gone
	}
	_ = w.conn.Close()
}

// replayed is a connection of which something has been read already.
type replayed struct {
	net.Conn
	head []byte // what that was
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	if r.head = r.head[n:]; len(r.head) == 0 {
		r.head = nil
	}
	return n, nil
}

// CloseWrite is for net/http, which lets who still sends hear the answer.
func (r *replayed) CloseWrite() error {
	if c, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger is for who closes the connection without what is still to be sent.
func (r *replayed) SetLinger(sec int) error {
	if c, ok := r.Conn.(interface{ SetLinger(sec int) error }); ok {
		return c.SetLinger(sec)
	}
	return errors.ErrUnsupported
}

// SyscallConn is for who reads past Read, when all of the head has been read.
func (r *replayed) SyscallConn() (syscall.RawConn, error) {
	if c, ok := r.Conn.(syscall.Conn); ok && len(r.head) == 0 {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
