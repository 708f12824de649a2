package cluster

import (
	"time"

	"github.com/talkd/talkd/store"
)

// All timeouts of gossip, Raft and leases. They hang together:
//
//	suspicion < lease < placement anew
//
// A room has one home at most. A node acts as a home while it holds a lease,
// which it renews with the leader, and counts it from when it *sent* the
// renewal. The leader counts from when it last *received* one, so later, and
// waits longer than a lease before it places the rooms of a silent node anew:
// by then the node knows that its lease has run out, whatever the network
// did meanwhile.
//
// A new leader knows no renewals. It counts from its own election: the leader
// before it granted leases only while it knew a majority behind it, hence
// before that majority could elect another (leaseVerified < raftHeartbeat).
//
// Gossip decides nothing about safety. It finds the dead sooner than the lease
// does, so that nobody waits for a node that is only slow.
//
//	0 s    SIGKILL of a home
//	0.4-1.6 its turn to be probed comes, the probe fails: suspect
//	2.0-3.2 nobody has heard from it: dead
//	2.6-3.2 its lease has run out for certain as well: rooms are placed anew
//
//	0 s    SIGKILL or SIGSTOP of the leader
//	0.6    a follower has not heard of it and asks whether it would be elected: no,
//	       say those who have not missed it yet
//	0.7    the next one has not heard of it either, and is elected
//	0.7-1.0 new rooms are placed again; 0.6-1.2 s later if two stood within the
//	       moments that an election takes, which one in a hundred does
//	3.3-3.6 rooms of the dead one are placed anew: the new leader counts from its
//	       election, as it cannot know what was granted
//
//	0 s    SIGSTOP of a home, or its way to the leader is cut
//	2.0    its lease has run out: it takes nobody in
//	2.6    gossip has it dead too: its rooms are placed anew
//	4.0    gossip still sees it: its rooms are placed anew all the same
//
// A starved machine stops a process for hundreds of milliseconds and makes a
// fsync last as long. A follower that hears nothing for raftHeartbeat asks
// whether it would be elected (pre-vote); the others refuse while they hear the
// leader, so one starved follower deposes nobody. If a majority is starved an
// election is held: it costs new decisions a second, leases survive it, and
// running rooms notice nothing. Raft's own dice would let a follower look only
// 0.6 to 1.8 s after the last message: with the order of heedSilence raftHeartbeat
// can be that long, and an election still come so soon. An election itself costs
// eight fsyncs, for which the one who stood first and was refused leaves
// raftElection - raftStagger before it starts over: 60 ms for each.
const (
	// Gossip. A node is probed every gossipProbe by each of n-1 others in
	// turn; an answer takes milliseconds in a region, gossipProbeTimeout also
	// between continents.
	gossipProbe        = 400 * time.Millisecond
	gossipProbeTimeout = 250 * time.Millisecond
	// suspicion is gossipSuspicionMult × gossipProbe × max(1, log10 n), so
	// 1.6 s up to ten nodes: enough for a process that was stopped by garbage
	// collection or a busy machine to speak up.
	gossipSuspicionMult    = 4
	gossipSuspicionMaxMult = 3
	gossipInterval         = 100 * time.Millisecond
	gossipRetransmit       = 4 // × log10 n packets carry each of our messages
	gossipPushPull         = 10 * time.Second
	gossipStream           = 2 * time.Second
	gossipToTheDead        = 30 * time.Second
	gossipLeave            = 500 * time.Millisecond
	// gossipRejoin is how often nodes that are in the records but not in
	// sight are called: after a partition nobody else would.
	gossipRejoin = 2 * time.Second
	// gossipReclaim is how long a node must have been dead before it may come
	// back under another address.
	gossipReclaim = time.Second
	lookupTimeout = 5 * time.Second // of a host name to listen on or advertise

	// loadInterval is how often a node measures its load, and how often it tells
	// it while the cluster has newsPerInterval nodes at most; with more of them
	// each tells in proportion less often (docs/scale.md), and the leader hears
	// with each renewal of a lease. A node that told nothing for loadStale, or
	// four times what is usual, is shown as suspect.
	loadInterval    = time.Second
	newsPerInterval = 50
	loadStale       = 4 * loadInterval
	// viewFresh is how old the leader's view of loads may be when it decides.
	viewFresh = 100 * time.Millisecond
	// loadSettle is how long a new room takes until its load is measured.
	loadSettle = 10 * time.Second

	// Raft. A follower misses the leader after raftHeartbeat, each of the others
	// raftStagger later (heedSilence); a candidate starts over after 1-2
	// raftElection; a leader without a majority steps down after raftLeaderLease,
	// before another can be elected.
	raftHeartbeat   = 600 * time.Millisecond
	raftStagger     = 100 * time.Millisecond
	raftElection    = 600 * time.Millisecond
	raftLeaderLease = 500 * time.Millisecond
	// raftCommit, 1-2 of it, is when Raft tells followers that the last entry is
	// committed if none follows it. herald has told them before, at once; this is
	// for what that did not reach. It costs a message to each server as often:
	// three idle nodes take 4 % of one processor with 50 ms, 5 % with 10 ms and
	// 9 % with 2 ms.
	raftCommit   = 20 * time.Millisecond
	heraldAgain  = 2 * time.Millisecond // when a server has not got the entry yet
	raftIO       = 2 * time.Second      // of one message between two nodes
	raftApply    = 5 * time.Second      // until a command is taken into the log
	raftTransfer = 2 * time.Second      // of leadership, at a stop

	// Leases.
	leaseRenew = 400 * time.Millisecond
	lease      = 2 * time.Second
	leaseRPC   = 800 * time.Millisecond // until a renewal is given up
	// leaseVerified is how recently a leader must have heard a majority to
	// grant leases.
	leaseVerified = 400 * time.Millisecond
	// placementAnew is how long a node must have been silent before its rooms
	// go elsewhere. The 600 ms over the lease are for clocks that run at
	// different speeds and for processes that are descheduled between looking
	// at the lease and acting on it.
	placementAnew = lease + 600*time.Millisecond
	// placementAnewAlive is for a node that gossip sees but that renews no
	// lease: it cannot reach the leader, or its goroutines hang, and it has taken
	// nobody in for two seconds. Ten renewals in a row have failed by then: what is
	// only slow or lossy gets one through.
	placementAnewAlive = 2 * lease
	reconcileInterval  = 250 * time.Millisecond

	// Homes of rooms that were moved (acts.go). A new one waits until the one
	// before says that it has stopped, placementAnew at most, and moveMark longer:
	// so finely it knows when it has applied what.
	moveMark = 100 * time.Millisecond
	// moveOldRoom is how old a room must be to count as older than all that by
	// the time that its leader wrote down: clocks of nodes may be so far apart.
	moveOldRoom = certificateLeeway

	// Servers, as autopilot sees them; see chooseVoters. voterInterval is how
	// often it takes a step.
	voterInterval = 500 * time.Millisecond
	// serverFailed is when a silent voter is replaced by a spare. A restart of
	// the process takes less; a machine that boots is worth replacing.
	serverFailed = 5 * time.Second
	// serverStable is how long a server must have been healthy before it votes:
	// one that comes and goes would cost a majority each time. With fewer voters
	// than minVoters no failure is outlived anyway, and each second until there
	// are three is one too many.
	serverStable      = 10 * time.Second
	serverStableFirst = 500 * time.Millisecond
	// serverTrailing is how many entries a healthy server may be behind when it
	// renews its lease: some seconds of a busy cluster.
	serverTrailing = 2000

	// Joining and announcing.
	joinDial        = 5 * time.Second
	joinExchange    = 10 * time.Second
	joinRequestWait = 2 * time.Second // for what a joining node says first
	joinRetry       = time.Second
	// joinGhost is when a node that was let in and has not come is given up: its
	// id goes to whoever comes with another token.
	joinGhost         = time.Minute
	joinTokenCatchUp  = time.Second           // a follower may learn of a token a moment later
	joinTokenPoll     = 50 * time.Millisecond // meanwhile
	announceInterval  = 500 * time.Millisecond
	announceTimeout   = 3 * time.Second
	defaultTokenTTL   = time.Hour
	maxTokenTTL       = 7 * 24 * time.Hour
	certificateTTL    = store.MaxCertificateLife
	certificateRenew  = 10 * 24 * time.Hour // before it expires
	certificateCheck  = time.Hour
	strangersTold     = time.Minute            // between warnings of nodes that this one cannot know
	keysRetry         = time.Second            // when keys could not be had
	rotatePoll        = 100 * time.Millisecond // of the leader, by whoever waits for a rotation
	certificateLeeway = time.Hour              // for clocks that differ
	// clockTolerance is what a node's clock may be off when it starts: half of
	// what certificates bear, for clocks that go on drifting. clockWarn is what an
	// operator should hear of: logins and tokens live by the clocks of all nodes.
	clockTolerance = certificateLeeway / 2
	clockWarn      = 5 * time.Second
	clockTimeout   = 2 * time.Second // to read the clock of a node
	clockAsks      = 5               // nodes that are asked
	diagnoseEvery  = 5 * time.Second // while a starting node gets nowhere
	caTTL          = 10 * 365 * 24 * time.Hour

	// Proposals. leaderPatience is how long a node without a leader believes that
	// one is being elected: twice raftHeartbeat, and an election that failed.
	leaderPatience = 3 * time.Second
	proposeTimeout = 10 * time.Second       // when the caller's context has no deadline
	proposeRetry   = 100 * time.Millisecond // between attempts to find the leader
	// lastWord is how long a leader that another one has replaced may take to tell
	// whether it did what it was asked once: one that lives knows at once.
	lastWord       = 250 * time.Millisecond
	forwardConnect = time.Second // to the leader

	// Nodes that are no servers. A server that is out of touch with the leader
	// for longer than an election takes, or that says nothing for four beats, is
	// left for another one.
	watchBeat     = 500 * time.Millisecond
	watchSilence  = 4 * watchBeat
	watchTouch    = 3 * time.Second
	watchCatchUp  = time.Second // for a server to reach the index that a node has
	watchRetry    = 50 * time.Millisecond
	watchRetryMax = time.Second

	lockTimeout = time.Second // for another process to let go of the data directory
)
