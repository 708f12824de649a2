package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

// fakeCluster is an eventSource that a test drives.
type fakeCluster struct {
	ready   chan struct{}
	changes chan store.Event
	ticks   chan struct{}
	members []cluster.Member
	status  cluster.Status
}

func (f *fakeCluster) Ready() <-chan struct{}                  { return f.ready }
func (f *fakeCluster) Watch() (<-chan store.Event, func())     { return f.changes, func() {} }
func (f *fakeCluster) WatchMembers() (<-chan struct{}, func()) { return f.ticks, func() {} }
func (f *fakeCluster) Members() []cluster.Member               { return f.members }
func (f *fakeCluster) Status() cluster.Status                  { return f.status }

func member(id store.NodeID, state cluster.MemberState, leader bool) cluster.Member {
	return cluster.Member{Node: store.Node{ID: id, Version: "1.0"}, State: state, Leader: leader, Raft: cluster.RaftVoter}
}

func TestEventsForOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{
			ready: make(chan struct{}), changes: make(chan store.Event), ticks: make(chan struct{}), status: cluster.Status{Quorum: true},
			members: []cluster.Member{member("n1", cluster.StateAlive, true), member("n2", cluster.StateAlive, false), member("n3", cluster.StateAlive, false)},
		}
		e := newEvents("n2", f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		room := store.RoomID{Name: "abc"}
		f.changes <- store.Event{Kind: store.EventHomeAssigned, Room: room, Home: store.Home{Node: "n9", Epoch: 1}} // old news
		close(f.ready)
		synctest.Wait()
		history, got, unsubscribe := e.Subscribe()
		defer unsubscribe()
		if len(history) != 1 || history[0].Kind != "node_ready" {
			t.Errorf("history: %+v", history)
		}
		tick := func(members ...cluster.Member) {
			f.members = members
			f.ticks <- struct{}{}
			time.Sleep(memberLook) // of the bubble
			synctest.Wait()
		}

		f.changes <- store.Event{Kind: store.EventHomeAssigned, Room: room, Home: store.Home{Node: "n1", Epoch: 4, Reason: store.ReasonNew}}
		f.changes <- store.Event{Kind: store.EventUserPut, User: "somebody"} // nobody's business here
		e.told(&inspect.OpEvent{Op: "n1-abc", Kind: "drain", Phase: "accepted", Node: "n3", At: time.Now().UnixNano()})
		dead := member("n1", cluster.StateDead, false)
		dead.Rooms = 1
		f.status.Quorum = false
		tick(dead, member("n2", cluster.StateAlive, true), member("n3", cluster.StateAlive, false))
		f.changes <- store.Event{
			Kind: store.EventHomeAssigned, Room: room,
			Home: store.Home{Node: "n2", Epoch: 5, Reason: store.ReasonAnew}, Previous: store.Home{Node: "n1", Epoch: 4},
		}
		dead.Rooms, dead.Raft = 0, cluster.RaftNonvoter
		upgraded := member("n2", cluster.StateAlive, true)
		upgraded.Version = "1.1"
		upgraded.Load.Overload = cluster.Overload{Reason: cluster.OverloadEgress, Since: 1, Streams: 9, Paused: 1}
		f.status.Quorum = true
		tick(dead, upgraded, member("n4", cluster.StateAlive, false))
		upgraded.Load.Overload = cluster.Overload{}
		tick(dead, upgraded, member("n4", cluster.StateAlive, false))
		f.changes <- store.Event{Kind: store.EventDrainChanged, Node: "n4", Drain: store.Drain{On: true}}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		e.close()
		var list []api.AdminEvent
		for ev := range got {
			if ev.At.IsZero() || ev.ID == "" {
				t.Errorf("%+v without a time or an id", ev)
			}
			list = append(list, ev)
		}
		want := []api.AdminEvent{
			{Kind: "home_assigned", Room: "abc", Home: "n1", Epoch: 4, Reason: "new", Detail: "room abc placed on n1"},
			{Kind: "drain", Op: "n1-abc", Phase: api.PhaseAccepted, Node: "n3"},
			{Kind: "quorum_lost", Detail: "this node is in contact with no quorum: calls go on, rooms are not placed"},
			{Kind: "node_dead", Node: "n1", Detail: "n1 is dead, or unreachable"},
			{Kind: "drain", Op: "n1-abc", Phase: api.PhaseFailed, Node: "n3", Detail: "n1, which followed this, has died. What it had ordered may go on: talkd cluster status"},
			{Kind: "failover_started", Node: "n1", Left: &api.Left{Rooms: 1}, Detail: "n1 was the home of 1 room: to be placed anew"},
			{Kind: "leader_elected", Node: "n2", Detail: "n2 leads now"},
			{Kind: "home_assigned", Room: "abc", Home: "n2", From: "n1", Epoch: 5, Reason: "anew", Detail: "room abc moved from n1 to n2: n1 was silent"},
			{Kind: "quorum_regained", Detail: "there is a quorum again: rooms are placed"},
			{Kind: "voter_demoted", Node: "n1", Detail: "n1 is no voter any more"},
			{Kind: "failover_done", Node: "n1", Left: &api.Left{}, Detail: "all rooms of n1 have another home, after 200ms"},
			{Kind: "version_changed", Node: "n2", Detail: "n2 runs 1.1 now, 1.0 before"},
			{
				Kind: "node_overloaded", Node: "n2",
				Detail: "n2 is overloaded, it sends more than media.max_egress: of 9 streams of video 1 are paused and 0 worse than wanted, voice goes on",
			},
			{Kind: "node_removed", Node: "n3", Detail: "n3 was removed from the cluster"},
			{Kind: "node_joined", Node: "n4", Detail: "n4 has joined, version 1.0"},
			{Kind: "node_alive", Node: "n4", Detail: "n4 is alive"},
			{Kind: "node_relieved", Node: "n2", Detail: "n2 is overloaded no more: all video is forwarded"},
			{Kind: "drain_changed", Node: "n4", Detail: "n4 is to be left by rooms and people"},
		}
		if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(api.AdminEvent{}, "At", "ID")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSlowReaderOfEventsLosesSome(t *testing.T) {
	e := newEvents("n1", &fakeCluster{})
	_, ch, cancel := e.Subscribe()
	for range eventQueue + 10 {
		e.publish(api.AdminEvent{Kind: "node_alive"})
	}
	if len(ch) != eventQueue {
		t.Errorf("%d events wait, want %d", len(ch), eventQueue)
	}
	cancel()
	e.publish(api.AdminEvent{Kind: "node_alive"}) // to nobody
	e.close()
	if _, late, _ := e.Subscribe(); len(late) != 0 {
		t.Error("events after the end")
	}
}

// Rooms that come and go do not push out what an operator looks for; the order
// is that in which it happened.
func TestHistory(t *testing.T) {
	e := newEvents("n1", &fakeCluster{})
	for i := range 3 * historySize {
		e.publish(api.AdminEvent{Kind: "home_assigned", Epoch: uint64(i + 1), At: time.Unix(int64(i), 0)})
		if i%100 == 0 {
			e.publish(api.AdminEvent{Kind: "home_assigned", From: "n2", At: time.Unix(int64(i), 0)})
		}
	}
	all, _, cancel := e.Subscribe()
	defer cancel()
	if len(all) != historySize+30 || all[len(all)-1].Epoch != 3*historySize {
		t.Errorf("%d events, the last %+v", len(all), all[len(all)-1])
	}
	if !slices.IsSortedFunc(all, func(a, b api.AdminEvent) int { return a.At.Compare(b.At) }) {
		t.Error("out of order")
	}
	ids := map[string]bool{}
	for _, ev := range all {
		ids[ev.ID] = true
	}
	if len(ids) != len(all) {
		t.Errorf("%d ids for %d events", len(ids), len(all))
	}
}

// What others tell of operations that never end is bounded.
func TestOpenOperationsAreBounded(t *testing.T) {
	e := newEvents("n1", &fakeCluster{})
	for i := range 2 * maxOpenOps {
		e.told(&inspect.OpEvent{Op: fmt.Sprintf("n2-%d", i), Kind: "move", Phase: "progress"})
	}
	if len(e.open) != maxOpenOps {
		t.Errorf("%d are kept", len(e.open))
	}
	e.lost("n2")
	if len(e.open) != 0 {
		t.Errorf("%d are kept of a node that died", len(e.open))
	}
}
