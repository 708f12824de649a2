package signaling

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/talkd/talkd/signaling/federation"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Keys of log records.
const (
	keyRoom    = "room"
	keySession = "session"
	keyEpoch   = "epoch"
	keyNode    = "peer"
	keyError   = "error"
)

// Hub is the index of what lives on this node: sessions, the rooms it is the
// home of, its replicas of rooms, and the other nodes. What happens to them
// is in their own files.
type Hub struct {
	cfg        Config
	deps       Deps
	log        *slog.Logger
	metrics    *metrics
	mcuMetrics *mcu.Metrics
	seals      seals
	used       *usedTickets
	handler    http.Handler
	writers    writers
	buffers    sync.Pool // of outlets
	pings      *pings
	life       uint64 // tells this node from one before a restart
	moves      *moves
	// whereabouts are those of all members of the replicas.
	whereabouts *whereabouts
	directory   *directory    // where users are
	said        atomic.Uint64 // the number of what was said to users and sessions here last
	dialer      *federation.Dialer
	greeting    atomic.Pointer[greeting]
	greeted     []Node // owned by Run; the nodes of the greeting
	complaints  complaints
	rounds      uint64 // owned by Run; of housekeeping

	ctx  context.Context // ends when the Hub stops
	stop context.CancelFunc

	mu       sync.Mutex
	closed   bool                              // guarded by mu; nothing new begins
	tasks    int                               // guarded by mu; goroutines that Run waits for
	idle     *sync.Cond                        // of mu: tasks fell to 0
	conns    map[*conn]struct{}                // guarded by mu
	sessions map[store.SessionID]*Session      // guarded by mu
	users    map[userKey]map[*Session]struct{} // guarded by mu
	warm     map[*Session]*time.Timer          // guarded by mu; those that are about to come here
	forwards map[store.SessionID]forward       // guarded by mu; sessions that moved away
	rooms    map[store.RoomID]*room            // guarded by mu; this node is their home
	replicas map[store.RoomID]*replica         // guarded by mu
	peers    map[store.NodeID]*peer            // guarded by mu

	heard     seen // guarded by mu; what was said to users and sessions who are here
	lingering int  // guarded by mu; sessions that have moved away and whose media go on for a while

	callbacks map[store.BackendID]*callbacks // guarded by mu
	census    census                         // guarded by mu
	visitors  map[netip.Prefix]visitors      // guarded by mu
}

type userKey struct {
	backend store.BackendID
	id      string
}

// NewHub makes a Hub. It serves nobody before Run.
func NewHub(cfg Config, deps Deps) (*Hub, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, err
	}
	desks, err := mcu.NewMetrics(deps.Registerer)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg:         cfg,
		deps:        deps,
		log:         deps.Logger,
		metrics:     m,
		mcuMetrics:  desks,
		seals:       newSeals(deps.Seal),
		used:        newUsedTickets(),
		life:        rand.Uint64(),
		moves:       newMoves(cfg.MovesAtOnce),
		whereabouts: newWhereabouts(),
		directory:   newDirectory(),
		dialer:      federation.NewDialer(federation.Config{Networks: cfg.FederationNetworks, Observe: m.interrupted}),
		warm:        make(map[*Session]*time.Timer),
		callbacks:   make(map[store.BackendID]*callbacks),
		visitors:    make(map[netip.Prefix]visitors),
		census:      newCensus(),
		conns:       make(map[*conn]struct{}),
		sessions:    make(map[store.SessionID]*Session),
		users:       make(map[userKey]map[*Session]struct{}),
		forwards:    make(map[store.SessionID]forward),
		rooms:       make(map[store.RoomID]*room),
		replicas:    make(map[store.RoomID]*replica),
		peers:       make(map[store.NodeID]*peer),
		heard:       seen{most: maxHeard},
		complaints:  complaints{log: deps.Logger, known: deps.Registry, told: make(map[complaint]time.Time)},
	}
	h.pings = newPings(h)
	h.said.Store(uint64(time.Now().UnixNano())) // rises also from one life of the node to the next
	h.idle = sync.NewCond(&h.mu)
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.handler = h.routes()
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(newPerBackend(h)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Register adds the service that other nodes use.
func (h *Hub) Register(r grpc.ServiceRegistrar) {
	signalpb.RegisterSignalingServer(r, &service{hub: h})
}

// Handler serves the WebSocket and the requests of backends.
func (h *Hub) Handler() http.Handler { return h.handler }

// Run follows the cluster until ctx ends, and returns when every goroutine is
// gone.
func (h *Hub) Run(ctx context.Context) error {
	events, cancelEvents := h.deps.Places.Watch()
	defer cancelEvents()
	ticks, cancelTicks := h.deps.Nodes.Changed()
	defer cancelTicks()
	h.nodesChanged()
	h.drainIfTold()
	h.placesChanged()

	housekeeping := time.NewTicker(h.interval())
	defer housekeeping.Stop()
	for {
		select {
		case <-ctx.Done():
			h.shutdown()
			return nil
		case e, ok := <-events:
			if !ok {
				h.shutdown()
				return nil
			}
			h.placed(e)
		case <-ticks:
			h.nodesChanged()
			h.drainIfTold()
		case <-housekeeping.C:
			h.housekeeping()
		}
	}
}

// interval is how often it is looked at what is due.
func (h *Hub) interval() time.Duration { return min(250*time.Millisecond, h.roomInterval()) }

// roomInterval is how often a room looks at its deadlines, the shortest of which are of
// many seconds: for each its goroutine has to be woken.
func (h *Hub) roomInterval() time.Duration {
	return min(time.Second, h.cfg.ResumeTimeout/4, h.cfg.RoomLinger/4)
}

func (h *Hub) housekeeping() {
	h.rounds++
	rounds := uint64(h.roomInterval() / h.interval())
	h.mu.Lock()
	rooms, replicas := values(h.rooms), values(h.replicas)
	now := time.Now()
	for id, f := range h.forwards {
		if now.After(f.expires) {
			delete(h.forwards, id)
		}
	}
	h.mu.Unlock()
	for _, r := range rooms {
		if r.life%rounds == h.rounds%rounds { // not all at once
			r.tick()
		}
	}
	for _, r := range replicas {
		r.retry()
		r.reclaim()
	}
	h.tellCensus(now)
	h.used.expire(now)
	h.metrics.move(moveLate, h.moves.expire(now))
	h.sendAll()
}

// Clients hear the close, and homes the leaves of their sessions, if they listen
// within partingTime.
const (
	partingTime = 500 * time.Millisecond
	partingStep = 10 * time.Millisecond
)

// shutdown ends everything and waits for it. Clients are told to come back,
// elsewhere if they can.
func (h *Hub) shutdown() {
	h.mu.Lock()
	h.closed = true
	conns := keys(h.conns)
	sessions := values(h.sessions)
	rooms := values(h.rooms)
	h.mu.Unlock()
	for _, c := range conns {
		c.close(statusRestart)
	}
	for _, s := range sessions {
		s.endQuietly()
	}
	for _, r := range rooms {
		r.close()
		<-r.done
	}
	for deadline := time.Now().Add(partingTime); h.parting() && time.Now().Before(deadline); {
		time.Sleep(partingStep) // there is nothing to be told by
	}
	h.stop()
	h.mu.Lock()
	for h.tasks > 0 {
		h.idle.Wait()
	}
	h.mu.Unlock()
	h.writers.running.Wait()
}

// parting tells whether somebody is still being told that this node stops.
func (h *Hub) parting() bool {
	h.mu.Lock()
	peers, conns := values(h.peers), len(h.conns)
	h.mu.Unlock()
	return conns > 0 || slices.ContainsFunc(peers, func(p *peer) bool { return p.waiting() > 0 })
}

func keys[K comparable, V any](m map[K]V) []K { return slices.Collect(maps.Keys(m)) }

func values[K comparable, V any](m map[K]V) []V { return slices.Collect(maps.Values(m)) }

// background runs f in a goroutine that Run waits for, also while the Hub
// stops: what ends then has something to wait for itself.
func (h *Hub) background(f func()) {
	h.mu.Lock()
	h.tasks++
	h.mu.Unlock()
	go func() {
		defer h.end()
		f()
	}()
}

// begin counts a task of the caller's goroutine; it is false if the Hub stops.
func (h *Hub) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.tasks++
	}
	return !h.closed
}

func (h *Hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks--; h.tasks == 0 {
		h.idle.Broadcast()
	}
}

// roomFor tells whether one more session would be taken.
func (h *Hub) roomFor() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roomForLocked()
}

func (h *Hub) roomForLocked() error {
	switch {
	case h.closed:
		return errClosed
	case len(h.sessions)+len(h.warm) >= h.cfg.MaxSessions:
		return wire.ErrSessionLimit
	}
	return nil
}

// add puts a session into the index.
func (h *Hub) add(s *Session) error {
	if err := h.index(s); err != nil {
		return err
	}
	h.userChanged(userKey{s.who.backend, s.who.userID})
	return nil
}

func (h *Hub) index(s *Session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.roomForLocked(); err != nil {
		return err
	}
	if h.sessions[s.id] != nil {
		return errTaken
	}
	if s.newcomer {
		if err := h.mayTakeLocked(s.who.backend); err != nil {
			return err
		}
	}
	h.sessions[s.id] = s
	h.metrics.began.Inc()
	h.countLocked(s.who.backend, 1)
	delete(h.forwards, s.id)
	if s.who.userID != "" {
		k := userKey{s.who.backend, s.who.userID}
		if h.users[k] == nil {
			h.users[k] = make(map[*Session]struct{})
		}
		h.users[k][s] = struct{}{}
	}
	h.metrics.sessions.Set(float64(len(h.sessions)))
	return nil
}

func (h *Hub) remove(s *Session) {
	h.unindex(s)
	h.userChanged(userKey{s.who.backend, s.who.userID})
}

func (h *Hub) unindex(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.id] == s {
		delete(h.sessions, s.id)
		h.countLocked(s.who.backend, -1)
	}
	k := userKey{s.who.backend, s.who.userID}
	if of := h.users[k]; of != nil {
		delete(of, s)
		if len(of) == 0 {
			delete(h.users, k)
		}
	}
	h.metrics.sessions.Set(float64(len(h.sessions)))
}

func (h *Hub) session(id store.SessionID) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[id]
}

func (h *Hub) replica(id store.RoomID) *replica {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replicas[id]
}

func (h *Hub) room(id store.RoomID) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[id]
}

func (h *Hub) peer(id store.NodeID) *peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peers[id]
}
