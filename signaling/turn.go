package signaling

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
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
	status, answer := h.takeTURNRequest(r)
	h.writeJSON(w, status, answer)
}

func (h *Hub) takeTURNRequest(r *http.Request) (status int, answer any) {
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
		return http.StatusBadRequest, &wire.Error{Code: "invalid_request", Message: "service=turn and an API key are wanted"}
	case !h.cfg.TURN.Relay() || h.cfg.TURNKey == "":
		return http.StatusNotFound, &wire.Error{Code: "no_turn", Message: "no TURN server is configured, or no key to it"}
	case !h.trusts(from) && !h.throttle.allowed(from):
		return http.StatusTooManyRequests, wire.ErrorFor(wire.ErrTooManyRequests)
	case !sameKey(key, h.cfg.TURNKey):
		h.throttle.failed(from)
		return http.StatusForbidden, &wire.Error{Code: "invalid_key", Message: "another API key is wanted"}
	}
	c, err := h.cfg.TURN.Credentials(query.Get("username"), time.Now())
	if err != nil {
		return http.StatusBadRequest, &wire.Error{Code: "invalid_request", Message: err.Error()}
	}
	return http.StatusOK, turnReply{c.Username, c.Password, int64(c.TTL.Seconds()), turn.Texts(c.URIs)}
}

// sameKey takes as long whatever they share.
func sameKey(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
