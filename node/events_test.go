package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// fakeCluster is an eventSource that a test drives.
type fakeCluster struct {
	changes chan store.Event
	ticks   chan struct{}
	members []cluster.Member
}

func (f *fakeCluster) Watch() (<-chan store.Event, func())     { return f.changes, func() {} }
func (f *fakeCluster) WatchMembers() (<-chan struct{}, func()) { return f.ticks, func() {} }
func (f *fakeCluster) Members() []cluster.Member               { return f.members }

func member(id store.NodeID, state cluster.MemberState, leader bool) cluster.Member {
	return cluster.Member{Node: store.Node{ID: id}, State: state, Leader: leader}
}

func TestEventsForOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{changes: make(chan store.Event), ticks: make(chan struct{}), members: []cluster.Member{
			member("n1", cluster.StateAlive, true), member("n2", cluster.StateAlive, false),
		}}
		e := newEvents(f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		got, unsubscribe := e.Subscribe()
		defer unsubscribe()

		room := store.RoomID{Name: "abc"}
		f.changes <- store.Event{Kind: store.EventHomeAssigned, Room: room, Home: store.Home{Node: "n2", Epoch: 4}}
		f.changes <- store.Event{Kind: store.EventUserPut, User: "somebody"} // nobody's business here
		f.members = []cluster.Member{member("n1", cluster.StateDead, false), member("n2", cluster.StateAlive, true)}
		f.ticks <- struct{}{}
		f.changes <- store.Event{
			Kind: store.EventHomeAssigned, Room: room,
			Home: store.Home{Node: "n2", Epoch: 5}, Previous: store.Home{Node: "n1", Epoch: 4},
		}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		e.close()
		var list []api.AdminEvent
		for ev := range got {
			if ev.At.IsZero() {
				t.Errorf("%s without a time", ev.Kind)
			}
			list = append(list, ev)
		}
		want := []api.AdminEvent{
			{Kind: "home_assigned", Room: "abc", Home: "n2", Epoch: 4},
			{Kind: "node_dead", Node: "n1"},
			{Kind: "leader_elected", Node: "n2"},
			{Kind: "home_assigned", Room: "abc", Home: "n2", Epoch: 5, Detail: "moved from n1"},
		}
		sorted := cmpopts.SortSlices(func(a, b api.AdminEvent) bool { return a.Kind+a.Node < b.Kind+b.Node })
		if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(api.AdminEvent{}, "At"), sorted); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSlowReaderOfEventsLosesSome(t *testing.T) {
	e := newEvents(&fakeCluster{})
	ch, cancel := e.Subscribe()
	for range eventQueue + 10 {
		e.publish(api.AdminEvent{Kind: "node_alive"})
	}
	if len(ch) != eventQueue {
		t.Errorf("%d events wait, want %d", len(ch), eventQueue)
	}
	cancel()
	e.publish(api.AdminEvent{Kind: "node_alive"}) // to nobody
	e.close()
	if late, _ := e.Subscribe(); len(late) != 0 {
		t.Error("events after the end")
	}
}
