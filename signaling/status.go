package signaling

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// RoomStatus is what the home of a room knows of it.
type RoomStatus struct {
	// Since is when the call began; zero without a call.
	Since    time.Time
	Sessions []SessionStatus
}

// SessionStatus is a session in a room.
type SessionStatus struct {
	ID          store.SessionID
	RoomSession wire.RoomSessionID
	UserID      string
	InCall      int // flags
}

// statusPatience is how long the home may be changing while its status is asked
// for.
const statusPatience = 2 * time.Second

// RoomStatus asks the home of a room who is there. A room without a home is
// empty; asking does not place it.
func (h *Hub) RoomStatus(ctx context.Context, id store.RoomID) (RoomStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	for began := time.Now(); ; {
		home, ok := h.deps.Places.Lookup(id)
		if !ok {
			return RoomStatus{}, nil
		}
		since, members, err := h.askStatus(ctx, id, home)
		if err == nil {
			return roomStatus(since, members), nil
		}
		if !errors.Is(err, ErrNotHome) || time.Since(began) > statusPatience {
			return RoomStatus{}, err
		}
		select {
		case <-ctx.Done():
			return RoomStatus{}, err
		case <-time.After(joinRetry):
		}
	}
}

func roomStatus(since time.Time, members []*signalpb.Member) RoomStatus {
	s := RoomStatus{Since: since}
	for _, m := range members {
		s.Sessions = append(s.Sessions, SessionStatus{
			ID:          store.SessionID(m.GetSession()),
			RoomSession: wire.RoomSessionID(m.GetRoomSession()),
			UserID:      m.GetUserId(),
			InCall:      int(m.GetInCall()),
		})
	}
	return s
}

func (h *Hub) askStatus(ctx context.Context, id store.RoomID, home store.Home) (time.Time, []*signalpb.Member, error) {
	if home.Node == h.deps.Self {
		return h.statusHere(ctx, id, home.Epoch)
	}
	return h.statusThere(ctx, home, id)
}

func (h *Hub) statusHere(ctx context.Context, id store.RoomID, epoch uint64) (since time.Time, members []*signalpb.Member, err error) {
	r, err := h.homeRoom(id, epoch)
	if errors.Is(err, errStale) {
		err = ErrNotHome
	}
	if err != nil {
		return time.Time{}, nil, err
	}
	err = r.do(ctx, func() error {
		since, members = r.status()
		return r.notYet()
	})
	if err != nil {
		return time.Time{}, nil, err // the others may still be written to
	}
	return since, members, nil
}

// Report is what lives on this node.
type Report struct {
	Sessions int
	Rooms    []RoomReport
}

// RoomReport is a room that this node is an edge of.
type RoomReport struct {
	Room                              store.RoomID
	Sessions, Publishers, Subscribers int
}

// Report counts what lives on this node.
func (h *Hub) Report() Report {
	h.mu.Lock()
	report := Report{Sessions: len(h.sessions)}
	replicas := values(h.replicas)
	h.mu.Unlock()
	for _, r := range replicas {
		r.mu.Lock()
		local := values(r.local)
		r.mu.Unlock()
		room := RoomReport{Room: r.id, Sessions: len(local)}
		for _, s := range local {
			p, n := s.desk.Counts()
			room.Publishers += p
			room.Subscribers += n
		}
		report.Rooms = append(report.Rooms, room)
	}
	slices.SortFunc(report.Rooms, func(a, b RoomReport) int { return strings.Compare(a.Room.String(), b.Room.String()) })
	return report
}
