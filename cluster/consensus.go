package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// Raft names servers by node id and nothing else: where a node is, the mesh
// finds out at each connect. So a node may move without a change of Raft's
// configuration.

const (
	snapshotsKept   = 2
	raftConnections = 3 // kept per node
	// logsCached spares reading what was just written, for those it is sent to.
	logsCached    = 512
	leaderBacklog = 8
)

// startRaft starts Raft; first says that this node may be its only member. The
// returned function stops it and waits for its goroutines.
func (c *Cluster) startRaft(machine *fsm, first bool) (*raft.Raft, func(), error) {
	logger := raftLog{log: c.log, name: "raft"}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(c.config.DataDir, snapshotsKept, logger)
	if err != nil {
		return nil, nil, fmt.Errorf("snapshots: %w", err)
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(c.Self())
	config.HeartbeatTimeout, config.ElectionTimeout = raftHeartbeat, raftElection
	config.LeaderLeaseTimeout, config.CommitTimeout = raftLeaderLease, raftCommit
	config.ShutdownOnRemove = false // announce finds out, and says why the node stops
	config.NoLegacyTelemetry = true
	config.Logger = logger
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newStreamLayer(c.mesh, c.Self()),
		MaxPool: raftConnections, Timeout: raftIO, Logger: logger,
		// No pipelines. In raft 1.7.3 one that meets a refusal or an error while the
		// next message is being sent waits for ever: nothing gets to that server any
		// more, and Raft does not shut down. They gain nothing either, as entries
		// that wait go together in the next message.
		MaxRPCsInFlight: 1,
	})
	stopTransport := func() { _ = transport.Close() } // always nil
	// Raft ends a goroutine of its own when the log cannot be read, see logStore.
	logs, err := raft.NewLogCache(logsCached, c.db)
	if err != nil {
		stopTransport()
		return nil, nil, fmt.Errorf("raft: %w", err)
	}
	var r *raft.Raft
	err = ErrLogDamaged
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		if first {
			var used bool
			if used, err = raft.HasExistingState(c.db, c.db, snapshots); err == nil && !used {
				err = raft.BootstrapCluster(config, c.db, c.db, snapshots, transport, raft.Configuration{
					Servers: []raft.Server{{ID: config.LocalID, Address: transport.LocalAddr()}},
				})
			}
			if err != nil {
				return
			}
			err = ErrLogDamaged
		}
		started := guarded(func() (err error) {
			r, err = raft.NewRaft(config, machine, logs, c.db, snapshots, transport)
			return err
		})
		if err = started; errors.Is(err, errDamaged) {
			err = c.db.explain(err)
		}
	}()
	<-begun
	if broken := c.db.broken.Load(); broken != nil {
		err = *broken
	}
	if err != nil {
		stopTransport()
		return nil, nil, fmt.Errorf("raft: %w", err)
	}
	c.logStart = r.LastIndex()
	c.herald = newHerald(raft.Server{ID: config.LocalID, Address: transport.LocalAddr()}, transport)
	return r, func() {
		stopTransport() // first: whoever waits for an answer would do so for up to raftIO
		if err := r.Shutdown().Error(); err != nil {
			c.log.Warn("raft did not stop cleanly", "error", err)
		}
		c.herald.close()
	}, nil
}

// leader is the leader as it is known here, "" for none.
func (c *Cluster) leader() store.NodeID { return c.replica.leader() }

// watchLeader gives a tick whenever Raft says that the leader changed.
func watchLeader(r *raft.Raft) (<-chan raft.Observation, func()) {
	ch := make(chan raft.Observation, leaderBacklog)
	observer := raft.NewObserver(ch, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(observer)
	return ch, func() { r.DeregisterObserver(observer) }
}

// raftRole is a node's part in Raft's configuration.
func raftRole(servers []raft.Server, id store.NodeID) RaftRole {
	for _, s := range servers {
		if s.ID == raft.ServerID(id) {
			if s.Suffrage == raft.Voter {
				return RaftVoter
			}
			return RaftNonvoter
		}
	}
	return RaftNonvoter
}

// inRaft tells whether Raft's configuration has a node.
func inRaft(servers []raft.Server, id store.NodeID) bool {
	return slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == raft.ServerID(id) })
}

// servers is Raft's configuration, as far as it is known here.
func (c *Cluster) servers() []raft.Server { return c.replica.servers() }

// streamLayer is the mesh as Raft wants it.
type streamLayer struct {
	net.Listener
	mesh *rpc.Mesh
	self store.NodeID
	ctx  context.Context // ends with it
	stop context.CancelFunc
}

func newStreamLayer(mesh *rpc.Mesh, self store.NodeID) *streamLayer {
	ctx, stop := context.WithCancel(context.Background())
	return &streamLayer{Listener: mesh.RaftListener(), mesh: mesh, self: self, ctx: ctx, stop: stop}
}

// Dial connects to a node.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.mesh.DialRaft(ctx, store.NodeID(address))
	if err != nil {
		return nil, err
	}
	return dialled{conn, context.AfterFunc(s.ctx, func() { _ = conn.Close() })}, nil
}

// dialled is a connection that ends with its streamLayer.
type dialled struct {
	net.Conn
	forget func() bool
}

func (d dialled) Close() error {
	d.forget()
	return d.Conn.Close()
}

// Close ends the connections too, so that nobody waits for an answer any more.
func (s *streamLayer) Close() error {
	s.stop()
	return s.Listener.Close()
}

// Addr is what Raft tells others of this node.
func (s *streamLayer) Addr() net.Addr { return nodeAddr(s.self) }

type nodeAddr store.NodeID

func (nodeAddr) Network() string  { return "talkd" }
func (a nodeAddr) String() string { return string(a) }
