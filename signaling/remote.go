package signaling

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// Between two attempts to open a stream.
const (
	linkRetryFirst = 50 * time.Millisecond
	linkRetryMost  = time.Second
)

// The frames that wait for a peer are bounded. If they are more, the stream is
// opened anew, and the rooms start over with snapshots.
const (
	maxOutbox      = 8192
	maxOutboxBytes = 64 << 20
)

// peer is another node, with the one stream that carries the frames of all
// rooms between it and this node. The node with the smaller id opens it.
type peer struct {
	hub    *Hub
	id     store.NodeID
	cancel context.CancelFunc // of the goroutine that opens streams

	serving sync.Mutex // held by the stream that is in use

	receiving sync.Mutex // held while a frame is handed on
	current   stream     // guarded by receiving; frames of others come too late

	mu    sync.Mutex
	held  []held               // guarded by mu; for the next stream
	bytes int                  // guarded by mu; of what waits
	out   chan *signalpb.Frame // guarded by mu; nil without a stream
	reset context.CancelFunc   // guarded by mu; ends the stream
}

// maxLinkFrame is what the other end of a link takes. Anything larger would end
// the link for all rooms.
const maxLinkFrame = 4<<20 - 1<<10

// stream is either end of a Link.
type stream interface {
	Send(*signalpb.Frame) error
	Recv() (*signalpb.Frame, error)
	Context() context.Context
}

// nodesChanged makes peers of new nodes, and forgets those that left.
func (h *Hub) nodesChanged() {
	known, nodes := make(map[store.NodeID]bool), h.deps.Nodes.Nodes()
	h.forgetDead(nodes)
	h.greetingFollows(nodes)
	for _, n := range nodes {
		if n.ID != h.deps.Self {
			known[n.ID] = true
			h.addPeer(n.ID)
		}
	}
	h.mu.Lock()
	var gone []*peer
	for id, p := range h.peers {
		if !known[id] {
			delete(h.peers, id)
			gone = append(gone, p)
		}
	}
	h.mu.Unlock()
	for _, p := range gone {
		p.cancel()
		p.drop()
	}
	h.directoryFollows(nodes)
}

func (h *Hub) addPeer(id store.NodeID) *peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.peers[id]; p != nil || h.closed {
		return p
	}
	ctx, cancel := context.WithCancel(h.ctx)
	p := &peer{hub: h, id: id, cancel: cancel}
	h.peers[id] = p
	if h.deps.Self > id {
		return p // that node opens the stream
	}
	h.tasks++
	go func() {
		defer h.end()
		p.open(ctx)
	}()
	return p
}

// open opens streams until ctx ends.
func (p *peer) open(ctx context.Context) {
	wait := linkRetryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := p.dial(ctx)
		if time.Since(began) > linkRetryMost {
			wait = linkRetryFirst
		}
		p.hub.log.Debug("link ended", keyNode, string(p.id), keyError, err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, linkRetryMost)
	}
}

func (p *peer) dial(ctx context.Context) error {
	cc, err := p.hub.deps.Peers.Dial(p.id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := signalpb.NewSignalingClient(cc).Link(ctx)
	if err != nil {
		return err
	}
	// The other side says hello with an empty frame: a stream that exists here
	// only would swallow what is sent.
	if _, err := s.Recv(); err != nil {
		return err
	}
	return p.serve(s, cancel)
}

// serve runs a stream until it ends. There is one at a time.
func (p *peer) serve(s stream, cancel context.CancelFunc) error {
	p.drop()
	p.serving.Lock()
	defer p.serving.Unlock()
	p.receiving.Lock()
	p.current = s
	p.receiving.Unlock()
	out := make(chan *signalpb.Frame, maxOutbox)
	p.mu.Lock()
	p.out, p.bytes, p.reset = out, 0, cancel
	p.sendHeldLocked()
	p.mu.Unlock()
	p.hub.linkChanged(p.id, true)

	received := make(chan error, 1)
	pulse := &pulse{}
	p.hub.background(func() { received <- p.receive(s, pulse) })
	p.hub.background(func() {
		if pulse.watch(s.Context(), p.hub.cfg.LinkBeat) {
			p.hub.metrics.silences.Inc()
			p.hub.log.Info("a node does not answer", keyNode, string(p.id))
			cancel()
			p.hub.silent(p.id)
		}
	})
	sent := &unsure{pulse: pulse}
	err := p.sendAll(s, out, received, sent)
	cancel()

	p.mu.Lock()
	p.out, p.reset = nil, nil
	p.mu.Unlock()
	p.hub.linkChanged(p.id, false)
	p.sayAgain(sent, out)
	return err
}

// sendAll sends what waits until the stream ends.
func (p *peer) sendAll(s stream, out <-chan *signalpb.Frame, received <-chan error, sent *unsure) error {
	beat := time.NewTicker(p.hub.cfg.LinkBeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			sent.confirm()
			if err := s.Send(sent.pulse.beat()); err != nil {
				return err
			}
		case f := <-out:
			p.sent(out, proto.Size(f))
			sent.add(f)
			if err := s.Send(f); err != nil {
				return err
			}
		case err := <-received:
			return err
		case <-s.Context().Done():
			return s.Context().Err()
		case <-p.hub.ctx.Done():
			return errClosed
		}
	}
}

func (p *peer) receive(s stream, pulse *pulse) error {
	for {
		f, err := s.Recv()
		if err != nil {
			return err
		}
		pulse.heard(f)
		if err := p.handOn(s, f); err != nil {
			return err
		}
	}
}

func (p *peer) handOn(s stream, f *signalpb.Frame) error {
	p.receiving.Lock()
	defer p.receiving.Unlock()
	if p.current != s {
		return errClosed
	}
	return p.hub.receive(p.id, f)
}

func (h *Hub) allPeers() []*peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return values(h.peers)
}

// tellPeers sends a frame to all other nodes.
func (h *Hub) tellPeers(f *signalpb.Frame) {
	for _, p := range h.allPeers() {
		p.send(f)
	}
}

// send queues a frame; it is false if the peer cannot be reached.
func (p *peer) send(f *signalpb.Frame) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		p.holdLocked(f)
		return false
	}
	return p.queueLocked(f)
}

// sendNow is send for what is not to come later.
func (p *peer) sendNow(f *signalpb.Frame) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out != nil && p.queueLocked(f)
}

func (p *peer) queueLocked(f *signalpb.Frame) bool {
	size := proto.Size(f)
	if size > maxLinkFrame {
		p.hub.metrics.overflow("frame")
		return false
	}
	if p.bytes+size <= maxOutboxBytes {
		select {
		case p.out <- f:
			p.bytes += size
			return true
		default:
		}
	}
	p.hub.metrics.overflow("peer")
	p.reset()
	p.out = nil
	return false
}

// sent tells that a frame has been taken out of a stream's queue.
func (p *peer) sent(from <-chan *signalpb.Frame, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == from {
		p.bytes -= size
	}
}

// linked tells whether there is a stream.
func (p *peer) linked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out != nil
}

// waiting says how many frames wait.
func (p *peer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.out)
}

// drop ends the stream that is in use.
func (p *peer) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reset != nil {
		p.reset()
	}
}

// linkChanged tells all rooms and replicas that a stream has begun or ended.
func (h *Hub) linkChanged(id store.NodeID, up bool) {
	h.mu.Lock()
	rooms, replicas, closed := values(h.rooms), values(h.replicas), h.closed
	h.mu.Unlock()
	if up {
		h.metrics.links.Inc()
	} else {
		h.metrics.links.Dec()
	}
	if closed {
		return
	}
	if up {
		h.greet(id)
		h.tellAll(id)
	} else {
		h.directory.lost(id)
	}
	for _, r := range rooms {
		r.edgeLost(id) // what it was told may not have arrived
	}
	for _, r := range replicas {
		r.linkChanged(id, up)
	}
}
