package cluster

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// server answers other nodes. What a certificate is good for is decided by the
// records: a removed node still has one.
type server struct {
	clusterpb.UnimplementedClusterServer
	c *Cluster
}

// member is the calling node, if it has a record. A node that has not caught
// up does not know, but does not lead either.
func (s *server) member(ctx context.Context) (store.NodeID, error) {
	id, ok := rpc.PeerID(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "no node")
	}
	if _, ok := s.c.state.Node(id); !ok && s.c.leading.acts() {
		return "", status.Error(codes.PermissionDenied, ErrRemoved.Error())
	}
	return id, nil
}

// Propose commits one command.
func (s *server) Propose(ctx context.Context, q *clusterpb.ProposeRequest) (*clusterpb.ProposeReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.c.servePropose(q), nil
}

// Place gives the home of a room.
func (s *server) Place(ctx context.Context, q *clusterpb.PlaceRequest) (*clusterpb.PlaceReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.c.servePlace(ctx, q), nil
}

// Home tells the home of a room.
func (s *server) Home(ctx context.Context, q *clusterpb.PlaceRequest) (*clusterpb.PlaceReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.c.serveHome(q), nil
}

// Move changes the home of a room.
func (s *server) Move(ctx context.Context, q *clusterpb.MoveRequest) (*clusterpb.PlaceReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.c.serveMove(ctx, q), nil
}

// Applied waits until this node has applied an entry.
func (s *server) Applied(ctx context.Context, q *clusterpb.AppliedRequest) (*clusterpb.AppliedReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, placementAnew) // after it nobody waits
	defer cancel()
	if err := s.c.replica.wait(ctx, q.GetIndex()); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return &clusterpb.AppliedReply{}, nil
}

// Announce writes the caller's record.
func (s *server) Announce(ctx context.Context, q *clusterpb.AnnounceRequest) (*clusterpb.AnnounceReply, error) {
	id, ok := rpc.PeerID(ctx)
	key, known := rpc.PeerKey(ctx)
	if !ok || !known {
		return nil, status.Error(codes.Unauthenticated, "no node")
	}
	return s.c.serveAnnounce(id, key, q), nil
}

// Remove takes a node out of the cluster.
func (s *server) Remove(ctx context.Context, q *clusterpb.RemoveRequest) (*clusterpb.RemoveReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.c.serveRemove(q), nil
}

// Renew extends the caller's lease.
func (s *server) Renew(ctx context.Context, q *clusterpb.RenewRequest) (*clusterpb.RenewReply, error) {
	id, ok := rpc.PeerID(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no node")
	}
	return s.c.serveRenew(ctx, id, q), nil
}
