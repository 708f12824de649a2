package cluster

import (
	"errors"
	"fmt"
)

// Errors of proposals and placement. Refusals of a command are errors of
// package store.
var (
	// ErrNotReady means that this node has not joined or not caught up yet.
	ErrNotReady = errors.New("node is not ready")
	// ErrNoLeader means that no leader was found in time. Nothing was done.
	ErrNoLeader = errors.New("cluster has no leader")
	// ErrNoQuorum is an ErrNoLeader that has lasted: too few voters are in reach
	// to elect one. What runs goes on; nothing can be decided. Nothing was done.
	ErrNoQuorum = fmt.Errorf("%w, and no majority of the voters to elect one", ErrNoLeader)
	// ErrUnknownOutcome means that the leader or the way to it was lost while
	// the command was under way: it may be committed or not.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrRemoveRefused means that removing a node would end the cluster.
	ErrRemoveRefused = errors.New("the node cannot be removed now")
	// ErrNoNode means that no node can be the home of a room.
	ErrNoNode = errors.New("no node can take the room")
	// ErrFull means that nodes could be the home, but none has room for more.
	ErrFull = errors.New("the cluster is full")
	// ErrUnfit means that a room cannot be moved to that node.
	ErrUnfit = errors.New("the node cannot take the room")
	// ErrUnsupported means that a server of the cluster is too old for the
	// command.
	ErrUnsupported = errors.New("not every node of the cluster supports this yet")
	// ErrRotating means that a key is still being replaced.
	ErrRotating = errors.New("not all nodes have changed over to the new key yet")
	// ErrClosed means that the cluster was stopped.
	ErrClosed = errors.New("cluster stopped")
)

// Errors of start and identity.
var (
	ErrConfig = errors.New("invalid cluster configuration")
	// ErrLocked means that another process runs on the data directory.
	ErrLocked = errors.New("data directory is in use by another process")
	// ErrClock means that this machine's clock is so far off that certificates
	// seem not good yet, or no more.
	ErrClock = errors.New("the clock of this machine is wrong, or that of the cluster is: set it right and start the node again")
	// ErrWrongCluster means that the nodes to join are of another cluster than
	// the data directory.
	ErrWrongCluster = errors.New("the data directory belongs to another cluster than the nodes that answer, or the cluster's authority was replaced twice while this node was away: correct cluster.join, or empty node.data and join with a new join token")
	// ErrDiskFull means that the Raft log could not be written. Nothing that was
	// confirmed is lost.
	ErrDiskFull = errors.New("the disk is full: free some space and start the node again")
	// ErrLogDamaged means that the Raft log could not be read.
	ErrLogDamaged = errors.New("the Raft log is damaged: remove the node (talkd cluster remove on another node), empty node.data and join again with a new join token")
	// ErrIdentity means that the data directory belongs to another node or is
	// incomplete.
	ErrIdentity = errors.New("data directory does not fit")
	// ErrRolledBack means that the data directory was put back to an earlier
	// state, maybe from a backup: what this node has confirmed would be lost.
	ErrRolledBack = errors.New("the data directory is older than what this node has confirmed to the cluster: remove the node (talkd cluster remove) and join again with an empty node.data and a new join token")
	// ErrRemoved means that this node was removed from the cluster.
	ErrRemoved = errors.New("this node was removed from the cluster, its data directory is of no use any more: start with an empty node.data and a new join token")
)

// Errors of joining.
var (
	ErrTokenNeeded  = errors.New("the first start of a joining node needs a join token: talkd join-token create on a running node makes one, give it by --join-token")
	ErrBadToken     = errors.New("not a join token")
	ErrPinMismatch  = errors.New("the node at that address does not belong to the cluster of the token, or the cluster's CA was replaced since the token was made; make a new one: talkd join-token create")
	ErrTokenUnknown = errors.New("join token unknown to the cluster, or it expired a while ago; make a new one")
	ErrTokenUsed    = errors.New("join token was used already; make a new one")
	ErrTokenExpired = errors.New("join token has expired; make a new one")
	ErrNodeExists   = errors.New("the cluster has a node of that id already; choose another id (node.id)")
	ErrNoServer     = errors.New("that node does not hold the replicated state; give --join the address of a node with the role server")
	ErrJoinBusy     = errors.New("too many join attempts; try again later")
	ErrJoinRefused  = errors.New("joining was refused")
)

// ErrNotSealed is all that is told about a text that does not open.
var ErrNotSealed = errors.New("not sealed by this cluster")
