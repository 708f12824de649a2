package signaling

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/talkd/talkd/store"
)

// serverInfoReply is the answer of GET /api/v1/serverinfo. Nodes stand where the
// established server lists its connections to others.
type serverInfoReply struct {
	Version  string       `json:"version"`
	Features []string     `json:"features"`
	SFU      sfuInfo      `json:"sfu"`
	Node     store.NodeID `json:"node"`
	Peers    []peerInfo   `json:"grpc,omitempty"`

	Diallers []diallerInfo `json:"dialout,omitempty"`
}

type sfuInfo struct {
	Mode string `json:"mode"`
}

type peerInfo struct {
	Target    string `json:"target"`
	Connected bool   `json:"connected"`
	Version   string `json:"version,omitempty"`
}

// sfuMode is what the media server of this node is called.
const sfuMode = "embedded"

func (h *Hub) serverInfoHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.mayRead(w, r) {
		return
	}
	reply := serverInfoReply{Version: h.cfg.Version, Features: h.cfg.Features(), SFU: sfuInfo{sfuMode}, Node: h.deps.Self}
	for _, n := range h.deps.Nodes.Nodes() {
		if p := h.peer(n.ID); p != nil {
			reply.Peers = append(reply.Peers, peerInfo{string(n.ID), p.linked(), n.Version})
		}
	}
	reply.Diallers = h.allDiallers(r.Context())
	h.writeJSON(w, http.StatusOK, reply)
}

// statsReply is the answer of GET /api/v1/stats: what lives on this node.
type statsReply struct {
	Rooms    int `json:"rooms"` // of which it is the home
	Sessions int `json:"sessions"`
}

func (h *Hub) stats(w http.ResponseWriter, r *http.Request) {
	if !h.mayRead(w, r) {
		return
	}
	h.mu.Lock()
	reply := statsReply{Rooms: len(h.rooms), Sessions: len(h.sessions)}
	h.mu.Unlock()
	h.writeJSON(w, http.StatusOK, reply)
}

// mayRead tells whether facts about the server are for who asks. Nobody else learns
// more than that.
func (h *Hub) mayRead(w http.ResponseWriter, r *http.Request) bool {
	addr := remoteAddr(r)
	if slices.ContainsFunc(h.cfg.StatsFrom, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	h.writeJSON(w, http.StatusForbidden, map[string]string{"error": http.StatusText(http.StatusForbidden)})
	return false
}
