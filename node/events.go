package node

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

const (
	// eventQueue is how far a reader of events may lag; then it loses some.
	eventQueue = 256
	// memberLook is how often the members are compared at most. They change
	// with every measured load of every node.
	memberLook = 200 * time.Millisecond
	// maxOpenOps bounds the operations of other nodes that are waited for.
	maxOpenOps = 1000
)

// events tells operators what the cluster does: who came and went, who leads,
// which node is the home of a room and why it changed, how far operations are.
//
//	cluster ── Watch, WatchMembers ──┐
//	operations of this node ─────────┼─ publish ─ history ─ Subscribe
//	operations of others (inspect) ──┘
//
// Operations are told to all nodes by the one that follows them, so that they
// can be followed anywhere, also without a quorum; if that one dies, each of the
// others says so.
type events struct {
	self    store.NodeID
	cluster eventSource

	mu     sync.Mutex // guards what follows
	subs   map[chan api.AdminEvent]struct{}
	closed bool
	boot   string // tells the ids of this process from those of before
	seq    uint64
	past   history
	open   map[string]api.AdminEvent // operations that have not ended: their last event
}

// eventSource is met by cluster.Cluster.
type eventSource interface {
	Ready() <-chan struct{}
	Watch() (<-chan store.Event, func())
	WatchMembers() (<-chan struct{}, func())
	Members() []cluster.Member
	Status() cluster.Status
}

func newEvents(self store.NodeID, c eventSource) *events {
	return &events{
		self: self, cluster: c, subs: map[chan api.AdminEvent]struct{}{}, open: map[string]api.AdminEvent{},
		boot: strconv.FormatInt(time.Now().Unix(), 36),
	}
}

// Subscribe brings what is remembered and then what happens; the channel is
// closed when the node stops.
func (e *events) Subscribe() ([]api.AdminEvent, <-chan api.AdminEvent, func()) {
	ch := make(chan api.AdminEvent, eventQueue)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		close(ch)
		return nil, ch, func() {}
	}
	e.subs[ch] = struct{}{}
	return e.past.all(), ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, ok := e.subs[ch]; ok {
			delete(e.subs, ch)
			close(ch)
		}
	}
}

func (e *events) publish(ev api.AdminEvent) {
	if ev.At.IsZero() {
		ev.At = time.Now()
	}
	ev.At = ev.At.UTC()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	ev.ID = fmt.Sprintf("%s-%s-%d", e.self, e.boot, e.seq)
	if ev.Op != "" {
		if ev.Phase.Ends() {
			delete(e.open, ev.Op)
		} else if _, ok := e.open[ev.Op]; ok || len(e.open) < maxOpenOps {
			e.open[ev.Op] = ev
		}
	}
	e.past.add(numbered{e.seq, ev})
	for ch := range e.subs {
		select {
		case ch <- ev:
		default: // it reads too slowly; the API has the whole state
		}
	}
}

// told is what another node says of an operation that it follows.
func (e *events) told(o *inspect.OpEvent) { e.publish(fromWire(o)) }

// lost ends the operations of a node that died.
func (e *events) lost(node store.NodeID) {
	e.mu.Lock()
	var orphans []api.AdminEvent
	for op, last := range e.open {
		if opNode(op) == string(node) {
			orphans = append(orphans, last)
		}
	}
	e.mu.Unlock()
	for _, o := range orphans {
		o.At, o.Phase = time.Time{}, api.PhaseFailed
		o.Detail = fmt.Sprintf("%s, which followed this, has died. What it had ordered may go on: talkd cluster status", node)
		e.publish(o)
	}
}

// newOp names an operation that this node follows.
func newOp(self store.NodeID, random string) string { return string(self) + "-" + random }

// opNode is the node that follows an operation.
func opNode(op string) string { return op[:max(0, strings.LastIndexByte(op, '-'))] }

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
	// What comes before this node is part of the cluster is old news: the log
	// is applied again.
	for ready := e.cluster.Ready(); ready != nil; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		case <-ready:
			ready = nil
		}
	}
	watch := newMemberWatch(e.cluster)
	e.publish(api.AdminEvent{Kind: "node_ready", Node: string(e.self), Detail: watch.welcome(e.self)})
	pause := time.NewTimer(0)
	defer pause.Stop()
	for look := members; ; {
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
		case <-pause.C:
			look = members
		case _, ok := <-look:
			if !ok {
				return ctx.Err()
			}
			look = nil
			pause.Reset(memberLook)
			for _, out := range watch.look(time.Now()) {
				e.publish(out)
				if out.Kind == kindDead || out.Kind == kindRemoved {
					e.lost(store.NodeID(out.Node))
				}
			}
		}
	}
}

// isRoutine tells of rooms that come and go as they should.
func isRoutine(e api.AdminEvent) bool {
	return e.Kind == string(store.EventHomeReleased) || e.Kind == string(store.EventHomeAssigned) && e.From == ""
}

// adminEvent leaves out what concerns accounts and conversations: that is the
// business of the people, not of the operator. Nodes are compared by memberWatch.
func adminEvent(ev store.Event) (api.AdminEvent, bool) {
	out := api.AdminEvent{Kind: string(ev.Kind)}
	switch ev.Kind {
	case store.EventHomeAssigned:
		out.Room, out.Home, out.Epoch, out.Reason = ev.Room.String(), string(ev.Home.Node), ev.Home.Epoch, string(ev.Home.Reason)
		if ev.Previous.Node != "" && ev.Previous.Node != ev.Home.Node {
			out.From = string(ev.Previous.Node)
		}
		out.Detail = placed(out)
	case store.EventHomeReleased:
		out.Room, out.Home, out.Epoch = ev.Room.String(), string(ev.Home.Node), ev.Home.Epoch
		out.Detail = "room " + out.Room + " released: nobody is in it"
	case store.EventDrainChanged:
		out.Node = string(ev.Node)
		out.Detail = out.Node + " takes rooms again"
		if ev.Drain.On {
			out.Detail = out.Node + " is to be left by rooms and people"
		}
	case store.EventKeysChanged:
		out.Detail = keyStep(ev.Key, ev.Step)
	case store.EventBackendsChanged:
		out.Detail = "Nextclouds were added, changed or removed"
	case store.EventSecretsChanged:
		out.Detail = "keys of the cluster were changed"
	case store.EventRestored:
		out.Detail = "this node took the state from another: what happened before is not told here"
	case store.EventLagged:
		out.Detail = "more happened than could be told here"
	default:
		return out, false
	}
	return out, true
}

// keyStep says in words what happened to a key of the cluster's own.
func keyStep(key store.KeyKind, step store.KeyStep) string {
	what := "the gossip key"
	if key == store.KeyCA {
		what = "the certificate authority"
	}
	switch step {
	case store.KeyAdded:
		return what + " is being replaced: all nodes take the new one"
	case store.KeyUsed:
		return what + " is being replaced: all nodes have the new one, and use it"
	default:
		return what + " was replaced: all nodes use the new one, the old one is good for nothing any more"
	}
}

// placed says in words what happened to a room.
func placed(e api.AdminEvent) string {
	if e.From == "" {
		return fmt.Sprintf("room %s placed on %s", e.Room, e.Home)
	}
	why := "it was moved"
	switch store.Reason(e.Reason) {
	case store.ReasonAnew, store.ReasonNew:
		why = e.From + " was silent"
	case store.ReasonMove:
		why = "an operator wanted it"
	case store.ReasonDrain:
		why = e.From + " drains"
	}
	return fmt.Sprintf("room %s moved from %s to %s: %s", e.Room, e.From, e.Home, why)
}
