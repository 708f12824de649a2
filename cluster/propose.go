package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// Propose commits a command and waits until it is applied on this node too. A
// refused command's Result.Err is also the error. ErrNoLeader says that nothing
// was done, ErrUnknownOutcome that nobody knows.
func (c *Cluster) Propose(ctx context.Context, cmd store.Command) (store.Result, error) {
	result, err := c.propose(ctx, cmd)
	c.metrics.proposed(err)
	return result, err
}

func (c *Cluster) propose(ctx context.Context, cmd store.Command) (store.Result, error) {
	data, err := cmd.Encode()
	if err != nil {
		return store.Result{}, err
	}
	request := &clusterpb.ProposeRequest{Command: data}
	reply, err := atLeader(ctx, c, once,
		func(context.Context) *clusterpb.ProposeReply { return c.servePropose(request) },
		func(ctx context.Context, l clusterpb.ClusterClient) (*clusterpb.ProposeReply, error) {
			return l.Propose(ctx, request)
		})
	if err != nil {
		return store.Result{}, err
	}
	result, err := decodeJSON[store.Result](reply.GetResult())
	if err != nil {
		return store.Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	if err := c.replica.wait(ctx, reply.GetIndex()); err != nil {
		return result, fmt.Errorf("%w: committed, but not applied here yet: %w", ErrUnknownOutcome, err)
	}
	return result, result.Err
}

// servePropose is the leader's side.
func (c *Cluster) servePropose(q *clusterpb.ProposeRequest) *clusterpb.ProposeReply {
	cmd, err := store.DecodeCommand(q.GetCommand())
	if err == nil {
		err = cmd.Validate()
	}
	if errors.Is(err, store.ErrUnknownCommand) { // of a node that is newer than this one
		return &clusterpb.ProposeReply{Status: clusterpb.Status_STATUS_UNSUPPORTED, Detail: err.Error()}
	}
	if err == nil && cmd.Op == store.OpRemoveNode { // it may cost the majority
		err = fmt.Errorf("%w: %s is for Remove", store.ErrInvalid, cmd.Op)
	}
	if err != nil {
		return &clusterpb.ProposeReply{Status: clusterpb.Status_STATUS_BAD_REQUEST, Detail: err.Error()}
	}
	result, index, err := c.apply(cmd, q.GetCommand())
	if err != nil {
		return &clusterpb.ProposeReply{Status: statusOf(err), LeaderId: string(c.leader()), Detail: err.Error()}
	}
	encoded, err := json.Marshal(result)
	if err != nil {
		return &clusterpb.ProposeReply{Status: clusterpb.Status_STATUS_UNKNOWN, Detail: err.Error()}
	}
	return &clusterpb.ProposeReply{Status: clusterpb.Status_STATUS_OK, LeaderId: string(c.Self()), Index: index, Result: encoded}
}

// errNotLeader says that this node did nothing.
var errNotLeader = errors.New("this node does not lead")

// apply commits a command as the leader. It is the only way into the log.
func (c *Cluster) apply(cmd store.Command, data []byte) (store.Result, uint64, error) {
	r := c.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return store.Result{}, 0, errNotLeader
	}
	if all := c.state.CommandVersionOfAll(); cmd.Version > all {
		return store.Result{}, 0, fmt.Errorf("%w: %s needs version %d, all nodes know %d", ErrUnsupported, cmd.Op, cmd.Version, all)
	}
	// Without a majority Raft steps down within raftLeaderLease and answers,
	// so the caller's context need not end this wait.
	term := r.CurrentTerm()
	f := r.Apply(data, raftApply)
	switch err := f.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return store.Result{}, 0, fmt.Errorf("%w: %w", errNotLeader, err)
	default:
		return store.Result{}, 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	// The next entry, if there is one already, tells of this one too. The term did
	// not change: it is the entry's.
	if r.LastIndex() == f.Index() && r.CurrentTerm() == term {
		c.herald.committed(f.Index(), term, c.servers())
	}
	response, ok := f.Response().(response)
	if !ok {
		return store.Result{}, 0, fmt.Errorf("%w: response of type %T", ErrUnknownOutcome, f.Response())
	}
	if response.err != nil {
		return store.Result{}, 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, response.err)
	}
	return response.result, f.Index(), nil
}

// commit commits a command of the leader's own. A refused command's Result.Err
// is the error too.
func (c *Cluster) commit(cmd store.Command) (store.Result, uint64, error) {
	data, err := cmd.Encode()
	if err != nil {
		return store.Result{}, 0, err
	}
	result, index, err := c.apply(cmd, data)
	if err == nil {
		err = result.Err
	}
	return result, index, err
}

// statusOf is how an error of apply travels.
func statusOf(err error) clusterpb.Status {
	switch {
	case errors.Is(err, errNotLeader):
		return clusterpb.Status_STATUS_NOT_LEADER
	case errors.Is(err, ErrUnsupported):
		return clusterpb.Status_STATUS_UNSUPPORTED
	case errors.Is(err, ErrFull):
		return clusterpb.Status_STATUS_FULL
	case errors.Is(err, ErrNoNode):
		return clusterpb.Status_STATUS_NO_NODE
	case errors.Is(err, store.ErrInvalid):
		return clusterpb.Status_STATUS_BAD_REQUEST
	}
	return clusterpb.Status_STATUS_UNKNOWN
}

// repeat says what to do when nobody knows whether the leader did something.
type repeat bool

const (
	once       repeat = false
	idempotent repeat = true
)

type leaderReply interface {
	GetStatus() clusterpb.Status
	GetDetail() string
}

// atLeader asks the leader, here or over one hop, and looks for it until the
// context ends.
func atLeader[R leaderReply](
	ctx context.Context, c *Cluster, again repeat,
	local func(context.Context) R, remote func(context.Context, clusterpb.ClusterClient) (R, error),
) (R, error) {
	var none R
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
	}
	doubt := false // an attempt may have done something
	for {
		reply, asked, err := askLeader(ctx, c, again, local, remote)
		switch {
		case status.Code(err) == codes.PermissionDenied:
			return none, ErrRemoved
		case err != nil && asked && !bool(again):
			return none, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		case err != nil:
			doubt = doubt || asked
		default:
			if done, err := outcome(reply); done && (!errors.Is(err, ErrUnknownOutcome) || !bool(again)) {
				return reply, err
			}
			doubt = doubt || reply.GetStatus() == clusterpb.Status_STATUS_UNKNOWN
		}
		if c.identity.p.Load() != nil && !doubt {
			if err := c.leaderless(time.Now()); err != nil {
				return none, err
			}
		}
		select {
		case <-ctx.Done():
			if doubt {
				return none, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
			}
			if c.identity.p.Load() == nil {
				return none, fmt.Errorf("%w: %w", ErrNotReady, ctx.Err())
			}
			return none, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		case <-c.stopped:
			return none, ErrClosed
		case <-time.After(proposeRetry):
		}
	}
}

// askLeader makes one attempt. asked tells whether the leader may have seen
// it.
func askLeader[R leaderReply](
	ctx context.Context, c *Cluster, again repeat,
	local func(context.Context) R, remote func(context.Context, clusterpb.ClusterClient) (R, error),
) (reply R, asked bool, err error) {
	leader := c.leader()
	switch leader {
	case "":
		return reply, false, ErrNoLeader
	case c.Self():
		return local(ctx), true, nil
	}
	leads, done := c.whileLeads(ctx, leader)
	defer done()
	node, err := c.reach(leads, leader)
	if err != nil {
		return reply, false, err
	}
	if again == idempotent {
		ctx = leads // the next leader is asked the same
	} else {
		var done func()
		ctx, done = c.untilReplaced(ctx, leader)
		defer done()
	}
	reply, err = remote(ctx, node)
	return reply, true, err
}

// reach connects to a node, which is to happen within forwardConnect, if it is
// not connected.
func (c *Cluster) reach(ctx context.Context, id store.NodeID) (clusterpb.ClusterClient, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardConnect)
	defer cancel()
	conn, err := c.mesh.Connected(ctx, id)
	if err != nil {
		return nil, err
	}
	return clusterpb.NewClusterClient(conn), nil
}

// whileLeads ends when this node does not see any more that a leader leads. done
// must be called.
func (c *Cluster) whileLeads(ctx context.Context, leader store.NodeID) (_ context.Context, done func()) {
	return c.untilLeader(ctx, 0, func(now store.NodeID) bool { return now != leader })
}

// untilReplaced ends when this node hears that another leads, and the one before
// has had the time to say what became of that which it was asked: one that hangs
// must not be waited for. done must be called.
func (c *Cluster) untilReplaced(ctx context.Context, leader store.NodeID) (_ context.Context, done func()) {
	return c.untilLeader(ctx, lastWord, func(now store.NodeID) bool { return now != leader && now != "" })
}

// untilLeader ends when what this node knows of the leader is over, and a while
// has gone by.
func (c *Cluster) untilLeader(ctx context.Context, while time.Duration, over func(now store.NodeID) bool) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	changes, unwatch := c.leaders.watch()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		for !over(c.leader()) {
			select {
			case <-ctx.Done():
				return
			case <-changes:
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(while):
		}
	})
	return ctx, func() {
		cancel()
		wg.Wait()
		unwatch()
	}
}

// outcome is what a reply says; not done means that the leader is elsewhere.
func outcome(reply leaderReply) (done bool, err error) {
	switch reply.GetStatus() {
	case clusterpb.Status_STATUS_OK:
		return true, nil
	case clusterpb.Status_STATUS_NOT_LEADER:
		return false, nil
	case clusterpb.Status_STATUS_NO_NODE:
		return true, ErrNoNode
	case clusterpb.Status_STATUS_BAD_REQUEST:
		return true, fmt.Errorf("%w: %s", store.ErrInvalid, reply.GetDetail())
	case clusterpb.Status_STATUS_UNSUPPORTED:
		return true, fmt.Errorf("%w: %s", ErrUnsupported, reply.GetDetail())
	case clusterpb.Status_STATUS_REMOVED:
		return true, ErrRemoved
	case clusterpb.Status_STATUS_REFUSED:
		return true, fmt.Errorf("%w: %s", ErrRemoveRefused, reply.GetDetail())
	case clusterpb.Status_STATUS_NO_SUCH_NODE:
		return true, fmt.Errorf("%w: %s", store.ErrNoSuchNode, reply.GetDetail())
	case clusterpb.Status_STATUS_ROLLED_BACK:
		return true, fmt.Errorf("%w: %s", ErrRolledBack, reply.GetDetail())
	case clusterpb.Status_STATUS_FULL:
		return true, fmt.Errorf("%w: %s", ErrFull, strings.TrimPrefix(reply.GetDetail(), ErrFull.Error()+": "))
	case clusterpb.Status_STATUS_UNFIT:
		return true, fmt.Errorf("%w: %s", ErrUnfit, reply.GetDetail())
	case clusterpb.Status_STATUS_NOT_FOUND:
		return true, fmt.Errorf("%w: %s", store.ErrNotFound, reply.GetDetail())
	case clusterpb.Status_STATUS_UNKNOWN, clusterpb.Status_STATUS_UNSPECIFIED:
	}
	return true, fmt.Errorf("%w: %s", ErrUnknownOutcome, reply.GetDetail())
}

func decodeJSON[T any](data []byte) (T, error) {
	var v T
	err := json.Unmarshal(data, &v)
	return v, err
}
