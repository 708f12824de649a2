package signaling

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// A probe is a client of an operator, who wants to see whether media come through at each
// node. It is an internal client of a backend that there is not, so that it meets nobody
// but other probes; any node lets it in that has the secret of the cluster.

// probes are the backend of probes. Ids of Nextclouds are hexadecimal.
const probes store.BackendID = "doctor"

// probeLifetime is how long a ticket lets probes in.
const probeLifetime = 2 * time.Minute

// Probe is what clients need to be one.
type Probe struct {
	Room   string
	Ticket string
}

// NewProbe makes a ticket, and names a room that nobody else is in.
func (h *Hub) NewProbe() (Probe, error) {
	p := Probe{Room: rand.Text(), Ticket: h.seals.probe(time.Now().Add(probeLifetime))}
	if p.Ticket == "" {
		return Probe{}, errNoSecret
	}
	return p, nil
}

// probe seals until when it is good; empty without a secret of the cluster.
func (s seals) probe(expires time.Time) string {
	return s.probes.Seal(binary.BigEndian.AppendUint64(nil, uint64(expires.UnixMilli())))
}

// ValidProbe tells whether a ticket is one of this cluster, and still good.
func (h *Hub) ValidProbe(ticket string) bool { return h.openProbe(ticket) == nil }

func (h *Hub) openProbe(ticket string) error {
	plain, err := h.seals.probes.Open(ticket)
	if err != nil || len(plain) != 8 {
		return fmt.Errorf("%w: %w", wire.ErrInvalidTicket, errSealed)
	}
	if time.Now().After(time.UnixMilli(int64(binary.BigEndian.Uint64(plain))).Add(clockSkew)) {
		return fmt.Errorf("%w: ticket", wire.ErrTokenExpired)
	}
	return nil
}

// welcomeProbe lets a probe in.
func (h *Hub) welcomeProbe(c *conn, m *wire.ClientMessage) error {
	ticket, err := m.Hello.Auth.Ticket()
	if err != nil {
		return err
	}
	if err := h.openProbe(ticket); err != nil {
		return err
	}
	sid, err := h.seals.newSessionID(h.deps.Self)
	if err != nil {
		return err
	}
	s := h.newSession(sid, identity{backend: probes, internal: true, since: time.Now()}, 1)
	s.own.inCall.Store(internalInCall)
	return h.start(c, m.ID, s, nil)
}
