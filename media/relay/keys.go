package relay

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/media/relay/internal/relaypb"
	"github.com/talkd/talkd/store"
)

// setupTimeout is what another node gets to answer.
const setupTimeout = 5 * time.Second

// linkTo gives the link by which this node pulls from another, and agrees on
// one if there is none.
func (m *Manager) linkTo(ctx context.Context, peer store.NodeID, client relaypb.RelayClient) (*link, error) {
	k := m.keysOf(peer)
	select {
	case <-k.turn:
		defer func() { k.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if k.link != nil {
		return k.link, nil
	}

	feedbackKey, out, err := newKey()
	if err != nil {
		return nil, err
	}
	l := &link{peer: peer, out: out}
	if err := m.table.add(l); err != nil {
		return nil, err
	}
	reply, err := client.Keys(ctx, &relaypb.KeysRequest{MediaEpoch: l.inEpoch, FeedbackKey: feedbackKey}, grpc.WaitForReady(true))
	if err == nil {
		l.in, err = newAEAD(reply.GetMediaKey())
	}
	if err != nil {
		m.table.retire(l)
		return nil, fromStatus(ctx, err)
	}
	l.outEpoch = reply.GetFeedbackEpoch()
	k.link = l
	m.deps.Logger.Debug("relay keys agreed", logNode, peer)
	return l, nil
}

// forget makes the next pull agree on new keys; pulls that flow by the old ones
// go on.
func (m *Manager) forget(ctx context.Context, l *link) {
	k := m.keysOf(l.peer)
	select {
	case <-k.turn:
	case <-ctx.Done():
		return
	}
	if k.link == l {
		k.link = nil
	}
	k.turn <- struct{}{}
	m.table.retire(l)
}

func (m *Manager) keysOf(peer store.NodeID) *peerKeys {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.peers[peer]
	if k == nil {
		k = &peerKeys{turn: make(chan struct{}, 1)}
		k.turn <- struct{}{}
		m.peers[peer] = k
	}
	return k
}

// server answers other nodes.
type server struct {
	relaypb.UnimplementedRelayServer
	m *Manager
}

// Keys makes a link for a node that will pull from this one.
func (s *server) Keys(ctx context.Context, r *relaypb.KeysRequest) (*relaypb.KeysReply, error) {
	peer, ok := s.m.deps.PeerID(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "caller unknown")
	}
	if len(r.GetFeedbackKey()) != keyLen || r.GetMediaEpoch() == 0 {
		return nil, status.Error(codes.InvalidArgument, "not a key")
	}
	in, err := newAEAD(r.GetFeedbackKey())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "not a key")
	}
	key, out, err := newKey()
	if err != nil {
		return nil, status.Error(codes.Internal, "no key could be made")
	}
	l := &link{peer: peer, in: in, out: out, outEpoch: r.GetMediaEpoch()}
	if err := s.m.table.add(l); err != nil {
		return nil, status.Error(codes.Internal, "no key could be made")
	}
	if old := s.m.serve(peer, l); old != nil {
		s.m.table.retire(old)
	}
	return &relaypb.KeysReply{MediaKey: key, FeedbackEpoch: l.inEpoch}, nil
}

// serve makes l the link by which a node pulls from this one, and returns the
// one before.
func (m *Manager) serve(peer store.NodeID, l *link) (old *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old = m.served[peer]
	m.served[peer] = l
	return old
}

func (m *Manager) servedLink(peer store.NodeID, mediaEpoch uint32) (*link, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.served[peer]
	return l, l != nil && l.outEpoch == mediaEpoch
}
