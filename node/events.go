package node

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// eventQueue is how far a reader of events may lag; then it loses some.
const eventQueue = 256

// events tells operators what the cluster does: who came and went, who leads,
// which node is the home of a room and why it changed.
type events struct {
	cluster eventSource

	mu     sync.Mutex // guards what follows
	subs   map[chan api.AdminEvent]struct{}
	closed bool
}

// eventSource is met by cluster.Cluster.
type eventSource interface {
	Watch() (<-chan store.Event, func())
	WatchMembers() (<-chan struct{}, func())
	Members() []cluster.Member
}

func newEvents(c eventSource) *events {
	return &events{cluster: c, subs: map[chan api.AdminEvent]struct{}{}}
}

// Subscribe brings the events from now on; the channel is closed when the node
// stops.
func (e *events) Subscribe() (<-chan api.AdminEvent, func()) {
	ch := make(chan api.AdminEvent, eventQueue)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		close(ch)
		return ch, func() {}
	}
	e.subs[ch] = struct{}{}
	return ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, ok := e.subs[ch]; ok {
			delete(e.subs, ch)
			close(ch)
		}
	}
}

func (e *events) publish(ev api.AdminEvent) {
	ev.At = time.Now().UTC()
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch := range e.subs {
		select {
		case ch <- ev:
		default: // it reads too slowly; the API has the whole state
		}
	}
}

// close ends all streams, so that the admin listener can stop.
func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for ch := range e.subs {
		close(ch)
	}
	clear(e.subs)
}

// Run follows the cluster until ctx ends.
func (e *events) Run(ctx context.Context) error {
	changes, cancel := e.cluster.Watch()
	defer cancel()
	members, cancelMembers := e.cluster.WatchMembers()
	defer cancelMembers()
	known := e.members()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev, ok := <-changes:
			if !ok {
				return ctx.Err()
			}
			if out, ok := adminEvent(ev); ok {
				e.publish(out)
			}
		case _, ok := <-members:
			if !ok {
				return ctx.Err()
			}
			now := e.members()
			for _, out := range memberEvents(known, now) {
				e.publish(out)
			}
			known = now
		}
	}
}

type memberFacts struct {
	state  cluster.MemberState
	leader bool
}

func (e *events) members() map[store.NodeID]memberFacts {
	facts := map[store.NodeID]memberFacts{}
	for _, m := range e.cluster.Members() {
		facts[m.ID] = memberFacts{m.State, m.Leader}
	}
	return facts
}

// memberEvents are the differences that an operator wants to know.
func memberEvents(before, now map[store.NodeID]memberFacts) []api.AdminEvent {
	var out []api.AdminEvent
	if maps.Equal(before, now) {
		return nil
	}
	for id, m := range now {
		if old, ok := before[id]; !ok || old.state != m.state {
			out = append(out, api.AdminEvent{Kind: "node_" + string(m.state), Node: string(id)})
		}
		if m.leader && !before[id].leader {
			out = append(out, api.AdminEvent{Kind: "leader_elected", Node: string(id)})
		}
	}
	return out
}

// adminEvent leaves out what concerns accounts and conversations: that is the
// business of the people, not of the operator.
func adminEvent(ev store.Event) (api.AdminEvent, bool) {
	out := api.AdminEvent{Kind: string(ev.Kind)}
	switch ev.Kind {
	case store.EventNodePut, store.EventNodeRemoved:
		out.Node = string(ev.Node)
	case store.EventHomeAssigned:
		out.Room, out.Home, out.Epoch = ev.Room.String(), string(ev.Home.Node), ev.Home.Epoch
		if ev.Previous.Node != "" && ev.Previous.Node != ev.Home.Node {
			out.Detail = "moved from " + string(ev.Previous.Node)
		}
	case store.EventHomeReleased:
		out.Room, out.Home, out.Epoch, out.Detail = ev.Room.String(), string(ev.Home.Node), ev.Home.Epoch, "empty"
	case store.EventSecretsChanged, store.EventRestored, store.EventLagged:
	default:
		return out, false
	}
	return out, true
}
