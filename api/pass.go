package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/store"
)

// passKind says what a sealed text is good for; one is never taken for another.
type passKind byte

const (
	passGuest   passKind = 'g' // who a guest is, towards the Talk API
	passSession passKind = 's' // a place in a conversation: the Talk session id
	passTicket  passKind = 't' // who somebody is, towards signaling
)

// How long passes are taken. Each joining makes new ones.
const (
	guestLifetime   = 24 * time.Hour
	sessionLifetime = 24 * time.Hour
	ticketLifetime  = 12 * time.Hour
)

// maxSessionID bounds a Talk session id, in signaling too.
const maxSessionID = 512

// maxGuestName is in characters. A session id carries the name, and has to
// stay below maxSessionID.
const maxGuestName = 64

// pass is what the cluster seals instead of keeping it.
type pass struct {
	kind   passKind
	issued time.Time // in seconds
	room   string    // "" on tickets
	guest  bool
	actor  string // id of the user or guest
	name   string // of a guest
}

func (p pass) of(a actor) bool {
	return p.actor == a.id && (p.guest && a.kind == store.ActorGuests || !p.guest && a.kind == store.ActorUsers)
}

// seal writes the pass: kind, time, guest or not, then three texts, each after
// its length.
func (s *Server) seal(p pass) (string, error) {
	b := []byte{byte(p.kind)}
	b = binary.AppendUvarint(b, uint64(max(0, p.issued.Unix())))
	if p.guest {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	for _, text := range []string{p.room, p.actor, p.name} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	sealed := s.sealer.Seal(b)
	if sealed == "" {
		return "", fmt.Errorf("%w: no secret to seal with yet", ErrUnavailable)
	}
	return sealed, nil
}

// open reads a pass of this kind. A lifetime of 0 takes it at any age.
func (s *Server) open(kind passKind, sealed string, lifetime time.Duration) (pass, error) {
	b, err := s.sealer.Open(sealed)
	if err != nil {
		return pass{}, fmt.Errorf("%w: %w", errBadPass, err)
	}
	p, err := decodePass(b)
	if err != nil {
		return pass{}, err
	}
	if p.kind != kind {
		return pass{}, errBadPass
	}
	if lifetime > 0 && s.now().Sub(p.issued) > lifetime {
		return pass{}, errPassExpired
	}
	return p, nil
}

func decodePass(b []byte) (pass, error) {
	if len(b) == 0 {
		return pass{}, errBadPass
	}
	p := pass{kind: passKind(b[0])}
	issued, n := binary.Uvarint(b[1:])
	if n <= 0 || issued > 1<<40 || len(b) < 2+n || b[1+n] > 1 {
		return pass{}, errBadPass
	}
	p.issued = time.Unix(int64(issued), 0).UTC()
	p.guest = b[1+n] == 1
	b = b[2+n:]
	for _, text := range []*string{&p.room, &p.actor, &p.name} {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return pass{}, errBadPass
		}
		*text = string(b[n : n+int(size)])
		b = b[n+int(size):]
	}
	if len(b) > 0 {
		return pass{}, errBadPass
	}
	return p, nil
}

// session makes the id of a Talk session.
func (s *Server) session(room string, a actor) (string, error) {
	p := pass{kind: passSession, issued: s.now(), room: room, guest: a.kind == store.ActorGuests, actor: a.id}
	if p.guest {
		p.name = a.name
	}
	id, err := s.seal(p)
	if err == nil && len(id) > maxSessionID {
		return "", fmt.Errorf("session id of %d characters", len(id))
	}
	return id, err
}

// openSession reads the session of a room, of any age if old is set.
func (s *Server) openSession(room, id string, old bool) (pass, error) {
	lifetime := sessionLifetime
	if old {
		lifetime = 0
	}
	if len(id) > maxSessionID {
		return pass{}, errBadPass
	}
	p, err := s.open(passSession, id, lifetime)
	if err != nil {
		return pass{}, err
	}
	if p.room != room {
		return pass{}, fmt.Errorf("%w: session of another conversation", errBadPass)
	}
	return p, nil
}

// isBadPass tells what is the bearer's fault.
func isBadPass(err error) bool { return errors.Is(err, errBadPass) || errors.Is(err, errPassExpired) }
