package signaling

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/turn"
)

// Where services put their key: the parameter of the draft, that of Janus, and a header,
// which no proxy writes into its log.
const (
	headerTURNKey = "X-TURN-API-Key"
	paramTURNKey  = "key"
	paramJanusKey = "api"
)

// doorTURNKey is where API keys are guessed, as guesses.TURNKey has it.
const doorTURNKey = "turn_key"

// turnReply is the answer of GET /turn/credentials (draft-uberti-behave-turn-rest-00).
type turnReply struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	TTL      int64    `json:"ttl"` // seconds
	URIs     []string `json:"uris"`
}

// turnCredentials is GET /turn/credentials: services such as a media server or a
// recorder, which know the key, get credentials for the TURN servers.
func (h *Hub) turnCredentials(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	status, answer, wait := h.takeTURNRequest(r)
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	h.writeJSON(w, status, answer)
}

func (h *Hub) takeTURNRequest(r *http.Request) (status int, answer any, retry time.Duration) {
	query, from := r.URL.Query(), remoteAddr(r)
	key := query.Get(paramTURNKey)
	if key == "" {
		key = query.Get(paramJanusKey)
	}
	if header := r.Header.Get(headerTURNKey); header != "" {
		key = header
	}
	switch {
	case query.Get("service") != "turn" || key == "":
		return http.StatusBadRequest, &wire.Error{Code: "invalid_request", Message: "service=turn and an API key are wanted"}, 0
	case !h.cfg.TURN.Relay() || h.cfg.TURNKey == "":
		return http.StatusNotFound, &wire.Error{Code: "no_turn", Message: "no TURN server is configured, or no key to it"}, 0
	}
	guesses := !h.trusts(from)
	if guesses {
		if wait := h.deps.Guesses.Wait(doorTURNKey, "", from); wait > 0 {
			return http.StatusTooManyRequests, wire.ErrorFor(wire.ErrTooManyRequests), wait
		}
	}
	if !sameKey(key, h.cfg.TURNKey) {
		if guesses {
			h.deps.Guesses.Wrong(doorTURNKey, "", from)
		}
		return http.StatusForbidden, &wire.Error{Code: "invalid_key", Message: "another API key is wanted"}, 0
	}
	c, err := h.cfg.TURN.Credentials(query.Get("username"), time.Now())
	if err != nil {
		return http.StatusBadRequest, &wire.Error{Code: "invalid_request", Message: err.Error()}, 0
	}
	return http.StatusOK, turnReply{c.Username, c.Password, int64(c.TTL.Seconds()), turn.Texts(c.URIs)}, 0
}

// sameKey takes as long whatever they share.
func sameKey(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
