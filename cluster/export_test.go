package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// Bounds that tests hold the cluster to.
const (
	PlacementAnew = placementAnew
	LeaseRenew    = leaseRenew
	ServerFailed  = serverFailed
	JoinGhost     = joinGhost
)

// ApplyRaw puts anything into the log, as a newer binary could.
func (c *Cluster) ApplyRaw(data []byte) error {
	return c.raft.Load().Apply(data, time.Second).Error()
}

// TakeSnapshot makes Raft write a snapshot, which usually takes thousands of
// commands.
func (c *Cluster) TakeSnapshot() error { return c.raft.Load().Snapshot().Error() }

// RenewCertificate does what is due at a time, and tells until when the
// certificate is good.
func (c *Cluster) RenewCertificate(now time.Time) (until time.Time, err error) {
	err = c.syncKeys(context.Background(), now)
	return c.identity.p.Load().cert.Load().Leaf.NotAfter, err
}

// FeedBytes is what a server keeps for nodes that follow it.
const FeedBytes = feedBytes

// Heard is where a node's log ends, as it told this leader last.
func (c *Cluster) Heard(id store.NodeID) uint64 {
	r, _ := c.hearing.report(id)
	return r.index
}

// TransferLeadership makes another node lead, as a stop does.
func (c *Cluster) TransferLeadership(to store.NodeID) error {
	c.leading.pause(true) // no lease is granted after another node may lead
	defer c.leading.pause(false)
	return c.raft.Load().LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)).Error()
}

// BreakLease makes a node believe that its leases last as long as this.
func (c *Cluster) BreakLease(d time.Duration) { c.leaseTime = d }

// Lease tells whether this node holds one; Status does too, and much else.
func (c *Cluster) Lease() bool { return c.holdsLease() }

// Keys are the keys of one kind, as this node knows them.
func (c *Cluster) Keys(kind store.KeyKind) store.KeyRing { return c.state.Keys(kind) }

// SetClock puts the wall clock of the node wrong. It is for Node.Opened.
func (c *Cluster) SetClock(off time.Duration) {
	c.now = func() time.Time { return time.Now().Add(off) }
}

// GuessedToken is a join token for this cluster that it never made.
func (c *Cluster) GuessedToken() string {
	return newToken(pinOf(c.identity.p.Load().trust.Load().ca())).text()
}
