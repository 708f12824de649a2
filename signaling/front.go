package signaling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// A client that comes to another node than the one that has its session stays
// there, and its frames go through a front:
//
//	client ─ws─ conn ─ tunnel ─gRPC─ passage ─ conn ─ Session
//	          (its node)             (the node that has the session)
//
// The session sees a connection like any other. Nothing is kept between the two
// ends but what gRPC buffers: who reads slowly holds up who writes.

// frontPatience is how long a node may take to say whether it has a session.
const frontPatience = time.Second

var (
	// errUnreachable: nobody can say what has become of the session.
	errUnreachable = errors.New("the node of the session cannot be reached, or began anew")
	// errElsewhere: the session is at another node, or nowhere.
	errElsewhere = errors.New("the session is not at that node")
)

// tunnel is the near end of a front: the client is here.
type tunnel struct {
	node   store.NodeID
	stream grpc.BidiStreamingClient[signalpb.FrontFrame, signalpb.FrontFrame]
	cancel context.CancelFunc
	// relayed is what the client is to be sent next: whoever reads slowly holds up
	// the other end.
	relayed chan []byte
}

// send hands on what the client says. It waits for the other end.
func (t *tunnel) send(frame []byte) error {
	return t.stream.Send(&signalpb.FrontFrame{Body: &signalpb.FrontFrame_Frame{Frame: frame}})
}

// front brings a client to the session it had, at another node. Without the
// session there it is errElsewhere, with the node that it went to, if any.
func (h *Hub) front(ctx context.Context, c *conn, m *wire.ClientMessage, t *signalpb.Resume, node store.NodeID) (to store.NodeID, err error) {
	if !h.mayLive(node) {
		return "", errUnreachable
	}
	client, err := h.client(node)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnreachable, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	opened, err := h.openFront(ctx, cancel, c, client, node, &signalpb.FrontOpen{
		Session: t.GetSession(), Key: t.GetKey(), Id: m.ID, ResumeId: m.Hello.ResumeID,
		Incarnation: t.GetIncarnation(), Address: c.addr.String(), Page: c.page, Stay: c.stay, Version: c.version,
	})
	switch {
	case err != nil:
		cancel()
		return "", fmt.Errorf("%w: %w", errUnreachable, err)
	case opened.GetOutcome() == signalpb.Outcome_OUTCOME_OK:
		h.metrics.fronts.Inc()
		h.introduced(c)
		return "", nil
	}
	cancel()
	if node == store.NodeID(t.GetNode()) && opened.GetLife() != t.GetLife() && opened.GetTo() == "" {
		return "", errUnreachable // it has forgotten
	}
	return store.NodeID(opened.GetTo()), errElsewhere
}

// openFront opens a front. If the answer is good the client's frames go through
// it from then on. An answer that comes when nobody waits for it any more is as
// none: the session may be made anew meanwhile.
func (h *Hub) openFront(ctx context.Context, cancel context.CancelFunc, c *conn, client signalpb.SignalingClient, node store.NodeID, open *signalpb.FrontOpen) (*signalpb.FrontOpened, error) {
	t := &tunnel{node: node, cancel: cancel, relayed: make(chan []byte, 1)}
	answer := make(chan *signalpb.FrontOpened)
	h.background(func() {
		defer cancel()
		defer close(answer)
		opened, err := t.open(ctx, client, open)
		if err != nil {
			// What gRPC says besides holds the addresses of both nodes.
			h.log.Debug("no front", keyNode, string(node), keyError, status.Code(err).String())
			return
		}
		select {
		case answer <- opened:
		case <-ctx.Done():
			return
		}
		if opened.GetOutcome() == signalpb.Outcome_OUTCOME_OK {
			t.relay(ctx, c)
		}
	})
	patience := time.NewTimer(frontPatience)
	defer patience.Stop()
	select {
	case opened, ok := <-answer:
		if !ok {
			return nil, errors.New("not opened")
		}
		if opened.GetOutcome() == signalpb.Outcome_OUTCOME_OK {
			c.mu.Lock()
			c.tunnel = t
			c.mu.Unlock()
			c.wakeUp() // something may have come through it already
		}
		return opened, nil
	case <-patience.C:
		return nil, context.DeadlineExceeded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *tunnel) open(ctx context.Context, client signalpb.SignalingClient, open *signalpb.FrontOpen) (*signalpb.FrontOpened, error) {
	var err error
	if t.stream, err = client.Front(ctx); err != nil {
		return nil, err
	}
	if err = t.stream.Send(&signalpb.FrontFrame{Body: &signalpb.FrontFrame_Open{Open: open}}); err != nil {
		return nil, err
	}
	f, err := t.stream.Recv()
	switch {
	case err != nil:
		return nil, err
	case f.GetOpened() == nil:
		return nil, errors.New("not an answer")
	}
	return f.GetOpened(), nil
}

// relay hands the client what the session says, until either ends. If it is the
// other node that ends, the client comes back at once and is taken care of then.
func (t *tunnel) relay(ctx context.Context, c *conn) {
	status := statusRestart
	defer func() { c.close(status) }()
	var whole []byte
	for parts := 0; ; {
		f, err := t.stream.Recv()
		if err != nil {
			return
		}
		switch body := f.GetBody().(type) {
		case *signalpb.FrontFrame_Close:
			status = websocket.StatusCode(body.Close)
			return
		case *signalpb.FrontFrame_Frame:
			if whole == nil {
				whole = body.Frame
			} else {
				whole = append(whole, body.Frame...)
			}
			if f.GetMore() {
				if parts++; parts > maxParts {
					return
				}
				continue
			}
			select {
			case t.relayed <- whole:
				c.wakeUp()
			case <-ctx.Done():
				return
			}
			whole, parts = nil, 0
		}
	}
}

// mayLive tells whether it is worth asking a node: that there is a link to it, or
// that the others see it.
func (h *Hub) mayLive(node store.NodeID) bool {
	if p := h.peer(node); p != nil && p.linked() {
		return true
	}
	for _, n := range h.deps.Nodes.Nodes() {
		if n.ID == node {
			return n.Alive
		}
	}
	return false
}

// Front is the far end: the session is here.
func (s *service) Front(st grpc.BidiStreamingServer[signalpb.FrontFrame, signalpb.FrontFrame]) error {
	via, err := s.caller(st.Context())
	if err != nil {
		return err
	}
	h := s.hub
	if !h.begin() {
		return status.Error(codes.Unavailable, "stopping")
	}
	defer h.end()
	f, err := st.Recv()
	if err != nil {
		return err
	}
	open := f.GetOpen()
	if open == nil {
		return status.Error(codes.InvalidArgument, "not opened")
	}
	answer := &signalpb.FrontOpened{Outcome: signalpb.Outcome_OUTCOME_NO_SESSION, Life: h.life}
	id := store.SessionID(open.GetSession())
	session := h.session(id)
	p := newPassage(st)
	c := h.newConn(p)
	c.via, c.page, c.stay, c.version = via, open.GetPage(), open.GetStay(), cmp.Or(open.GetVersion(), wire.Version)
	c.addr, _ = netip.ParseAddr(open.GetAddress()) // without one it counts for none
	switch {
	case session == nil:
		answer.To = string(h.forwarded(id))
	case !session.hasKey(open.GetKey()):
	case !h.addConn(c):
		return status.Error(codes.ResourceExhausted, "too many connections")
	default:
		defer h.removeConn(c)
		answer.Outcome = signalpb.Outcome_OUTCOME_OK
	}
	if err := st.Send(&signalpb.FrontFrame{Body: &signalpb.FrontFrame_Opened{Opened: answer}}); err != nil || answer.GetOutcome() != signalpb.Outcome_OUTCOME_OK {
		return err
	}
	p.start(h)
	defer p.cut()
	if err := h.takeUp(c, session, open.GetId(), open.GetResumeId(), open.GetIncarnation()); err != nil {
		p.close(statusRestart) // it asks again, and hears that the session has ended
		return nil
	}
	c.serve(h.ctx)
	return nil
}

// passage is the carrier of a connection that comes through a front. Send and
// Recv of a stream end with the call only, so that they have goroutines of their
// own, which nobody waits for but the Hub.
type passage struct {
	stream grpc.BidiStreamingServer[signalpb.FrontFrame, signalpb.FrontFrame]
	in     chan []byte
	out    chan *signalpb.FrontFrame
	sent   chan struct{} // closed when nothing is sent any more
	gone   chan struct{} // closed when the passage is
	once   sync.Once
}

func newPassage(st grpc.BidiStreamingServer[signalpb.FrontFrame, signalpb.FrontFrame]) *passage {
	return &passage{
		stream: st,
		in:     make(chan []byte),
		out:    make(chan *signalpb.FrontFrame),
		sent:   make(chan struct{}),
		gone:   make(chan struct{}),
	}
}

func (p *passage) start(h *Hub) {
	h.background(p.receive)
	h.background(p.sendAll)
}

func (p *passage) receive() {
	defer p.cut()
	for {
		f, err := p.stream.Recv()
		if err != nil {
			return
		}
		select {
		case p.in <- f.GetFrame():
		case <-p.gone:
			return
		}
	}
}

func (p *passage) sendAll() {
	defer close(p.sent)
	for {
		select {
		case f := <-p.out:
			if p.stream.Send(f) != nil {
				p.cut()
				return
			}
			if _, last := f.GetBody().(*signalpb.FrontFrame_Close); last {
				return
			}
		case <-p.gone:
			return
		}
	}
}

var errGone = errors.New("the front is gone")

func (p *passage) read(ctx context.Context) ([]byte, error) {
	select {
	case frame := <-p.in:
		if len(frame) > wire.MaxFrame {
			return nil, wire.ErrTooLarge
		}
		return frame, nil
	case <-p.gone:
		return nil, errGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *passage) write(ctx context.Context, frames [][]byte, _ bool) (int, error) {
	for i, frame := range frames {
		if err := p.writeFrame(ctx, frame); err != nil {
			return i, err
		}
	}
	return len(frames), nil
}

// try does not know how much the other node takes.
func (p *passage) try([][]byte, bool) (int, error) { return 0, errPatience }

// writeFrame cuts what is too long for one message between nodes.
func (p *passage) writeFrame(ctx context.Context, frame []byte) error {
	for {
		part := frame[:min(len(frame), maxPart)]
		frame = frame[len(part):]
		f := &signalpb.FrontFrame{Body: &signalpb.FrontFrame_Frame{Frame: part}, More: len(frame) > 0}
		if err := p.put(ctx, f); err != nil || len(frame) == 0 {
			return err
		}
	}
}

func (p *passage) put(ctx context.Context, f *signalpb.FrontFrame) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	select {
	case p.out <- f:
		return nil
	case <-p.sent:
		return errGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask does nothing: the node that has the client asks it, and the link tells
// whether that node is there.
func (p *passage) ask() bool { return true }

func (p *passage) due() bool { return false }

func (p *passage) close(status websocket.StatusCode) {
	if p.put(context.Background(), &signalpb.FrontFrame{Body: &signalpb.FrontFrame_Close{Close: uint32(status)}}) != nil {
		return
	}
	select {
	case <-p.sent:
	case <-time.After(writeTimeout):
	}
}

func (p *passage) cut() { p.once.Do(func() { close(p.gone) }) }

// unheard is nothing: what has gone to the other node is not known any more.
func (p *passage) unheard() [][]byte { return nil }
