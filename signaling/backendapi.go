package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// backendRequest is POST /api/v1/room/{roomid}: what a Nextcloud tells of a
// room of its own. A name means a room of the sender, so those of another
// backend cannot be reached.
func (h *Hub) backendRequest(w http.ResponseWriter, r *http.Request) {
	status, answer, err := h.takeBackendRequest(w, r)
	h.metrics.backendRequest(status)
	if err != nil {
		h.log.Debug("backend request refused", "status", status, keyError, err)
		h.complaints.about(err, r.Header.Get(backend.HeaderBackend))
		if answer == nil {
			answer = map[string]string{"error": http.StatusText(status)}
		}
	}
	if answer == nil {
		answer = struct{}{}
	}
	h.writeJSON(w, status, answer)
}

func (h *Hub) takeBackendRequest(w http.ResponseWriter, r *http.Request) (status int, answer any, err error) {
	if h.deps.Registry == nil {
		return http.StatusForbidden, nil, backend.ErrUnknownBackend
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, backend.MaxRequest))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return http.StatusRequestEntityTooLarge, nil, err
		}
		return http.StatusBadRequest, nil, err
	}
	sender, err := h.deps.Registry.VerifyRequest(r.Header, body)
	if err != nil {
		return http.StatusForbidden, nil, err
	}
	id := store.RoomID{Backend: sender, Name: r.PathValue("roomid")}
	if err := id.Validate(); err != nil {
		return http.StatusNotFound, nil, err
	}
	req, err := backend.DecodeRequest(body)
	switch {
	case errors.Is(err, backend.ErrBadNumber):
		return dialoutRefused(err)
	case err != nil:
		return http.StatusBadRequest, nil, err
	case req.Type == backend.TypeDialout:
		req.Dialout.Via = h.deps.Registry.Via(r.Header.Get(backend.HeaderBackend))
		return h.takeDialout(r.Context(), id, req.Dialout)
	}
	err = h.Notify(r.Context(), id, req)
	switch {
	case err == nil, errors.Is(err, ErrNoSession):
		// That nobody is there is no mistake of the backend.
		return http.StatusOK, nil, nil
	case errors.Is(err, backend.ErrBadRequest):
		return http.StatusBadRequest, nil, err
	default:
		return http.StatusServiceUnavailable, nil, err
	}
}

func (h *Hub) welcome(w http.ResponseWriter, _ *http.Request) {
	h.writeJSON(w, http.StatusOK, map[string]string{"nextcloud-spreed-signaling": "Welcome", "version": h.cfg.Version})
}

func (h *Hub) writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	h.sayFeatures(w)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the sender may be gone
}

// sayFeatures tells what the server can, to who looks before anything is said.
func (h *Hub) sayFeatures(w http.ResponseWriter) {
	w.Header().Set(backend.HeaderFeatures, strings.Join(h.cfg.Features(), ", "))
}

// notifyTimeout bounds a request of a backend, with a change of the home in
// between.
const notifyTimeout = 5 * time.Second

// Notify tells a room, wherever its home is, and the users concerned what a
// backend says. A room without a home has nobody to tell. ErrNoSession means
// that of the participants that changed nobody is in the room.
func (h *Hub) Notify(ctx context.Context, id store.RoomID, req backend.Request) error {
	if err := req.Validate(); err != nil {
		return err
	}
	out, err := h.notifyRoom(ctx, id, req)
	h.notifyUsers(id, req, out)
	return err
}

// notifyRoom tells the room, and says which sessions had to leave it.
func (h *Hub) notifyRoom(ctx context.Context, id store.RoomID, req backend.Request) (out []store.SessionID, err error) {
	if req.Type == backend.TypeInvite || req.Type == backend.TypeUpdate && len(req.Update.Properties) == 0 {
		return nil, nil // for lists of rooms only
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	for {
		home, ok := h.findHome(ctx, id)
		if !ok {
			if req.Type == backend.TypeInCall && !req.InCall.All && len(req.InCall.Changed) > 0 {
				return nil, ErrNoSession
			}
			return nil, nil
		}
		if home.Node == h.deps.Self {
			out, err = h.notifyHere(ctx, id, home.Epoch, req)
		} else {
			out, err = h.notifyThere(ctx, home, id, req)
		}
		if !errors.Is(err, ErrNotHome) && !errors.Is(err, ErrDetached) && !errors.Is(err, errStale) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(joinRetry):
		}
	}
}

// findTimeout is how long the cluster is asked for a home, and so how long a Nextcloud
// waits while there is no leader. It is longer than an election takes.
const findTimeout = 2 * time.Second

// findHome looks for the home of a room. One that was decided on a moment ago this node
// may not have heard of, and what the backend says is for those who are there.
func (h *Hub) findHome(ctx context.Context, id store.RoomID) (store.Home, bool) {
	if home, ok := h.deps.Places.Lookup(id); ok {
		return home, true
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	home, err := h.deps.Places.Find(ctx, id)
	return home, err == nil
}

// notifyHere tells a room whose home is this node.
func (h *Hub) notifyHere(ctx context.Context, id store.RoomID, epoch uint64, req backend.Request) (out []store.SessionID, err error) {
	r, err := h.homeRoom(id, epoch)
	if err != nil {
		return nil, err
	}
	err = r.do(ctx, func() error {
		var err error
		out, err = r.notify(req)
		return err
	})
	if err != nil {
		return nil, err // out may still be written to
	}
	return out, nil
}

// notifyUsers tells users whose lists of rooms change; those who had to leave
// the room know already.
func (h *Hub) notifyUsers(id store.RoomID, req backend.Request, out []store.SessionID) {
	tell := func(users []string, m wire.ServerMessage) { h.toUsers(id.Backend, users, wire.Encode(m), out...) }
	switch req.Type {
	case backend.TypeInvite:
		tell(req.Invite.UserIDs, wire.InviteEvent(id.Name, req.Invite.Properties))
		tell(without(req.Invite.AllUserIDs, req.Invite.UserIDs), wire.RoomUpdateEvent(id.Name, req.Invite.Properties))
	case backend.TypeDisinvite:
		tell(req.Disinvite.UserIDs, wire.DisinviteEvent(id.Name, wire.ReasonDisinvited))
		tell(without(req.Disinvite.AllUserIDs, req.Disinvite.UserIDs), wire.RoomUpdateEvent(id.Name, req.Disinvite.Properties))
	case backend.TypeUpdate:
		tell(req.Update.UserIDs, wire.RoomUpdateEvent(id.Name, req.Update.Properties))
	case backend.TypeDelete:
		tell(req.Delete.UserIDs, wire.DisinviteEvent(id.Name, wire.ReasonDeleted))
	}
}

func without(all, some []string) []string {
	gone := make(map[string]bool, len(some))
	for _, id := range some {
		gone[id] = true
	}
	var rest []string
	for _, id := range all {
		if !gone[id] {
			rest = append(rest, id)
		}
	}
	return rest
}
