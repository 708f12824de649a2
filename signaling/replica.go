package signaling

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// replica is an edge's copy of a room that it has sessions in. It follows the
// room's home: a snapshot, then events. While there is no home to be reached it
// is detached: what it knows stays, and messages go straight to the other
// edges.
//
// What clients and desks hear of an event is done by whoever brings the event,
// one after the other under order; mu guards the state only. Frames for the
// home are queued under mu, so that they are in the order of the state.
type replica struct {
	hub *Hub
	id  store.RoomID

	order    sync.Mutex // taken before mu
	portions portions   // guarded by order
	comings  comings    // guarded by order

	mu        sync.Mutex
	home      store.Home                                   // guarded by mu
	placed    bool                                         // guarded by mu; home is what the cluster says
	placing   bool                                         // guarded by mu; the cluster is being asked
	attached  bool                                         // guarded by mu; events come
	attaching time.Time                                    // guarded by mu; when a snapshot was asked for
	seq       uint64                                       // guarded by mu; of the last event
	seqEpoch  uint64                                       // guarded by mu; whose event that was
	seqLife   uint64                                       // guarded by mu; and of which life of that home
	refusals  int                                          // guarded by mu; since the last snapshot
	again     time.Time                                    // guarded by mu; not before then after a refusal
	number    uint64                                       // guarded by mu; of what our sessions said last
	direct    uint64                                       // guarded by mu; of what went straight to the other edges last
	unheard   []*signalpb.Say                              // guarded by mu; the home has not confirmed these
	heard     seen                                         // guarded by mu; what others said
	members   map[store.SessionID]*signalpb.Member         // guarded by mu; values are never changed
	pubs      map[pubKey]media.Publication                 // guarded by mu
	data      transients                                   // guarded by mu
	local     map[store.SessionID]*Session                 // guarded by mu; our sessions in the room
	claims    claims                                       // guarded by mu
	ahead     map[store.SessionID]time.Time                // guarded by mu; whom other edges have claimed, unheard by the home
	pending   map[store.SessionID]*pendingJoin             // guarded by mu; those on their way in
	warm      map[store.SessionID]*Session                 // guarded by mu; those that are about to come here
	hushed    map[store.SessionID]time.Time                // guarded by mu; those that still hear by their old socket
	lent      map[store.SessionID]lent                     // guarded by mu; members that are about to go to other nodes
	callSince int64                                        // guarded by mu
	snapshot  whole[signalpb.Snapshot, *signalpb.Snapshot] // guarded by mu; the parts that have come
	listed    time.Time                                    // guarded by mu; when apps got a complete list
	listing   bool                                         // guarded by mu; they get another one soon
	gone      []*signalpb.Member                           // guarded by mu; whom the next one has as not in the call
	news      chan struct{}                                // guarded by mu; closed and replaced at each change
	parting   time.Time                                    // guarded by mu; when somebody left who could not be taken leave of; zero: nobody
	closed    bool                                         // guarded by mu; no longer in the index
}

// pendingJoin is a session that waits to be let in.
type pendingJoin struct {
	session   *Session
	seat      *seat
	member    *signalpb.Member
	messageID string
	done      chan error // gets one outcome
}

// effects are what is done when the state has changed, without mu.
type effects []func()

func (e effects) run() {
	for _, do := range e {
		do()
	}
}

// openReplica gives the replica of a room, following that home or a later one.
func (h *Hub) openReplica(id store.RoomID, home store.Home) (*replica, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, errClosed
	}
	r := h.replicas[id]
	if r == nil {
		r = &replica{
			hub:    h,
			id:     id,
			home:   home,
			placed: true,
			// Rises also from one replica of the room to the next.
			number:  uint64(time.Now().UnixNano()),
			members: make(map[store.SessionID]*signalpb.Member),
			pubs:    make(map[pubKey]media.Publication),
			local:   make(map[store.SessionID]*Session),
			claims:  newClaims(),
			ahead:   make(map[store.SessionID]time.Time),
			pending: make(map[store.SessionID]*pendingJoin),
			warm:    make(map[store.SessionID]*Session),
			hushed:  make(map[store.SessionID]time.Time),
			lent:    make(map[store.SessionID]lent),
			news:    make(chan struct{}),
		}
		h.replicas[id] = r
	}
	h.mu.Unlock()
	r.follow(home, true)
	return r, nil
}

// dropIfEmptyLocked forgets a replica that nobody needs.
func (r *replica) dropIfEmptyLocked() {
	if r.closed || len(r.local) > 0 || len(r.pending) > 0 || len(r.warm) > 0 || time.Since(r.parting) < r.hub.cfg.ResumeTimeout {
		return
	}
	r.closed = true
	for id := range r.members {
		r.hub.whereabouts.remove(id, r)
	}
	r.newsLocked()
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	if r.hub.replicas[r.id] == r {
		delete(r.hub.replicas, r.id)
	}
}

func (r *replica) newsLocked() {
	close(r.news)
	r.news = make(chan struct{})
}

// join asks the home to let a session in. The outcome comes on p.done; the
// client is answered when it is let in.
func (r *replica) join(p *pendingJoin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		p.done <- ErrNotHome // the next attempt makes a new one
		return
	}
	if old := r.pending[p.session.id]; old != nil {
		old.done <- errStale
	}
	r.pending[p.session.id] = p
	switch {
	case r.attached:
		r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Join{Join: p.member}})
	case r.attaching.IsZero() && !time.Now().Before(r.again):
		r.attachLocked()
	}
}

// giveUp ends a join that did not work; it is false if it worked meanwhile.
func (r *replica) giveUp(p *pendingJoin) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending[p.session.id] == p {
		delete(r.pending, p.session.id)
		if r.attached {
			r.leaveFrameLocked(p.session.id)
		}
		r.dropIfEmptyLocked()
		return true
	}
	return r.local[p.session.id] == nil
}

// leave takes a session of ours out.
func (r *replica) leave(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.warm[s.id] == s {
		delete(r.warm, s.id)
		r.dropIfEmptyLocked()
	}
	if r.local[s.id] != s {
		return
	}
	delete(r.local, s.id)
	delete(r.hushed, s.id)
	r.forgetPubsLocked(s.id)
	if !r.attached || !r.leaveFrameLocked(s.id) {
		r.parting = time.Now() // the next home has to hear of it
	}
	r.dropIfEmptyLocked()
}

func (r *replica) leaveFrameLocked(id store.SessionID) bool {
	return r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Leave{Leave: &signalpb.Leave{Session: string(id)}}})
}

// toHomeLocked queues a frame for the home. If that cannot be, the replica
// starts over.
func (r *replica) toHomeLocked(f *signalpb.Frame) bool {
	f.Room, f.Epoch = roomOf(r.id), r.home.Epoch
	if r.hub.toHome(r.home.Node, f) {
		return true
	}
	r.attached, r.attaching = false, time.Time{}
	return false
}

// attachLocked asks the home for a snapshot, and tells it what is here.
func (r *replica) attachLocked() {
	r.attached, r.attaching = false, time.Now()
	a := &signalpb.Attach{CallSince: r.callSince, Unheard: slices.Clone(r.unheard), Seq: r.seq, SeqEpoch: r.seqEpoch, SeqLife: r.seqLife, Life: r.hub.life, Watching: len(r.warm) > 0}
	for id, s := range r.local {
		if m := r.members[id]; m != nil {
			a.Own = append(a.Own, s.stated(m))
		}
	}
	for _, p := range r.pending {
		a.Own = append(a.Own, p.member)
	}
	for _, m := range r.members {
		if m.GetEdge() != string(r.hub.deps.Self) {
			a.Known = append(a.Known, m)
		}
	}
	for k, p := range r.pubs {
		raw := encodePublication(p)
		switch {
		case p.Edge != r.hub.deps.Self:
			a.KnownPublications = append(a.KnownPublications, raw)
		case r.local[k.session] != nil:
			a.OwnPublications = append(a.OwnPublications, raw)
		}
	}
	if len(r.local)+len(a.Known) > 0 { // otherwise everybody has left since
		a.Transient, a.TransientVersion = r.data.all()
	}
	for _, part := range cutAttach(a) {
		if !r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Attach{Attach: part}}) {
			return
		}
	}
}

const (
	// attachAgain is how long a snapshot may take.
	attachAgain = 2 * time.Second
	// attachWait is the longest pause after a refusal; the first is joinRetry.
	attachWait = time.Second
)

// refusedWaitLocked is how long to wait after one more refusal. An attach is
// long, so that it must not go out at every moment that a home is detached.
func (r *replica) refusedWaitLocked() time.Duration {
	wait := min(joinRetry<<min(r.refusals, 8), attachWait)
	r.refusals++
	r.again = time.Now().Add(wait)
	return wait
}

// retry attaches a replica again that has lost its home.
func (r *replica) retry() {
	if !r.lost() {
		return
	}
	if home, placed := r.hub.deps.Places.Lookup(r.id); placed {
		r.follow(home, true) // nothing happens if it is the one that is followed
	}
	if !r.lost() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropIfEmptyLocked(); r.closed {
		return
	}
	if r.placed {
		r.attachLocked()
	} else {
		r.placeLocked()
	}
}

// retryIn is retry after a while.
func (r *replica) retryIn(wait time.Duration) {
	select {
	case <-time.After(wait):
		r.retry()
	case <-r.hub.ctx.Done():
	}
}

// lost tells whether nothing is on its way from the home.
func (r *replica) lost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.attached && !r.closed && !time.Now().Before(r.again) && (r.attaching.IsZero() || time.Since(r.attaching) > attachAgain)
}

// placeLocked asks the cluster for a home, as the room has none.
func (r *replica) placeLocked() {
	if r.placing || len(r.local) == 0 {
		return
	}
	r.placing = true
	r.hub.background(func() {
		ctx, cancel := context.WithTimeout(r.hub.ctx, r.hub.cfg.JoinTimeout)
		defer cancel()
		home, err := r.hub.deps.Places.Place(ctx, r.id)
		r.mu.Lock()
		r.placing = false
		r.mu.Unlock()
		if err == nil {
			r.follow(home, true)
		}
	})
}

// follow turns to the home that the cluster has decided on; without one, the
// last one was released and another is asked for.
func (r *replica) follow(home store.Home, placed bool) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	var after effects
	switch {
	case r.closed:
	case !placed && r.placed && home.Epoch >= r.home.Epoch:
		r.placed, r.attached, r.attaching = false, false, time.Time{}
		r.placeLocked()
	case placed && (home.Epoch > r.home.Epoch || !r.placed && home.Epoch == r.home.Epoch):
		moved := home.Node != r.home.Node
		r.home, r.placed = home, true
		r.attachLocked()
		if moved && len(r.local) > 0 {
			after = r.tellLocked(wire.HomeEvent(r.id.Name, home.Node), "")
		}
	}
	r.mu.Unlock()
	after.run()
}

// linkChanged tells that the way to a node is there again, or has broken.
func (r *replica) linkChanged(node store.NodeID, up bool) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	var after effects
	if r.home.Node == node && !r.closed {
		if r.attached {
			after = r.sayUnheardLocked() // it may have come to the home or not
		}
		r.attached, r.attaching = false, time.Time{}
		if !up {
			r.claimAllLocked()
		}
		if up && r.placed {
			r.attachLocked()
		}
	}
	r.mu.Unlock()
	after.run()
}

// tellLocked sends a message to all our sessions in the room, but for one.
func (r *replica) tellLocked(m wire.ServerMessage, except store.SessionID) effects {
	if len(r.local) == 0 {
		return nil
	}
	frame := wire.Encode(m)
	after := make(effects, 0, len(r.local))
	for id, s := range r.local {
		if id != except && r.hearsLocked(id, s) {
			after = append(after, func() { s.send(frame) })
		}
	}
	return after
}

// desksLocked does something at the desks of all our sessions, but for one.
func (r *replica) desksLocked(except store.SessionID, do func(*Session)) effects {
	after := make(effects, 0, len(r.local)+len(r.warm))
	for id, s := range r.local {
		if id != except {
			after = append(after, func() { do(s) })
		}
	}
	for id, s := range r.warm {
		if id != except && r.local[id] == nil {
			after = append(after, func() { do(s) })
		}
	}
	return after
}
