package signaling

import (
	"context"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// room is a room at its home. One goroutine owns all of it and puts in order
// what the edges and the backend say; what comes of it goes to the edges as
// numbered events. It is soft state: a new home builds it up again from what
// the edges announce.
//
// Members and publications are shared with frames that are being sent, so they
// are replaced and never changed.
type room struct {
	hub  *Hub
	id   store.RoomID
	home store.Home

	inbox inbox
	done  chan struct{} // closed when run has ended

	// Owned by the goroutine of run.
	began     time.Time
	members   map[store.SessionID]*signalpb.Member
	pubs      map[pubKey]media.Publication
	data      transients
	edges     map[store.NodeID]*edge
	gone      map[store.SessionID]struct{}  // who left in this epoch; only while known members are taken
	out       map[store.SessionID]out       // who was thrown out in this epoch
	moved     map[store.SessionID]time.Time // who went to another edge lately
	orphans   map[store.SessionID]time.Time // whose edge began anew, and does not know them
	leaving   []leaving                     // waits for the lease
	callSince time.Time                     // zero: nobody is in the call
	empty     time.Time                     // since when
	pinged    time.Time
	pinging   bool // the last one is under way
	releasing bool
	life      uint64 // tells this room from one before a restart
	attaching map[store.NodeID]*whole[signalpb.Attach, *signalpb.Attach]
	deposed   uint64 // the epoch of a later home, if the cluster has not told us yet
	number    uint64 // of the member that came last
}

// edge is a node that has sessions in the room.
type edge struct {
	attached bool
	seq      uint64
	life     uint64    // tells the node from one before a restart
	lost     time.Time // since when, if not attached
	watches  time.Time // since when it follows the room for somebody who is about to go there
	heard    uint64    // the number of the last Say from there
	told     []told    // what it may have missed if the stream breaks
}

// told is an event that is not part of the state.
type told struct {
	frame *signalpb.Frame
	size  int
	at    time.Time
}

// How much is kept for an edge that loses its stream, and for how long: that a
// peer is silent is noticed within 3 s, and the stream is opened again within
// seconds if it can be. All of it goes into one frame.
const (
	maxTold      = 256
	maxToldBytes = 256 << 10
	oldTold      = 20 * time.Second
)

type pubKey struct {
	session store.SessionID
	kind    string
}

type leaving struct {
	edge    store.NodeID
	session store.SessionID
}

func newRoom(h *Hub, id store.RoomID, home store.Home) *room {
	now := time.Now()
	return &room{
		hub:     h,
		id:      id,
		home:    home,
		inbox:   newInbox(),
		done:    make(chan struct{}),
		began:   now,
		members: make(map[store.SessionID]*signalpb.Member),
		pubs:    make(map[pubKey]media.Publication),
		data:    newTransients(),
		edges:   make(map[store.NodeID]*edge),
		gone:    make(map[store.SessionID]struct{}),
		out:     make(map[store.SessionID]out),
		moved:   make(map[store.SessionID]time.Time),
		orphans: make(map[store.SessionID]time.Time),
		empty:   now,
		pinged:  now,
		life:    rand.Uint64(),

		attaching: make(map[store.NodeID]*whole[signalpb.Attach, *signalpb.Attach]),
	}
}

// run is the goroutine of the room. If it fails, the room begins anew with what
// its edges know, as it does at a new home.
func (r *room) run() {
	defer close(r.done)
	defer r.hub.forget(r)
	defer func() {
		if v := recover(); v != nil {
			r.inbox.close()
			r.hub.metrics.panics.Inc()
			r.hub.log.Error("a room has failed", keyRoom, r.id.String(), keyEpoch, r.home.Epoch, keyError, v, "stack", string(debug.Stack()))
		}
	}()
	for range r.inbox.wake {
		items, open := r.inbox.take()
		for _, f := range items {
			f()
		}
		if !open {
			return
		}
	}
}

// close ends the room here. Its edges hear of the new home from the cluster.
func (r *room) close() { r.inbox.close() }

// do runs f on the room's goroutine and waits for it.
func (r *room) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	if err := r.inbox.post(func() { done <- f() }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.hub.ctx.Done():
		return errClosed
	}
}

// firstAttach is how long a home that took over waits for the first edge to say who
// is there.
const firstAttach = time.Second

// notYet says why the room cannot answer a backend now.
func (r *room) notYet() error {
	switch {
	case r.deposed > r.home.Epoch:
		return ErrNotHome
	case len(r.members) == 0 && time.Since(r.began) < firstAttach && r.began.Sub(r.home.Created) > firstAttach:
		return ErrNotHome // the question comes again
	}
	return nil
}

// receive takes a frame of an edge.
func (r *room) receive(from store.NodeID, f *signalpb.Frame) error {
	return r.inbox.postBytes(func() { r.take(from, f) }, proto.Size(f))
}

func (r *room) take(from store.NodeID, f *signalpb.Frame) {
	if f.GetRefused() != nil {
		// That edge follows a later home already. What is said from now on would
		// not reach it.
		r.deposed = max(r.deposed, f.GetEpoch())
		return
	}
	if r.deposed > r.home.Epoch {
		r.hub.toEdge(from, refusal(r.id, r.deposed, sessionOf(f), signalpb.Refused_REASON_STALE_EPOCH))
		return
	}
	if a := f.GetAttach(); a != nil {
		r.attachPart(from, a)
		return
	}
	e := r.edges[from]
	if e == nil || !e.attached {
		r.hub.toEdge(from, refusal(r.id, r.home.Epoch, sessionOf(f), signalpb.Refused_REASON_NOT_HOME))
		return
	}
	switch body := f.GetBody().(type) {
	case *signalpb.Frame_Join:
		r.join(from, body.Join)
	case *signalpb.Frame_Leave:
		r.leave(from, store.SessionID(body.Leave.GetSession()))
	case *signalpb.Frame_Announce:
		if pub, err := decodePublication(body.Announce); err == nil {
			r.publish(from, pub)
		}
	case *signalpb.Frame_Withdraw:
		if id := pubID(body.Withdraw); r.pubs[pubKey{id.Session, id.Kind}].Edge == from {
			r.unpublish(id)
		}
	case *signalpb.Frame_Say:
		r.say(from, body.Say)
	case *signalpb.Frame_Takeover:
		r.claim(from, body.Takeover)
	case *signalpb.Frame_State:
		r.restate(from, body.State)
	case *signalpb.Frame_Watch:
		e.watches = time.Now()
	}
}

// sessionOf is whose join or takeover a frame is, or empty.
func sessionOf(f *signalpb.Frame) string {
	if m := f.GetTakeover(); m != nil {
		return m.GetSession()
	}
	return f.GetJoin().GetSession()
}

// emit sends an event to one edge.
func (r *room) emit(to store.NodeID, e *edge, f *signalpb.Frame) {
	e.seq++
	f.Room, f.Epoch, f.Seq, f.Heard = roomOf(r.id), r.home.Epoch, e.seq, e.heard
	if passing(f) {
		size := len(f.GetSaid().GetData()) + len(f.GetMessage()) + len(f.GetProperties())
		e.told = append(e.told, told{f, size, time.Now()})
		e.told = newest(e.told, maxTold, maxToldBytes, func(t told) int { return t.size })
	}
	// What leaves no trace is sent also to who is not attached: it may be on the
	// way here, and hears nothing twice.
	if (e.attached || f.GetSaid() != nil) && !r.hub.toEdge(to, f) {
		r.lose(to)
	}
}

// passing tells whether an event leaves no trace in the state.
func passing(f *signalpb.Frame) bool {
	switch f.GetBody().(type) {
	case *signalpb.Frame_Said, *signalpb.Frame_Message, *signalpb.Frame_SwitchTo, *signalpb.Frame_Properties:
		return true
	}
	return false
}

// missed are the events that an edge has not got, and that are not in the
// state.
func (e *edge) missed(since uint64) []*signalpb.Frame {
	var frames []*signalpb.Frame
	for _, t := range e.told {
		if t.frame.GetSeq() > since {
			frames = append(frames, t.frame)
		}
	}
	return frames
}

// emitAll sends an event to all edges, but for one. Each gets a frame of its
// own, as their numbers differ; the body is shared.
func (r *room) emitAll(except store.NodeID, f *signalpb.Frame) {
	for id, e := range r.edges {
		if id != except && (e.attached || passing(f) && !e.lost.IsZero()) {
			r.emit(id, e, &signalpb.Frame{Body: f.GetBody()})
		}
	}
}

// lose tells that an edge cannot be reached. Its members stay for a while.
func (r *room) lose(id store.NodeID) {
	if e := r.edges[id]; e != nil && e.attached {
		e.attached = false
		e.lost = time.Now()
	}
}

// edgeLost is lose for whoever is not the room.
func (r *room) edgeLost(id store.NodeID) {
	_ = r.inbox.post(func() { r.lose(id) }) // full or closed: there is nothing to be lost
}

// say passes on what a member says. The edge it came from learns that it need
// not say so again.
func (r *room) say(from store.NodeID, say *signalpb.Say) {
	e := r.edges[from]
	if e == nil || say.GetNumber() <= e.heard {
		return
	}
	e.heard = say.GetNumber()
	m := r.members[store.SessionID(say.GetSession())]
	if m == nil || m.GetEdge() != string(from) || m.GetUserId() != say.GetUserId() {
		return
	}
	if say.GetTo() == toTransient {
		r.changeOf(m, say.GetTransient())
		if e.attached {
			r.emit(from, e, &signalpb.Frame{}) // also if nothing has changed
		}
		return
	}
	f := &signalpb.Frame{Body: &signalpb.Frame_Said{Said: say}}
	if say.GetToSession() == "" {
		r.emitAll("", f)
		return
	}
	to := store.NodeID(r.members[store.SessionID(say.GetToSession())].GetEdge())
	if at := r.edges[to]; at != nil {
		r.emit(to, at, f) // also if it is lost: perhaps it comes back
	}
	if to != from && e.attached {
		r.emit(from, e, &signalpb.Frame{})
	}
}

// publish takes a publication into the registry and tells all edges.
func (r *room) publish(from store.NodeID, pub media.Publication) {
	m := r.members[pub.ID.Session]
	if m == nil || m.GetEdge() != string(from) || pub.Edge != from {
		return
	}
	if !r.register(pub) {
		if e := r.edges[from]; e != nil { // it waits to hear that this is known
			known := r.pubs[pubKey{pub.ID.Session, pub.ID.Kind}]
			r.emit(from, e, &signalpb.Frame{Body: &signalpb.Frame_Published{Published: encodePublication(known)}})
		}
		return
	}
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Published{Published: encodePublication(pub)}})
}

// register is false if the publication is known already, or older than the one
// that is.
func (r *room) register(pub media.Publication) bool {
	k := pubKey{pub.ID.Session, pub.ID.Kind}
	if old, ok := r.pubs[k]; ok && !newer(pub.ID, old.ID) {
		return false
	}
	r.pubs[k] = pub
	return true
}

func (r *room) unpublish(id media.PubID) {
	k := pubKey{id.Session, id.Kind}
	if old, ok := r.pubs[k]; !ok || old.ID != id {
		return
	}
	delete(r.pubs, k)
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Withdrawn{Withdrawn: pubIDFrame(id)}})
}

// newer tells whether a publication takes the place of another one.
func newer(a, than media.PubID) bool {
	if a.Incarnation != than.Incarnation {
		return a.Incarnation > than.Incarnation
	}
	return a.Generation > than.Generation
}
