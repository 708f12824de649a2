package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// mirror is the replica of a node that is no server: it follows one that is.
//
//	server: feed ── Watch: view, changes, consensus ──► mirror ─► store.View
//	                 (one stream, bounded by gRPC)               events, Lookup
//
// It applies the servers' own commands, so the view is theirs at some index,
// and never an earlier one than before: a server that is behind it is not
// followed. When the server dies or falls silent, the next one goes on from
// where that ended.
//
// The view has the homes of all rooms, as a server's has, and not only of those
// that somebody asked for: so looking one up never waits and never fails, also
// while no server can be reached and calls have to go on. 300,000 rooms take
// 7.5 MB to send, and about as much memory as on a server.
type mirror struct {
	c *Cluster
	progress
	told   atomic.Pointer[clusterpb.Consensus] // nil: no server tells
	server atomic.Pointer[store.NodeID]        // that is followed; nil for none
}

func newMirror(c *Cluster) *mirror { return &mirror{c: c, progress: newProgress()} }

// start refuses Raft.
func (m *mirror) start(bool) (func(), error) {
	return func() {}, m.c.mesh.RaftListener().Close()
}

func (m *mirror) handOver() {} // nobody waits for this node

func (m *mirror) leader() store.NodeID { return store.NodeID(m.told.Load().GetLeaderId()) }

func (m *mirror) follows() store.NodeID {
	if id := m.server.Load(); id != nil {
		return *id
	}
	return ""
}

func (m *mirror) term() uint64   { return m.told.Load().GetTerm() }
func (m *mirror) commit() uint64 { return m.told.Load().GetCommit() }

func (m *mirror) servers() []raft.Server {
	told := m.told.Load()
	var servers []raft.Server
	for _, id := range told.GetVoters() {
		servers = append(servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id)})
	}
	for _, id := range told.GetNonvoters() {
		servers = append(servers, raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(id)})
	}
	return servers
}

// work follows one server after the other.
func (m *mirror) work(ctx context.Context) error {
	pause := watchRetry
	var last store.NodeID
	for ctx.Err() == nil {
		heard := false
		for _, id := range m.candidates(last) {
			var err error
			if heard, err = m.followServer(ctx, id); errors.Is(err, errLost) {
				return m.end(err)
			}
			if ctx.Err() != nil {
				return nil
			}
			if code := status.Code(err); code == codes.NotFound || code == codes.PermissionDenied {
				m.c.announceAgain() // the leader says whether this node was removed
			}
			m.c.log.Debug("a server is followed no more", keyPeer, id, "heard", heard, "error", err)
			if last = id; heard {
				break // all others may have been away when they were tried
			}
		}
		if heard {
			pause = watchRetry
		} else {
			m.tell(nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)): // not all followers of a dead server at once
		}
		if !heard {
			pause = min(2*pause, watchRetryMax)
		}
	}
	return nil
}

// candidates are the servers in no order, the one tried last at the end.
func (m *mirror) candidates(last store.NodeID) []store.NodeID {
	var ids []store.NodeID
	for _, p := range m.c.knownPeers() {
		if p.Server && p.ID != last {
			ids = append(ids, p.ID)
		}
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	if last != "" {
		ids = append(ids, last)
	}
	return ids
}

// errLost means that this node cannot apply what the servers did.
var errLost = errors.New("what the cluster has decided cannot be applied here")

// followServer follows one server until it ends or falls silent. heard says
// that it had something to tell.
func (m *mirror) followServer(ctx context.Context, id store.NodeID) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	node, err := m.c.reach(ctx, id)
	if err != nil {
		return false, err
	}
	silence := time.AfterFunc(watchSilence, cancel)
	defer silence.Stop()
	stream, err := node.Watch(ctx, &clusterpb.WatchRequest{Index: m.index()})
	if err != nil {
		return false, err
	}
	var view store.Importer
	for {
		reply, err := stream.Recv()
		if err != nil {
			return heard, err
		}
		silence.Reset(watchSilence)
		if reply.View != nil || reply.GetViewEnd() {
			if err := m.take(&view, reply); err != nil {
				return heard, err
			}
			continue
		}
		if err := m.apply(reply); err != nil {
			return heard, err
		}
		if !heard {
			m.c.log.Info("following a server", keyPeer, id, "index", reply.GetIndex())
			heard = true
			m.server.Store(&id)
			defer m.server.Store(nil)
		}
	}
}

// take collects the parts of a view.
func (m *mirror) take(view *store.Importer, reply *clusterpb.WatchReply) error {
	if !reply.GetViewEnd() {
		err := view.Add(reply.GetView())
		if errors.Is(err, store.ErrUnknownCommand) {
			err = fmt.Errorf("%w: %w", errLost, err)
		}
		return err
	}
	if err := m.c.state.Import(view); err != nil {
		return err
	}
	*view = store.Importer{}
	m.advance(m.c.state.Applied())
	m.c.decided(store.Event{Index: reply.GetIndex(), Kind: store.EventRestored})
	return nil
}

// apply makes the step that the server made before.
func (m *mirror) apply(reply *clusterpb.WatchReply) error {
	var events []store.Event
	for _, told := range reply.GetChanges() {
		if told.GetIndex() <= m.index() {
			continue
		}
		change := store.Change{Index: told.GetIndex(), Command: told.GetCommand()}
		if change.Command == nil {
			if err := json.Unmarshal(told.GetEvents(), &change.Events); err != nil {
				return fmt.Errorf("%w: events: %w", errLost, err)
			}
		}
		happened, err := m.c.state.Follow(change)
		if err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
		events = append(events, happened...)
	}
	m.c.state.Advance(reply.GetIndex())
	m.advance(reply.GetIndex())
	m.c.decided(events...)
	if told := reply.GetConsensus(); told != nil {
		m.tell(told)
	}
	return nil
}

// tell notes what a server knows of Raft; nil: none tells.
func (m *mirror) tell(told *clusterpb.Consensus) {
	before := m.told.Swap(told)
	if before.GetLeaderId() != told.GetLeaderId() {
		m.c.log.Info("leader changed", "leader", told.GetLeaderId())
		m.c.metrics.leaderChanges.Inc()
		m.c.leaders.tick()
		m.c.members.tick()
	} else if !slices.Equal(before.GetVoters(), told.GetVoters()) || !slices.Equal(before.GetNonvoters(), told.GetNonvoters()) {
		m.c.members.tick()
	}
}
