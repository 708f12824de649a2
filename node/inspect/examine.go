package inspect

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/talkd/talkd/store"
)

// examineTimeout bounds what a node may take to ask its Nextclouds, which may hang. It
// is within what the admin API takes for an answer.
const examineTimeout = 8 * time.Second

// maxReply bounds what a node may find.
const maxReply = 1 << 20

// Examine implements InspectServer.
func (i *Inspector) Examine(ctx context.Context, _ *ExamineRequest) (*ExamineReply, error) {
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	return i.local.Examine(ctx), nil
}

// ExamineAll lets all nodes look at the same time, this one too. One that does not
// answer, or is older, is there without an answer.
func (i *Inspector) ExamineAll(ctx context.Context) map[store.NodeID]*ExamineReply {
	peers := i.peers()
	own := make(chan *ExamineReply, 1)
	go func() { // ends by examineTimeout, which is waited for
		r, _ := i.Examine(ctx, &ExamineRequest{}) // there is no error
		own <- r
	}()
	replies := askWithin(ctx, examineTimeout+time.Second, i, peers, func(ctx context.Context, c InspectClient) (*ExamineReply, error) {
		return c.Examine(ctx, &ExamineRequest{}, grpc.MaxCallRecvMsgSize(maxReply))
	})
	all := map[store.NodeID]*ExamineReply{i.self: <-own}
	for k, id := range peers {
		all[id] = replies[k]
	}
	return all
}
