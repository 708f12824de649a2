package signaling

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/signaling/wire"
)

// metrics of a Hub. No label is per room or session.
type metrics struct {
	conns, sessions, rooms, links, farRooms prometheus.Gauge

	began, redirects, moved, broadcasts, resumed, unresumed, fronts, rebuilt, silences, gaps, detachedSays, panics prometheus.Counter

	messages, hellos, joins, moves, overflows, backendRequests, interruptions *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var all []prometheus.Collector
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "talkd", Subsystem: "signaling", Name: name, Help: help})
		all = append(all, g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "talkd", Subsystem: "signaling", Name: name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "talkd", Subsystem: "signaling", Name: name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	m := &metrics{
		conns:           gauge("connections", "WebSockets."),
		sessions:        gauge("sessions", "Sessions on this node, also those whose client is away."),
		rooms:           gauge("home_rooms", "Rooms whose home is this node."),
		links:           gauge("links", "Streams to other nodes."),
		began:           counter("sessions_total", "Sessions that began here: new ones, and those that came from other nodes."),
		farRooms:        gauge("federated_sessions", "Sessions that are in a room at another signaling server."),
		interruptions:   counters("federation_interruptions_total", "Connections to other signaling servers that broke, by what happened then: resumed, renewed under another session there, or given_up.", "result"),
		redirects:       counter("redirects_total", "Joins that were answered with another node."),
		moved:           counter("moved_sessions_total", "Sessions that came here with a ticket."),
		broadcasts:      counter("user_broadcasts_total", "Messages to users that went to all nodes, as the node that knows where they are could not be asked."),
		resumed:         counter("resumed_sessions_total", "Sessions that were taken up again."),
		unresumed:       counter("resumes_failed_total", "Hellos that were to take a session up again and were refused."),
		fronts:          counter("fronts_total", "Clients that came here with a session of another node, which has it."),
		rebuilt:         counter("rebuilt_sessions_total", "Sessions that go on here without their media, as their node is lost."),
		silences:        counter("silent_nodes_total", "Streams to other nodes that were given up because the other end hangs or does not hear."),
		gaps:            counter("gaps_total", "Events that were missing, so that a room started over with a snapshot."),
		detachedSays:    counter("detached_messages_total", "Messages that went to other edges without the home."),
		panics:          counter("panics_total", "Rooms that had to begin anew and connections that were lost, as their code failed."),
		messages:        counters("messages_total", "Messages of clients, by type.", "type"),
		hellos:          counters("hellos_total", "Hellos, by result.", "result"),
		joins:           counters("joins_total", "Attempts to enter a room, by result.", "result"),
		moves:           counters("moves_total", "Sessions that were to move with their media, by what happened: asked here to go and then late, aborted or failed, or done at the node that they came to.", "result"),
		overflows:       counters("overflows_total", "What was refused or given up because of a bound: of a client that is slow, away or says too much, of an address, a room, its transient data, a backend, a peer, a frame for it.", "queue"),
		backendRequests: counters("backend_requests_total", "Requests of backends, by status.", "status"),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) received(messageType string) { m.messages.WithLabelValues(messageType).Inc() }
func (m *metrics) interrupted(result string)   { m.interruptions.WithLabelValues(result).Inc() }
func (m *metrics) overflow(queue string)       { m.overflows.WithLabelValues(queue).Inc() }
func (m *metrics) backendRequest(status int) {
	m.backendRequests.WithLabelValues(strconv.Itoa(status)).Inc()
}

// What happens to a session that is to move. One that was asked is counted once
// more: by the node that it comes to when it is done, as the other one may be gone
// by then, and otherwise by the node that asked it.
const (
	moveAsked   = "asked"
	moveDone    = "done"
	moveLate    = "late"
	moveAborted = "aborted"
	moveFailed  = "failed" // it ended meanwhile, or went on at yet another node
)

func (m *metrics) move(result string, n int) {
	if n > 0 {
		m.moves.WithLabelValues(result).Add(float64(n))
	}
}

func (m *metrics) hello(ok bool) {
	result := "refused"
	if ok {
		result = "done"
	}
	m.hellos.WithLabelValues(result).Inc()
}

func (m *metrics) joined(err error) {
	result := "done"
	switch {
	case err == nil:
	case wire.ErrorFor(err).Code == wire.CodeRedirect:
		result = "redirected"
	case errors.Is(err, wire.ErrProcessingFailed):
		result = "failed"
	default:
		result = "refused"
	}
	m.joins.WithLabelValues(result).Inc()
}
