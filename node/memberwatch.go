package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// Kinds of events about nodes that others than people look at.
const (
	kindDead    = "node_dead"
	kindRemoved = "node_removed"
)

// memberWatch finds out what an operator wants to know of the nodes, by
// comparing how they are now with how they were. Its goroutine is that of
// events.Run.
type memberWatch struct {
	source   eventSource
	nodes    map[store.NodeID]memberFacts
	leader   store.NodeID
	quorum   bool
	failover map[store.NodeID]time.Time // dead homes, and since when
}

type memberFacts struct {
	state   cluster.MemberState
	raft    cluster.RaftRole
	version string
	rooms   int

	overload *api.Overload // nil: none
}

func newMemberWatch(source eventSource) *memberWatch {
	w := &memberWatch{source: source, failover: map[store.NodeID]time.Time{}}
	w.nodes, w.leader = w.facts()
	w.quorum = source.Status().Quorum
	return w
}

func (w *memberWatch) facts() (map[store.NodeID]memberFacts, store.NodeID) {
	facts, leader := map[store.NodeID]memberFacts{}, store.NodeID("")
	for _, m := range w.source.Members() {
		if m.Pending {
			continue // it may never come
		}
		facts[m.ID] = memberFacts{m.State, m.Raft, m.Version, m.Rooms, overloadView(m)}
		if m.Leader {
			leader = m.ID
		}
	}
	return facts, leader
}

func (w *memberWatch) welcome(self store.NodeID) string {
	return fmt.Sprintf("%s is part of the cluster, version %s", self, w.nodes[self].version)
}

// look tells what has changed since the last time.
func (w *memberWatch) look(now time.Time) []api.AdminEvent {
	nodes, leader := w.facts()
	var out []api.AdminEvent
	tell := func(kind string, node store.NodeID, format string, args ...any) {
		out = append(out, api.AdminEvent{Kind: kind, Node: string(node), Detail: fmt.Sprintf(format, args...)})
	}
	for id, m := range nodes {
		old, known := w.nodes[id]
		if !known {
			tell("node_joined", id, "%s has joined, version %s", id, m.version)
		}
		if known && old.version != m.version {
			tell("version_changed", id, "%s runs %s now, %s before", id, m.version, old.version)
		}
		// A node has a record before it is seen for the first time.
		if old.state != m.state && (known || m.state != cluster.StateDead) {
			tell("node_"+string(m.state), id, "%s", stateText(id, m))
		}
		switch {
		case m.overload != nil && old.overload == nil:
			tell("node_overloaded", id, "%s is overloaded, %s: %s", id, m.overload.Cause(), m.overload)
		case m.overload == nil && old.overload != nil && m.state != cluster.StateDead:
			tell("node_relieved", id, "%s is overloaded no more: all video is forwarded", id)
		}
		switch {
		case !known || old.raft == m.raft:
		case m.raft == cluster.RaftVoter:
			tell("voter_promoted", id, "%s is a voter now", id)
		case old.raft == cluster.RaftVoter:
			tell("voter_demoted", id, "%s is no voter any more", id)
		}
		out = append(out, w.failovers(id, m, now)...)
	}
	for id := range w.nodes {
		if _, ok := nodes[id]; !ok {
			delete(w.failover, id)
			tell(kindRemoved, id, "%s was removed from the cluster", id)
		}
	}
	if leader != w.leader {
		if leader == "" {
			tell("leader_lost", w.leader, "%s leads no more; there is no leader at the moment", w.leader)
		} else {
			tell("leader_elected", leader, "%s leads now", leader)
		}
	}
	if quorum := w.source.Status().Quorum; quorum != w.quorum {
		w.quorum = quorum
		if quorum {
			tell("quorum_regained", "", "there is a quorum again: rooms are placed")
		} else {
			tell("quorum_lost", "", "this node is in contact with no quorum: calls go on, rooms are not placed")
		}
	}
	w.nodes, w.leader = nodes, leader
	slices.SortStableFunc(out, func(a, b api.AdminEvent) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// failovers tell how the rooms of a dead home get another one.
func (w *memberWatch) failovers(id store.NodeID, m memberFacts, now time.Time) []api.AdminEvent {
	since, begun := w.failover[id]
	switch {
	case m.state != cluster.StateDead:
		delete(w.failover, id)
	case !begun && m.rooms > 0:
		w.failover[id] = now
		return []api.AdminEvent{{
			Kind: "failover_started", Node: string(id), Left: &api.Left{Rooms: m.rooms},
			Detail: fmt.Sprintf("%s was the home of %s: to be placed anew", id, api.Count(m.rooms, "room")),
		}}
	case begun && m.rooms == 0:
		delete(w.failover, id)
		return []api.AdminEvent{{
			Kind: "failover_done", Node: string(id), Left: &api.Left{},
			Detail: fmt.Sprintf("all rooms of %s have another home, after %v", id, now.Sub(since).Round(100*time.Millisecond)),
		}}
	}
	return nil
}

func stateText(id store.NodeID, m memberFacts) string {
	switch m.state {
	case cluster.StateDead:
		return string(id) + " is dead, or unreachable"
	case cluster.StateSuspect:
		return string(id) + " is suspect: nothing was heard of it for some seconds"
	case cluster.StateDraining:
		return string(id) + " is draining"
	}
	return string(id) + " is alive"
}
