package signaling

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/store"
)

// leavePatience is how long a Nextcloud that does not answer is waited for, to be
// told that somebody left. By then it has found out for lack of pings.
const leavePatience = 2 * time.Minute

// leaveBackend tells a Nextcloud that somebody left. If it does not answer, it is told
// later, until then: nobody's question has to wait for that.
func (h *Hub) leaveBackend(ctx context.Context, r backend.RoomRequest, until time.Time) error {
	err := h.deps.Backends.LeaveRoom(ctx, r)
	if errors.Is(err, backend.ErrUnreachable) && ctx.Err() == nil {
		h.leaveLater(r, until)
	}
	return err
}

// leaveLater tells a Nextcloud that somebody left when it answers again, unless the
// participant is back by then.
func (h *Hub) leaveLater(r backend.RoomRequest, until time.Time) {
	of := r.Room.Backend
	if !h.waitsToLeave(of, 1) {
		return
	}
	h.background(func() {
		ctx, cancel := context.WithDeadline(h.ctx, until)
		defer cancel()
		answers := h.deps.Backends.Await(ctx, of, r.Via)
		h.waitsToLeave(of, -1)
		if !answers {
			return
		}
		status, err := h.RoomStatus(ctx, r.Room)
		if err != nil || slices.ContainsFunc(status.Sessions, func(s SessionStatus) bool { return s.RoomSession == r.SessionID }) {
			return
		}
		h.callback(of, func(ctx context.Context) error { return h.leaveBackend(ctx, r, until) })
	})
}

// waitsToLeave counts those who wait to be told to a backend. It is false if there are
// too many.
func (h *Hub) waitsToLeave(of store.BackendID, n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.callbacks[of] // there has been one
	if n > 0 && c.leaving >= maxCallbacks {
		h.metrics.overflow("backend")
		return false
	}
	c.leaving += n
	return true
}
