package clustertest

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// Node is one node of a kit.
type Node struct {
	ID  store.NodeID
	kit *Kit

	// Config is what the next start uses.
	Config cluster.Config
	// Load is what the node tells of itself; nil: nothing.
	Load func() cluster.Load
	// Opened is called between Open and Run; nil: nothing to change.
	Opened func(*cluster.Cluster)

	*cluster.Cluster              // of the last start
	State            *store.State // nil without the role server

	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run; read after done
}

// Server tells whether the node holds the replicated state.
func (n *Node) Server() bool { return (store.Node{Roles: n.Config.Roles}).Server() }

// Current is the cluster of the node's last start, nil when it does not run.
// Unlike the field it may be asked for while the node is started or stopped.
func (n *Node) Current() *cluster.Cluster {
	n.kit.mu.Lock()
	defer n.kit.mu.Unlock()
	if n.cancel == nil {
		return nil
	}
	return n.Cluster
}

// Start opens the node and runs it.
func (n *Node) Start() {
	n.kit.tb.Helper()
	if err := n.TryStart(); err != nil {
		n.kit.tb.Fatalf("%s: %v", n.ID, err)
	}
}

// TryStart is Start for a node that may refuse.
func (n *Node) TryStart() (err error) {
	n.await()
	n.kit.Net.setDown(n.ID, false)
	var state *store.State
	closeState := func() error { return nil }
	if n.Server() {
		if state, err = store.Open(filepath.Join(n.kit.dir, string(n.ID))); err != nil {
			return err
		}
		closeState = state.Close
	}
	c, err := cluster.Open(n.Config, cluster.Deps{
		State: state, Load: n.Load,
		Logger:  slog.New(slog.NewTextHandler(n.kit.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.ID),
		Network: n.kit.Net.Host(n.ID),
	})
	if err != nil {
		_ = closeState() // the first error says why
		return err
	}
	if n.Opened != nil {
		n.Opened(c)
	}
	// A restart finds the ports that the others know.
	n.Config.ClusterListen, n.Config.GossipListen = c.Addr()

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.kit.mu.Lock()
	n.Cluster, n.State, n.cancel, n.done, n.err = c, state, cancel, done, nil
	n.kit.mu.Unlock()
	go func() {
		defer close(done)
		defer cancel()
		err := c.Run(ctx)
		if closeErr := closeState(); err == nil {
			err = closeErr
		}
		n.err = err
	}()
	return nil
}

// AwaitReady waits until the node is part of the cluster.
func (n *Node) AwaitReady() {
	n.kit.tb.Helper()
	select {
	case <-n.Ready():
	case <-n.done:
		n.kit.tb.Fatalf("%s ended before it was ready: %v", n.ID, n.err)
	case <-time.After(Patience):
		n.kit.tb.Fatalf("%s was not ready within %s", n.ID, Patience)
	}
}

// Wait waits until the node ends by itself, and says why.
func (n *Node) Wait() error {
	n.kit.tb.Helper()
	select {
	case <-n.done:
		n.forget()
		return n.err
	case <-time.After(Patience):
		n.kit.tb.Fatalf("%s did not end within %s", n.ID, Patience)
		return nil
	}
}

// Stop stops the node as SIGTERM does.
func (n *Node) Stop() error {
	n.kit.tb.Helper()
	if cancel := n.forget(); cancel != nil {
		cancel()
	}
	return n.Wait()
}

// Kill makes the node vanish for the others as SIGKILL does. What is left of
// it in this process goes by itself.
func (n *Node) Kill() {
	n.kit.Net.setDown(n.ID, true)
	if cancel := n.forget(); cancel != nil {
		cancel()
	}
}

// forget takes the node out of the running ones.
func (n *Node) forget() context.CancelFunc {
	n.kit.mu.Lock()
	defer n.kit.mu.Unlock()
	cancel := n.cancel
	n.cancel = nil
	return cancel
}

func (n *Node) await() {
	if n.done != nil {
		<-n.done
	}
}
