package signaling

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// seals makes and reads what only this cluster can make. Session ids carry the
// node that made them, so that any node finds the way to a session it does not
// know; resume ids carry the node that has the session.
type seals struct {
	sessions, resumes, tickets, probes Sealer
}

func newSeals(seal func(purpose string) Sealer) seals {
	return seals{
		sessions: seal("signaling session"),
		resumes:  seal("signaling resume"),
		tickets:  seal("signaling ticket"),
		probes:   seal("signaling probe"),
	}
}

// newSessionID seals the node and something that no other session has.
func (s seals) newSessionID(node store.NodeID) (store.SessionID, error) {
	plain := make([]byte, 8, 8+len(node))
	_, _ = rand.Read(plain) // never fails since Go 1.24
	id := s.sessions.Seal(append(plain, node...))
	if id == "" {
		return "", errNoSecret
	}
	return store.SessionID(id), nil
}

// origin is the node that made the session id.
func (s seals) origin(id store.SessionID) (store.NodeID, error) {
	plain, err := s.sessions.Open(string(id))
	if err != nil || len(plain) < 8 {
		return "", errSealed
	}
	return store.ParseNodeID(string(plain[8:]))
}

// What of a client goes into a resume id, which clients send back whole. Without
// the rest a session ends with its node.
const (
	maxResume     = 2800 // sealed, within what wire takes
	maxResumeUser = 1024
)

// rebuildFor is how long after the backend was asked about a client another node
// may go on with its session.
const rebuildFor = 24 * time.Hour

// resumeID seals the key of the session, the node that has it, its id, and who
// its client is. It is empty as long as the cluster has no secret.
func (h *Hub) resumeID(of *Session) string {
	t := &signalpb.Resume{
		Session: string(of.id), Key: of.key[:], Node: string(h.deps.Self), Life: h.life, Incarnation: of.incarnation,
	}
	whole := &signalpb.Resume{
		Session: t.GetSession(), Key: t.GetKey(), Node: t.GetNode(), Life: t.GetLife(), Incarnation: t.GetIncarnation(),
		Complete: true, Authenticated: of.who.since.Unix(), Backend: string(of.who.backend),
		UserId: of.who.userID, GuestId: of.who.guestID, Features: of.who.features, Via: of.who.via,
	}
	if len(of.who.user) <= maxResumeUser {
		whole.User = of.who.user
	}
	if proto.Size(whole) <= maxResume && !of.who.stays() {
		t = whole
	}
	plain, err := proto.Marshal(t)
	if err != nil {
		return "" // a text that is not UTF-8
	}
	return h.seals.resumes.Seal(plain)
}

func (s seals) openResume(resumeID string) (*signalpb.Resume, error) {
	plain, err := s.resumes.Open(resumeID)
	if err != nil {
		return nil, errSealed
	}
	t := &signalpb.Resume{}
	if proto.Unmarshal(plain, t) != nil || t.GetSession() == "" || len(t.GetKey()) != len(sessionKey{}) {
		return nil, errSealed
	}
	return t, nil
}

// dropPatience is how long a resume waits for the connection that it replaces.
const dropPatience = 2 * time.Second

// resume takes a session up again: here, through a front if another node has it,
// and if that node is lost without its media.
func (h *Hub) resume(ctx context.Context, c *conn, m *wire.ClientMessage) error {
	t, err := h.seals.openResume(m.Hello.ResumeID)
	if err != nil {
		return fmt.Errorf("%w: %w", wire.ErrNoSuchSession, err)
	}
	if s := h.session(store.SessionID(t.GetSession())); s != nil && s.hasKey(t.GetKey()) {
		err = h.takeUp(c, s, m.ID, m.Hello.ResumeID, t.GetIncarnation())
	} else if err = h.resumeElsewhere(ctx, c, m, t); errors.Is(err, errUnreachable) {
		err = h.rebuild(c, m, t)
	}
	if err != nil {
		// Its client starts anew, and the room learns that the old session will not
		// come back.
		c.lost = store.SessionID(t.GetSession())
	}
	return err
}

// takeUp gives a session of this node a new connection: hello, what was queued,
// and who is in the call. Its media have gone on meanwhile, unless the client knows
// another incarnation of it: then the answer that told of this one was lost, and
// the client has connections to a node that the session has left.
func (h *Hub) takeUp(c *conn, s *Session, id, resumeID string, known uint32) error {
	as := wire.Resumed{Media: known == s.incarnation}
	if !as.Media {
		if resumeID = h.resumeID(s); resumeID == "" {
			return errNoSecret
		}
	}
	s.back.Lock()
	defer s.back.Unlock()
	if !s.dropConn() || !s.attach(c) {
		return wire.ErrNoSuchSession
	}
	h.metrics.hello(true)
	h.metrics.resumed.Inc()
	switch seat := s.currentSeat(); {
	case seat == nil:
	case as.Media:
		seat.replica.tellCall(s)
	default:
		as.Room = seat.replica.id.Name
		seat.replica.tellAll(s)
	}
	reply := h.helloReply(c, id, s, resumeID)
	reply.Hello.Resumed = &as
	c.begin(s, reply)
	return nil
}

// resumeElsewhere brings the client to the node that has its session: the one
// that sealed its resume id, the one which that sent it to, or the one that the
// session has been seen at since. errUnreachable means that it can be rebuilt.
func (h *Hub) resumeElsewhere(ctx context.Context, c *conn, m *wire.ClientMessage, t *signalpb.Resume) error {
	id := store.SessionID(t.GetSession())
	node := store.NodeID(t.GetNode())
	if _, seen := h.whereabouts.find(id); seen.GetIncarnation() > t.GetIncarnation() {
		node = store.NodeID(seen.GetEdge())
	}
	for range 2 { // one hop beyond the first
		if node == h.deps.Self {
			if to := h.forwarded(id); to != "" {
				node = to
			} else if h.life != t.GetLife() {
				return errUnreachable // this node has forgotten
			} else {
				return wire.ErrNoSuchSession
			}
		}
		to, err := h.front(ctx, c, m, t, node)
		if !errors.Is(err, errElsewhere) {
			return err
		}
		if to == "" || to == node {
			break
		}
		node = to
	}
	return wire.ErrNoSuchSession
}

// rebuild makes the session anew, for a client that can do so with its media. It
// is put back into its room if this node has a replica of it.
func (h *Hub) rebuild(c *conn, m *wire.ClientMessage, t *signalpb.Resume) error {
	features := m.Hello.Features
	if len(features) == 0 {
		features = t.GetFeatures()
	}
	since := time.Unix(t.GetAuthenticated(), 0)
	if !t.GetComplete() || time.Since(since) > rebuildFor || !slices.Contains(features, wire.ClientResumeMedia) {
		return wire.ErrNoSuchSession
	}
	if err := h.roomFor(); err != nil {
		return err
	}
	id := store.SessionID(t.GetSession())
	r, seen := h.whereabouts.find(id)
	s := h.newSession(id, identity{
		backend:  store.BackendID(t.GetBackend()),
		userID:   t.GetUserId(),
		via:      t.GetVia(),
		guestID:  t.GetGuestId(),
		user:     t.GetUser(),
		features: features,
		since:    since,
	}, max(t.GetIncarnation(), seen.GetIncarnation())+1)
	copy(s.key[:], t.GetKey()) // so that the resume id of before finds it, if this answer is lost
	err := h.start(c, m.ID, s, func() *wire.Resumed {
		if r != nil && s.goOn(r, seen) {
			return &wire.Resumed{Room: r.id.Name}
		}
		return &wire.Resumed{}
	})
	if errors.Is(err, errTaken) { // its client has asked twice
		if s := h.session(id); s != nil && s.hasKey(t.GetKey()) {
			return h.takeUp(c, s, m.ID, m.Hello.ResumeID, t.GetIncarnation())
		}
		return wire.ErrNoSuchSession
	}
	if err == nil {
		h.metrics.rebuilt.Inc()
		h.log.Info("session rebuilt", keySession, string(id), "incarnation", s.incarnation, keyNode, t.GetNode())
	}
	return err
}

// goOn takes a session that was rebuilt back to its room.
func (s *Session) goOn(r *replica, as *signalpb.Member) bool {
	st := &seat{replica: r, roomSession: wire.RoomSessionID(as.GetRoomSession())}
	if as.GetHasPermissions() {
		st.permissions = append([]string{}, as.GetPermissions()...) // none is not nil
	}
	s.desk.Enter(r.id.String())
	return r.takeOver(s, st, nil)
}

// dropConn ends a connection that the client has given up before we noticed,
// and waits until nothing of it is being written: what it could not send comes
// first on the next one.
func (s *Session) dropConn() bool {
	s.mu.Lock()
	old := s.conn
	s.mu.Unlock()
	if old == nil {
		return true
	}
	old.abandon()
	ctx, cancel := context.WithTimeout(s.hub.ctx, dropPatience)
	defer cancel()
	select {
	case <-old.done:
		return true
	case <-ctx.Done():
		return false
	}
}
