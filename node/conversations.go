package node

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	// notifyTimeout bounds one attempt to tell a room, or to ask it.
	notifyTimeout = 5 * time.Second
	// Between attempts.
	firstPause   = 250 * time.Millisecond
	longestPause = 10 * time.Second
	// lookAgain is how often each room is compared with its conversation: an edge
	// that comes back late brings people whom no decision is about. They take
	// turns, lookParts of them, so that the servers are not asked about all at once.
	lookAgain = 30 * time.Second
	lookParts = 30
	// certain is how long somebody must have been in a room without a right to it
	// before anything is done. The right may have been given at a node that hears
	// of decisions sooner; what was decided that long ago is known here as well, or
	// there is no lease, and the room does nothing.
	certain = 3 * time.Second
	// roomsAtOnce bounds the rooms that are told, asked or looked up at the same
	// time.
	roomsAtOnce = 16
	// maxUntold bounds what waits for one room; beyond it the room is compared.
	maxUntold = 64
	// maxExpelled bounds one request; the next comparison finds the others.
	maxExpelled = 500
)

// conversations tells the rooms of the embedded backend what was decided about
// their conversations.
//
//	decision ─▶ follow ─▶ the work of its room ─▶ told, or else compared until it is
//
// All nodes hear the decision, and the room's home tells. What could not be told
// need not be kept: who is in the room is compared with who may be there. That
// also heals what nobody told because the home was dead or did not hear of it,
// so a new home begins with it.
type conversations struct {
	self   store.NodeID
	places decisions
	rooms  liveRooms
	book   conversationBook
	log    *slog.Logger
	slots  chan struct{}
	turns  maphash.Seed // says which rooms take a turn together
	wg     sync.WaitGroup

	mu   sync.Mutex
	work map[store.RoomID]*roomWork // guarded by mu; of rooms that there is something to do for
}

// decisions is met by cluster.Cluster.
type decisions interface {
	Watch() (<-chan store.Event, func())
	Lookup(store.RoomID) (store.Home, bool)
	HomesOf(store.NodeID) []store.RoomID
}

// liveRooms is met by signaling.Hub.
type liveRooms interface {
	Notify(context.Context, store.RoomID, backend.Request) error
	RoomStatus(context.Context, store.RoomID) (signaling.RoomStatus, error)
}

// conversationBook is met by api.Server, and by asker where there is none.
type conversationBook interface {
	Conversation(ctx context.Context, room string) (api.Conversation, error)
}

// roomWork is what a goroutine does for one room until nothing is left.
type roomWork struct {
	untold []store.Event // guarded by conversations.mu
	look   bool          // guarded by conversations.mu; compare the room
	wake   chan struct{} // something is to be told
}

// followConversations runs while the embedded backend is served.
func (n *Node) followConversations(ctx context.Context) error {
	if n.book == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return newConversations(n.cluster.Self(), n.cluster, n.hub, n.book, n.log).Run(ctx)
}

func newConversations(self store.NodeID, places decisions, rooms liveRooms, book conversationBook, log *slog.Logger) *conversations {
	return &conversations{
		self: self, places: places, rooms: rooms, book: book, log: log,
		slots: make(chan struct{}, roomsAtOnce), turns: maphash.MakeSeed(), work: make(map[store.RoomID]*roomWork),
	}
}

// Run follows the decisions until ctx ends.
func (c *conversations) Run(ctx context.Context) error {
	defer c.wg.Wait()
	events, cancel := c.places.Watch()
	defer cancel()
	tick := time.NewTicker(lookAgain / lookParts)
	defer tick.Stop()
	c.lookAt(ctx, everyRoom)
	for turn := uint64(0); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			turn++
			c.lookAt(ctx, func(id store.RoomID) bool { return maphash.String(c.turns, id.Name)%lookParts == turn%lookParts })
		case e, ok := <-events:
			if !ok {
				return ctx.Err()
			}
			c.follow(ctx, e)
		}
	}
}

func (c *conversations) follow(ctx context.Context, e store.Event) {
	switch e.Kind {
	case store.EventLagged, store.EventRestored:
		c.lookAt(ctx, everyRoom)
	case store.EventHomeAssigned:
		if e.Room.Backend == store.Embedded && e.Home.Node == c.self {
			c.add(ctx, e.Room, nil)
		}
	case store.EventConversationDeleted, store.EventConversationChanged, store.EventAttendeeRemoved:
		if c.atHome(e.Room) {
			c.add(ctx, e.Room, &e)
		}
	}
}

func everyRoom(store.RoomID) bool { return true }

// lookAt compares rooms that are at home here.
func (c *conversations) lookAt(ctx context.Context, which func(store.RoomID) bool) {
	for _, id := range c.places.HomesOf(c.self) {
		if id.Backend == store.Embedded && which(id) {
			c.add(ctx, id, nil)
		}
	}
}

func (c *conversations) atHome(id store.RoomID) bool {
	home, ok := c.places.Lookup(id)
	return ok && home.Node == c.self
}

// add gives a room something to do: to be told of e, or to be compared.
func (c *conversations) add(ctx context.Context, id store.RoomID, e *store.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.work[id]
	if w == nil {
		w = &roomWork{wake: make(chan struct{}, 1)}
		c.work[id] = w
		c.wg.Go(func() { c.serve(ctx, id, w) })
	}
	if e == nil || len(w.untold) >= maxUntold {
		w.look = true
		return
	}
	w.untold = append(w.untold, *e)
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// next is what to do for a room: tell it of an event, or for nil compare it.
// Without anything the work is over.
func (c *conversations) next(id store.RoomID, w *roomWork) (e *store.Event, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(w.untold) > 0:
		e = &w.untold[0]
		w.untold = w.untold[1:]
		return e, true
	case w.look:
		w.look = false
		return nil, true
	}
	delete(c.work, id)
	return nil, false
}

// serve works for one room, so that none holds up another.
func (c *conversations) serve(ctx context.Context, id store.RoomID, w *roomWork) {
	for pause := firstPause; ; {
		e, ok := c.next(id, w)
		if !ok {
			return
		}
		if !c.atHome(id) {
			continue // that node heard it too, or begins by comparing
		}
		var err error
		if e != nil {
			err = c.tell(ctx, *e)
		} else {
			err = c.compare(ctx, id, w)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause = firstPause
			continue
		case pause == firstPause:
			c.log.Warn("a room could not be told of its conversation, trying again", "room", id.String(), "error", err)
		}
		c.add(ctx, id, nil)
		rest(ctx, w, pause)
		pause = min(2*pause, longestPause)
	}
}

// rest waits, and says whether the time has passed: something to tell and the
// end come before it.
func rest(ctx context.Context, w *roomWork, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
		return false
	case <-t.C:
		return true
	}
}

// ask does something about a room, for a bounded time.
func (c *conversations) ask(ctx context.Context, do func(context.Context) error) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	return do(ctx)
}

func (c *conversations) notify(ctx context.Context, id store.RoomID, r backend.Request) error {
	return c.ask(ctx, func(ctx context.Context) error { return c.rooms.Notify(ctx, id, r) })
}

// conversation is what the database has of a room.
func (c *conversations) conversation(ctx context.Context, id store.RoomID) (now api.Conversation, err error) {
	err = c.ask(ctx, func(ctx context.Context) (err error) {
		now, err = c.book.Conversation(ctx, id.Name)
		return err
	})
	return now, err
}

// tell sends what a Nextcloud would send for the event.
func (c *conversations) tell(ctx context.Context, e store.Event) error {
	if e.Kind == store.EventConversationDeleted {
		return c.notify(ctx, e.Room, backend.Request{Type: backend.TypeDelete, Delete: &backend.RoomDelete{}})
	}
	now, err := c.conversation(ctx, e.Room)
	switch {
	case errors.Is(err, api.ErrNoRoom): // deleted since; that is told as well
		return nil
	case err != nil:
		return err
	case e.Kind == store.EventConversationChanged:
		update := &backend.RoomUpdate{UserIDs: now.Users, Properties: now.Properties}
		return c.notify(ctx, e.Room, backend.Request{Type: backend.TypeUpdate, Update: update})
	case e.Attendee.ActorType != store.ActorUsers, slices.Contains(now.Users, e.Attendee.ActorID): // invited again
		return nil
	}
	out := &backend.Disinvite{UserIDs: []string{e.Attendee.ActorID}}
	return c.notify(ctx, e.Room, backend.Request{Type: backend.TypeDisinvite, Disinvite: out})
}

// compare makes those leave a room who may not be there.
func (c *conversations) compare(ctx context.Context, id store.RoomID, w *roomWork) error {
	var status signaling.RoomStatus
	err := c.ask(ctx, func(ctx context.Context) (err error) {
		status, err = c.rooms.RoomStatus(ctx, id)
		return err
	})
	if err != nil || len(status.Sessions) == 0 {
		return err
	}
	if _, found, err := c.expel(ctx, id, status); err != nil || !found {
		return err
	}
	if !rest(ctx, w, certain) {
		c.add(ctx, id, nil)
		return nil
	}
	request, found, err := c.expel(ctx, id, status)
	if err != nil || !found {
		return err
	}
	c.log.Info("making sessions leave a room that they have no right to", "room", id.String())
	return c.notify(ctx, id, request)
}

// expel is the request that makes those leave who may not be in the room, if
// there are any. It names sessions: what else a user does is not concerned.
func (c *conversations) expel(ctx context.Context, id store.RoomID, here signaling.RoomStatus) (backend.Request, bool, error) {
	now, err := c.conversation(ctx, id)
	switch {
	case errors.Is(err, api.ErrNoRoom):
		return backend.Request{Type: backend.TypeDelete, Delete: &backend.RoomDelete{}}, true, nil
	case err != nil || now.Public:
		return backend.Request{}, false, err
	}
	users := make(map[string]bool, len(now.Users))
	for _, u := range now.Users {
		users[u] = true
	}
	var out []wire.RoomSessionID
	for _, s := range here.Sessions {
		if (s.UserID == "" || !users[s.UserID]) && s.RoomSession != "" && len(out) < maxExpelled {
			out = append(out, s.RoomSession)
		}
	}
	return backend.Request{Type: backend.TypeDisinvite, Disinvite: &backend.Disinvite{SessionIDs: out}}, len(out) > 0, nil
}
