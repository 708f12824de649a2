package signaling

import (
	"slices"

	"github.com/talkd/talkd/signaling/wire"
)

// greeting is what every client hears first: of this node and of the others. It is
// made anew when those change, not for each client.
type greeting struct {
	info    wire.ServerInfo // not to be changed
	welcome []byte          // that, as it is sent
	origins map[string]bool // of the URLs of all nodes
}

func (h *Hub) newGreeting(nodes []Node) *greeting {
	g := &greeting{
		info:    wire.ServerInfo{Version: h.cfg.Version, Features: Features(), Node: h.deps.Self, Nodes: aliveOf(nodes)},
		origins: make(map[string]bool),
	}
	g.welcome = wire.Encode(wire.WelcomeMessage(g.info))
	if o, ok := origin(h.cfg.PublicURL); ok {
		g.origins[o] = true
	}
	for _, n := range nodes {
		if o, ok := origin(n.URL); ok {
			g.origins[o] = true
		}
	}
	return g
}

// greets is the greeting as it is now; before the Hub runs nobody keeps one.
func (h *Hub) greets() *greeting {
	if g := h.greeting.Load(); g != nil {
		return g
	}
	return h.newGreeting(h.deps.Nodes.Nodes())
}

// greetingFollows notes how the nodes are now.
func (h *Hub) greetingFollows(nodes []Node) {
	if !slices.Equal(h.greeted, nodes) {
		h.greeted = nodes
		h.greeting.Store(h.newGreeting(nodes))
	}
}

// aliveOf are the nodes that a client may turn to.
func aliveOf(nodes []Node) (refs []wire.NodeRef) {
	for _, n := range nodes {
		if n.Alive && n.URL != "" {
			refs = append(refs, wire.NodeRef{ID: n.ID, URL: n.URL})
		}
	}
	return refs
}

// ownOrigin tells whether a URL is that of any node.
func (h *Hub) ownOrigin(rawURL string) bool {
	o, ok := origin(rawURL)
	return ok && h.greets().origins[o]
}
