package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay/internal/relaypb"
	"github.com/talkd/talkd/media/repair"
	"github.com/talkd/talkd/store"
)

// pull is a publication of another node that flows to this one.
type pull struct {
	m      *Manager
	pub    media.Publication
	link   *link
	to     netip.AddrPort // the other node's socket
	ports  []*port
	data   chan media.DataMessage
	wake   chan struct{} // something is to be asked for
	stream grpc.ServerStreamingClient[relaypb.PullEvent]
	cancel context.CancelFunc // ends the stream
	past   []uint32           // streams that begin with packets since a keyframe

	once  sync.Once
	cause error         // set before done is closed
	done  chan struct{} // the flow has ended
	tasks sync.WaitGroup
}

// Pull makes a publication of another node flow to this one. ctx is for the
// agreement; the flow lasts until the result is closed.
func (m *Manager) Pull(ctx context.Context, pub media.Publication) (*media.Relayed, error) {
	if err := pub.Validate(); err != nil {
		return nil, err
	}
	if pub.Edge == "" || pub.Edge == m.deps.Self {
		return nil, fmt.Errorf("%w: of no other node", media.ErrBadPublication)
	}
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()

	p, err := m.pull(setup, pub)
	if errors.Is(err, errKeys) {
		// The other node was started anew since the last pull, or so much flowed
		// that the stream ids of the link are used up.
		p, err = m.pull(setup, pub)
	}
	switch {
	case err == nil:
		return p.relayed(), nil
	case m.life.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errKeys)):
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	default:
		return nil, err
	}
}

func (m *Manager) pull(ctx context.Context, pub media.Publication) (*pull, error) {
	conn, err := m.deps.Peers.Dial(pub.Edge)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	to, err := m.address(ctx, pub.Edge)
	if err != nil {
		return nil, err
	}
	client := relaypb.NewRelayClient(conn)
	l, err := m.linkTo(ctx, pub.Edge, client)
	if err != nil {
		return nil, err
	}
	p := newPull(m, pub, l, to)
	if !m.table.reserve(l, p.ports) {
		m.forget(ctx, l)
		return nil, errKeys
	}
	if err := p.open(ctx, client); err != nil {
		m.table.release(l, p.ports)
		if errors.Is(err, errKeys) {
			m.forget(ctx, l)
		}
		return nil, err
	}
	if !p.start() {
		p.finish(ErrClosed)
		return nil, ErrClosed
	}
	return p, nil
}

func newPull(m *Manager, pub media.Publication, l *link, to netip.AddrPort) *pull {
	p := &pull{
		m: m, pub: pub, link: l, to: to,
		data: make(chan media.DataMessage, media.DataQueue),
		wake: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
	for _, t := range pub.Tracks {
		for _, layer := range t.Layers {
			o := &port{link: l}
			o.in = newInLayer(p, o, t.Index, layer.Index)
			p.ports = append(p.ports, o)
		}
	}
	return p
}

// address is where datagrams to a node go.
func (m *Manager) address(ctx context.Context, peer store.NodeID) (netip.AddrPort, error) {
	hostport, ok := m.deps.RelayAddr(peer)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%w: its relay has no address", ErrUnreachable)
	}
	to, err := resolve(ctx, hostport)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return to, nil
}

// open asks for the publication and waits for the answer. When it fails
// nothing is left running.
func (p *pull) open(ctx context.Context, client relaypb.RelayClient) error {
	life, cancel := context.WithCancel(p.m.life)
	stop := context.AfterFunc(ctx, cancel) // a caller that gives up, until the answer
	stream, err := p.request(life, client)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		cancel()
		return fromStatus(ctx, err)
	}
	p.stream, p.cancel = stream, cancel
	return nil
}

func (p *pull) request(ctx context.Context, client relaypb.RelayClient) (grpc.ServerStreamingClient[relaypb.PullEvent], error) {
	id := p.pub.ID
	r := &relaypb.PullRequest{
		Session: string(id.Session), Incarnation: id.Incarnation, Kind: id.Kind, Generation: id.Generation,
		MediaEpoch: p.link.inEpoch, Past: true,
	}
	if len(p.ports) > 0 {
		r.FirstStream = p.ports[0].stream
	}
	for _, o := range p.ports {
		r.Layers = append(r.Layers, &relaypb.Layer{Track: uint32(o.in.track), Layer: uint32(o.in.layer)})
	}
	stream, err := client.Pull(ctx, r, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	event, err := stream.Recv()
	if err == nil && event.GetOpened() == nil {
		err = status.Error(codes.Internal, "unexpected answer")
	}
	p.past = event.GetOpened().GetPast()
	return stream, err
}

// start begins the pull's goroutines; false when the Manager is closed.
func (p *pull) start() bool {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.pulls[p] = struct{}{}
	for _, task := range []func(){p.listen, p.ask} {
		m.tasks.Add(1)
		p.tasks.Go(func() {
			defer m.tasks.Done()
			task()
		})
	}
	return true
}

// finish ends the flow; the first cause counts.
func (p *pull) finish(cause error) {
	p.once.Do(func() {
		p.cause = cause
		close(p.done)
		p.cancel()
		p.m.table.release(p.link, p.ports)
		p.m.mu.Lock()
		delete(p.m.pulls, p)
		p.m.mu.Unlock()
		p.m.deps.Logger.Debug("pull ended", logNode, p.pub.Edge, logPublication, p.pub.ID.String(), "error", cause)
	})
}

func (p *pull) err() error {
	select {
	case <-p.done:
		return p.cause
	default:
		return nil
	}
}

func (p *pull) relayed() *media.Relayed {
	r := &media.Relayed{
		Data: p.data,
		Done: p.done,
		Err:  p.err,
		Close: func() error {
			p.finish(ErrClosed)
			p.tasks.Wait()
			return nil
		},
	}
	for _, o := range p.ports {
		r.Layers = append(r.Layers, media.RelayedLayer{
			Track: o.in.track, Layer: o.in.layer, Source: o.in, Feedback: o.in, Clock: o.in.clockNow,
			Past: slices.Contains(p.past, o.stream),
		})
	}
	return r
}

// listen takes what comes by RPC until the stream ends.
func (p *pull) listen() {
	for {
		event, err := p.stream.Recv()
		if err != nil {
			p.finish(fmt.Errorf("%w: %s", ErrLost, status.Convert(err).Message()))
			return
		}
		switch e := event.GetEvent().(type) {
		case *relaypb.PullEvent_Clock:
			p.clock(e.Clock)
		case *relaypb.PullEvent_Message:
			p.message(e.Message)
		case *relaypb.PullEvent_Ended:
			p.finish(fromReason(e.Ended.GetReason()))
			return
		}
	}
}

// fromReason is the cause that the other node gave for the end of a flow.
func fromReason(r relaypb.Reason) error {
	switch r {
	case relaypb.Reason_REASON_GONE:
		return media.ErrPublisherGone
	case relaypb.Reason_REASON_NOT_ALLOWED:
		return fmt.Errorf("%w: not any more", ErrDenied)
	default:
		return fmt.Errorf("%w: %s", ErrLost, r)
	}
}

func (p *pull) clock(c *relaypb.Clock) {
	age := time.Duration(min(c.GetAgeUs(), uint64(maxClockAge/time.Microsecond))) * time.Microsecond
	for _, o := range p.ports {
		if o.stream == c.GetStream() {
			o.in.setClock(media.Clock{NTP: c.GetNtp(), RTP: c.GetRtp(), Arrival: time.Now().Add(-age)})
		}
	}
}

func (p *pull) message(msg *relaypb.Message) {
	data := msg.GetData()
	if data == nil {
		data = []byte{} // an empty message; the zero DataMessage is none
	}
	if len(data) > media.MaxDataMessage {
		p.m.stats.drop(dropData)
		return
	}
	select {
	case p.data <- media.DataMessage{Text: msg.GetText(), Data: data}:
	default:
		p.m.stats.drop(dropData)
	}
}

// ask sends the requests of all layers when they are due.
func (p *pull) ask() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	seqs := make([]uint16, 0, maxNACK)
	payload := make([]byte, 0, 2*maxNACK)
	for {
		select {
		case <-p.done:
			return
		case <-p.wake:
		case <-timer.C:
		}
		var next time.Time
		for _, o := range p.ports {
			for {
				now := time.Now()
				if seqs = o.in.repair.Due(now, seqs[:0]); len(seqs) == 0 {
					break
				}
				p.send(o, kindNACK, appendNACK(payload[:0], seqs))
			}
			if o.in.refresh.due(time.Now()) {
				p.send(o, kindKeyframe, nil)
			}
			next = repair.Earlier(next, repair.Earlier(o.in.repair.Next(), o.in.refresh.next()))
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

func (p *pull) send(o *port, k kind, payload []byte) {
	o.in.asks++
	h := header{kind: k, epoch: p.link.outEpoch, stream: o.stream, counter: o.in.asks}
	p.m.sendOne(p.link.out, h, payload, p.to)
}

func (p *pull) poke() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}
