package load

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Errors of a peer connection.
var (
	ErrFailed = errors.New("load: peer connection failed")
	ErrTrack  = errors.New("load: tracks are not one audio and one video")
	ErrMoved  = errors.New("load: offer for another connection")
)

// peer is one connection of a client, to publish or to listen. Its goroutine
// deals with what comes for it, in order.
type peer struct {
	stepLog
	c     *Client
	of    peerKey
	pc    *webrtc.PeerConnection
	inbox chan *wire.MediaMessage
	ready chan struct{} // closed when the connection is up

	hangUp func() error // ends the socket

	once   sync.Once // closes ready
	ctx    context.Context
	cancel context.CancelCauseFunc // ends what belongs to the connection, with the reason

	mu      sync.Mutex
	sid     string                    // guarded by mu; set before local candidates are gathered
	offered []Way                     // guarded by mu; where the node takes media
	waiting []webrtc.ICECandidateInit // own goroutine only; came before the description
}

// peerKey names a connection: whose media these are, and which.
type peerKey struct {
	from     store.SessionID
	roomType string
}

// maxWaiting is how many candidates may come before the description.
const maxWaiting = 64

// newPeer makes a connection, and lets messages about it in.
func (c *Client) newPeer(of peerKey) (*peer, error) {
	pc, hangUp, err := c.network.connection()
	if err != nil {
		return nil, err
	}
	p := &peer{stepLog: stepLog{now: c.clock}, c: c, of: of, pc: pc, hangUp: hangUp, inbox: make(chan *wire.MediaMessage, maxInbox), ready: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancelCause(c.ctx)
	// Talk's clients open this channel on every connection but a screen's, so that
	// there is a section for it from the start.
	if of.roomType != wire.RoomTypeScreen {
		if _, err := pc.CreateDataChannel("status", nil); err != nil {
			return nil, errors.Join(err, p.release())
		}
	}
	pc.OnICECandidate(p.sendCandidate)
	pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) {
		if s == webrtc.ICEConnectionStateConnected {
			p.note(stepReached)
		}
	})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			p.note(stepUp)
			p.once.Do(func() { close(p.ready) })
		case webrtc.PeerConnectionStateFailed:
			p.cancel(p.unconnected(ErrFailed))
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(ErrClosed, p.release())
	}
	c.peers[of] = p
	return p, nil
}

// await waits until the connection is up.
func (p *peer) await(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return p.unconnected(ctx.Err())
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// Err is why the connection ended, nil while it is up.
func (p *peer) Err() error { return context.Cause(p.ctx) }

func (p *peer) close() {
	p.cancel(ErrClosed)
	_ = p.release() // there is nobody to tell
}

func (p *peer) release() error { return errors.Join(p.pc.GracefulClose(), p.hangUp()) }

func (p *peer) currentSID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sid
}

func (p *peer) setSID(sid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sid = sid
}

func (p *peer) message(t wire.MediaType, payload *wire.MediaPayload) wire.MediaMessage {
	return wire.MediaMessage{Type: t, To: p.of.from, SID: p.currentSID(), RoomType: p.of.roomType, Payload: payload}
}

func (p *peer) sendCandidate(candidate *webrtc.ICECandidate) {
	if candidate == nil {
		return
	}
	init := candidate.ToJSON()
	m := p.message(wire.MediaCandidate, &wire.MediaPayload{Candidate: &wire.Candidate{
		Candidate:     init.Candidate,
		SDPMLineIndex: init.SDPMLineIndex,
	}})
	if init.SDPMid != nil {
		m.Payload.Candidate.SDPMid = *init.SDPMid
	}
	if _, err := p.c.media(p.ctx, m); err != nil {
		p.cancel(fmt.Errorf("sending a candidate: %w", err))
	}
}

func (p *peer) addCandidate(w *wire.Candidate) error {
	p.offers(w.Candidate)
	init := webrtc.ICECandidateInit{Candidate: w.Candidate, SDPMid: &w.SDPMid, SDPMLineIndex: w.SDPMLineIndex}
	if p.pc.RemoteDescription() == nil {
		if len(p.waiting) == maxWaiting {
			return ErrFlooded
		}
		p.waiting = append(p.waiting, init)
		return nil
	}
	return p.pc.AddICECandidate(init)
}

// describe takes the other side's description, and the candidates that came
// before it.
func (p *peer) describe(d webrtc.SessionDescription) error {
	p.offers(d.SDP)
	if err := p.pc.SetRemoteDescription(d); err != nil {
		return err
	}
	for _, init := range p.waiting {
		if err := p.pc.AddICECandidate(init); err != nil {
			return err
		}
	}
	p.waiting = nil
	return nil
}

// forget closes a connection that is of no use any more.
func (c *Client) forget(p *peer) {
	c.mu.Lock()
	if c.peers[p.of] == p {
		delete(c.peers, p.of)
	}
	c.mu.Unlock()
	c.spawn(p.close)
}
