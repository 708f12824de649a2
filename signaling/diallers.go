package signaling

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// diallerInfo is an internal client that makes calls, as the operator sees it. Of one
// that is away for a moment no more is told than that.
type diallerInfo struct {
	SessionID store.SessionID `json:"sessionid"`
	Connected bool            `json:"connected"`
	Address   string          `json:"address,omitempty"`
	UserAgent string          `json:"useragent,omitempty"`
	Version   string          `json:"version,omitempty"`
	Features  []string        `json:"features,omitempty"`
}

// diallers are those of this node.
func (h *Hub) diallers() []diallerInfo {
	h.mu.Lock()
	sessions := values(h.sessions)
	h.mu.Unlock()
	var list []diallerInfo
	for _, s := range sessions {
		if s.mayDial() {
			list = append(list, s.diallerInfo())
		}
	}
	return list
}

func (s *Session) diallerInfo() diallerInfo {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return diallerInfo{SessionID: s.id}
	}
	_, version, _ := strings.Cut(c.agent, "/")
	version, _, _ = strings.Cut(version, " ")
	return diallerInfo{
		SessionID: s.id, Connected: true,
		Address: c.addr.String(), UserAgent: c.agent, Version: version, Features: s.who.features,
	}
}

// allDiallers are those of all nodes that answer.
func (h *Hub) allDiallers(ctx context.Context) []diallerInfo {
	list := h.diallers()
	question := &signalpb.DialoutQuestion{Search: true, List: true}
	for reply := range h.askDiallers(ctx, question) {
		for _, raw := range reply.GetClients() {
			var d diallerInfo
			if json.Unmarshal(raw, &d) == nil {
				list = append(list, d)
			}
		}
	}
	slices.SortFunc(list, func(a, b diallerInfo) int { return strings.Compare(string(a.SessionID), string(b.SessionID)) })
	return list
}

// listDiallers says who of this node makes calls.
func (h *Hub) listDiallers() *signalpb.DialoutReply {
	reply := &signalpb.DialoutReply{}
	for _, d := range h.diallers() {
		if raw, err := json.Marshal(d); err == nil { // texts can always be written
			reply.Clients = append(reply.Clients, raw)
		}
	}
	return reply
}

// maxAgent is as much of the name of a client's program as is kept.
const maxAgent = 200

// agentOf is the name of the client's program. Those of browsers are long, many, and
// of no interest.
func agentOf(r *http.Request) string {
	if fromPage(r) {
		return ""
	}
	agent := r.UserAgent()
	return strings.Clone(strings.ToValidUTF8(agent[:min(len(agent), maxAgent)], ""))
}

// mayDial tells whether it is the session of a client that makes calls.
func (s *Session) mayDial() bool {
	return s.who.internal && slices.Contains(s.who.features, wire.ClientStartDialout)
}
