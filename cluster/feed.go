package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// Limits of what a server keeps and sends for the nodes that follow it.
const (
	feedChanges = 8192
	feedBytes   = 4 << 20
	// One message of changes.
	sendChanges = 512
	sendBytes   = 512 << 10
)

// feed keeps the last changes of a server for the nodes that follow it. Nobody
// who reads it is waited for: who has fallen too far behind is sent the whole
// view.
type feed struct {
	mu      sync.Mutex // guards what follows
	changes []store.Change
	bytes   int
	before  uint64        // changes up to here are not kept
	last    uint64        // nothing up to here is missing
	changed chan struct{} // closed when last rises
}

func newFeed() *feed { return &feed{changed: make(chan struct{})} }

// add takes what was applied.
func (f *feed) add(applied []store.Applied) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range applied {
		f.last = a.Index
		if a.Change.Command != nil || len(a.Change.Events) > 0 {
			f.changes = append(f.changes, a.Change)
			f.bytes += sizeOf(a.Change)
		}
	}
	if len(f.changes) > feedChanges || f.bytes > feedBytes {
		f.trim()
	}
	f.wake()
}

// trim forgets the older half.
func (f *feed) trim() {
	n := 0
	for n < len(f.changes) && (len(f.changes)-n > feedChanges/2 || f.bytes > feedBytes/2) {
		f.bytes -= sizeOf(f.changes[n])
		f.before = f.changes[n].Index
		n++
	}
	f.changes = slices.Clone(f.changes[n:])
}

// reset is for a state that came as a whole.
func (f *feed) reset(index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes, f.bytes, f.before, f.last = nil, 0, index, index
	f.wake()
}

func (f *feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// since gives what follows an index, and up to where nothing is missing then;
// ok is false when that is not kept. later is closed when there is more.
func (f *feed) since(index uint64) (changes []store.Change, upTo uint64, ok bool, later <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if index < f.before {
		return nil, 0, false, f.changed
	}
	from, found := slices.BinarySearchFunc(f.changes, index, func(c store.Change, i uint64) int {
		if c.Index <= i {
			return -1
		}
		return 1
	})
	_ = found // indexes are compared such that none is
	to, size := from, 0
	for to < len(f.changes) && to-from < sendChanges && (size == 0 || size+sizeOf(f.changes[to]) <= sendBytes) {
		size += sizeOf(f.changes[to])
		to++
	}
	upTo = f.last
	if to < len(f.changes) {
		upTo = f.changes[to-1].Index
	}
	return slices.Clone(f.changes[from:to]), upTo, true, f.changed
}

// sizeOf is about what a change weighs in memory and on the wire.
func sizeOf(c store.Change) int { return 64 + len(c.Command) + 256*len(c.Events) }

// followers are the calls of Watch on this server, one for each node: a node
// that calls again has given up the call before.
type followers struct {
	mu   sync.Mutex // guards ends
	ends map[store.NodeID]*func()
}

func newFollowers() *followers { return &followers{ends: make(map[store.NodeID]*func())} }

// begin ends the node's call before. done must be called.
func (f *followers) begin(node store.NodeID, end func()) (done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if before := f.ends[node]; before != nil {
		(*before)()
	}
	f.ends[node] = &end
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.ends[node] == &end {
			delete(f.ends, node)
		}
	}
}

func (f *followers) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ends)
}

// Watch tells the caller what is decided.
func (s *server) Watch(q *clusterpb.WatchRequest, stream clusterpb.Cluster_WatchServer) error {
	id, ok := rpc.PeerID(stream.Context())
	if !ok {
		return status.Error(codes.Unauthenticated, "no node")
	}
	if s.c.feed == nil {
		return status.Error(codes.FailedPrecondition, ErrNoServer.Error())
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer s.c.followers.begin(id, cancel)()
	return s.c.serveWatch(ctx, id, q.GetIndex(), stream.Send)
}

// serveWatch sends until the caller, this node or its contact with the leader
// ends. The caller looks for another server then.
func (c *Cluster) serveWatch(ctx context.Context, node store.NodeID, index uint64, send func(*clusterpb.WatchReply) error) error {
	waiting, cancel := context.WithTimeout(ctx, watchCatchUp)
	err := c.replica.wait(waiting, index)
	cancel()
	if err != nil {
		return status.Error(codes.Unavailable, "this server is behind")
	}
	leaders, cancelLeaders := c.leaders.watch()
	defer cancelLeaders()
	beat := time.NewTicker(watchBeat)
	defer beat.Stop()
	for tell := true; ; {
		// Secrets are for members. One that has just joined may be unknown here yet.
		if _, ok := c.state.Node(node); !ok {
			return status.Error(codes.NotFound, "no such node is known here")
		}
		if !c.inTouch() {
			return status.Error(codes.Unavailable, "this server has no contact with the leader")
		}
		changes, upTo, ok, later := c.feed.since(index)
		if !ok {
			if index, err = c.sendView(send); err != nil {
				return err
			}
			continue
		}
		if tell || upTo > index {
			reply := &clusterpb.WatchReply{Index: upTo}
			if tell {
				reply.Consensus = c.consensus()
			}
			if reply.Changes, err = changesTold(changes); err != nil {
				return err
			}
			if err := send(reply); err != nil {
				return err
			}
			tell, index = false, upTo
			if len(changes) > 0 {
				continue // there may be more
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.leaving:
			return status.Error(codes.Unavailable, "this server stops")
		case <-later:
		case <-leaders:
			tell = true
		case <-beat.C:
			tell = true
		}
	}
}

// sendView sends all that is known here, and tells up to which index.
func (c *Cluster) sendView(send func(*clusterpb.WatchReply) error) (index uint64, err error) {
	index, err = c.state.Export(func(part []byte) error { return send(&clusterpb.WatchReply{View: part}) })
	if err != nil {
		return 0, err
	}
	return index, send(&clusterpb.WatchReply{ViewEnd: true, Index: index})
}

func changesTold(changes []store.Change) ([]*clusterpb.Change, error) {
	told := make([]*clusterpb.Change, len(changes))
	for i, c := range changes {
		told[i] = &clusterpb.Change{Index: c.Index, Command: c.Command}
		if c.Command == nil {
			var err error
			if told[i].Events, err = json.Marshal(c.Events); err != nil {
				return nil, err
			}
		}
	}
	return told, nil
}

// inTouch tells whether this server hears of what is decided.
func (c *Cluster) inTouch() bool {
	r := c.raft.Load()
	return r != nil && (r.State() == raft.Leader || c.leader() != "" && time.Since(r.LastContact()) < watchTouch)
}

// consensus is what this server tells of Raft.
func (c *Cluster) consensus() *clusterpb.Consensus {
	told := &clusterpb.Consensus{LeaderId: string(c.leader()), Term: c.replica.term(), Commit: c.replica.commit()}
	for _, s := range c.servers() {
		if s.Suffrage == raft.Voter {
			told.Voters = append(told.Voters, string(s.ID))
		} else {
			told.Nonvoters = append(told.Nonvoters, string(s.ID))
		}
	}
	return told
}
