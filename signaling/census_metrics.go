package signaling

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/store"
)

// perBackend counts sessions and rooms by their Nextcloud, and tells its limit, when somebody asks. Operators decide how many of those
// there are.
type perBackend struct {
	h                      *Hub
	sessions, rooms, limit *prometheus.Desc
}

func newPerBackend(h *Hub) *perBackend {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("talkd", "signaling", name), help, []string{"backend"}, nil)
	}
	return &perBackend{
		h:        h,
		sessions: desc("backend_sessions", "Sessions on this node, by their Nextcloud; the embedded backend is one too."),
		rooms:    desc("backend_rooms", "Rooms whose home is this node, by their Nextcloud."),
		limit:    desc("backend_session_limit", "Sessions that people of a Nextcloud may have in the whole cluster, where that is limited."),
	}
}

// Describe meets prometheus.Collector.
func (p *perBackend) Describe(to chan<- *prometheus.Desc) {
	to <- p.sessions
	to <- p.rooms
	to <- p.limit
}

// Collect meets prometheus.Collector.
func (p *perBackend) Collect(to chan<- prometheus.Metric) {
	sessions, rooms := p.h.perBackend()
	for desc, counts := range map[*prometheus.Desc]map[store.BackendID]int{p.sessions: sessions, p.rooms: rooms} {
		for id, n := range counts {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), backendLabel(id))
		}
	}
	if p.h.deps.Registry == nil {
		return
	}
	for _, id := range p.h.deps.Registry.IDs() {
		if most := p.h.deps.Registry.Limits(id).Sessions; most > 0 {
			to <- prometheus.MustNewConstMetric(p.limit, prometheus.GaugeValue, float64(most), backendLabel(id))
		}
	}
}

func backendLabel(id store.BackendID) string {
	if id == store.Embedded {
		return "embedded"
	}
	return string(id)
}

// perBackend is how many sessions are here, and how many rooms have their home here. Internal clients are sessions of
// the Nextcloud that they name.
func (h *Hub) perBackend() (sessions, rooms map[store.BackendID]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sessions, rooms = make(map[store.BackendID]int), make(map[store.BackendID]int)
	if h.deps.Registry != nil {
		for _, id := range h.deps.Registry.IDs() {
			sessions[id], rooms[id] = 0, 0
		}
	}
	embedded := len(h.sessions)
	for id, n := range h.census.here {
		sessions[id] = n
		embedded -= n
	}
	if embedded > 0 {
		sessions[store.Embedded] = embedded
	}
	for id := range h.rooms {
		rooms[id.Backend]++
	}
	return sessions, rooms
}
