package signaling

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// seals makes and reads what only this cluster can make. Session ids carry the
// node that made them, so that any node finds the way to a session it does not
// know; resume ids carry the node that has the session.
type seals struct {
	sessions, resumes, tickets Sealer
}

func newSeals(seal func(purpose string) Sealer) seals {
	return seals{
		sessions: seal("signaling session"),
		resumes:  seal("signaling resume"),
		tickets:  seal("signaling ticket"),
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

// resumeID seals the key of the session, the node that has it, and its id. It
// is empty as long as the cluster has no secret.
func (s seals) resumeID(node store.NodeID, of *Session) string {
	plain := make([]byte, 0, len(of.key)+1+len(node)+len(of.id))
	plain = append(plain, of.key[:]...)
	plain = append(plain, byte(len(node)))
	plain = append(plain, node...)
	return s.resumes.Seal(append(plain, of.id...))
}

func (s seals) openResume(resumeID string) (node store.NodeID, id store.SessionID, key []byte, err error) {
	plain, err := s.resumes.Open(resumeID)
	n := len(sessionKey{})
	if err != nil || len(plain) < n+1 || len(plain) < n+1+int(plain[n]) {
		return "", "", nil, errSealed
	}
	end := n + 1 + int(plain[n])
	return store.NodeID(plain[n+1 : end]), store.SessionID(plain[end:]), plain[:n], nil
}

// takeOver is how long a resume waits for the connection that it replaces.
const takeOver = 2 * time.Second

// resume takes a session up again: hello, what was queued, and who is in the
// call. Its media have gone on meanwhile.
//
// A session of another node is not found here. Its client starts anew, and the
// room learns that the old session will not come back.
func (h *Hub) resume(c *conn, m *wire.ClientMessage) error {
	node, id, key, err := h.seals.openResume(m.Hello.ResumeID)
	if err != nil {
		return fmt.Errorf("%w: %w", wire.ErrNoSuchSession, err)
	}
	s := h.session(id)
	if node != h.deps.Self || s == nil || !s.hasKey(key) {
		c.lost = id
		return wire.ErrNoSuchSession
	}
	if !s.dropConn() {
		c.lost = id
		return wire.ErrNoSuchSession
	}
	if !s.attach(c) {
		return wire.ErrNoSuchSession
	}
	h.metrics.hello(true)
	h.metrics.resumed.Inc()
	if seat := s.room(); seat != nil {
		seat.replica.tellAll(s)
	}
	c.begin(s, h.helloReply(m.ID, s, m.Hello.ResumeID))
	return nil
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
	ctx, cancel := context.WithTimeout(s.hub.ctx, takeOver)
	defer cancel()
	select {
	case <-old.done:
		return true
	case <-ctx.Done():
		return false
	}
}
