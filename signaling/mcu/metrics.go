package mcu

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/signaling/wire"
)

// What was negotiated, as metrics name it.
const (
	sidePublish   = "publish"
	sideSubscribe = "subscribe"
	sideUpdate    = "update"
)

// How a negotiation ended.
const (
	resultDone       = "done"
	resultRefused    = "refused" // what the client sent, or may not have
	resultFailed     = "failed"  // ours, or nobody published in time
	resultSuperseded = "superseded"
)

// What became of the connections to a publication that was replaced.
const (
	rebindDone   = "rebound"
	rebindNew    = "renewed"
	rebindFailed = "failed"
)

// Metrics of all desks of a node. A nil *Metrics counts nothing.
type Metrics struct {
	seconds *prometheus.HistogramVec
	rebinds *prometheus.CounterVec
	dropped *prometheus.CounterVec
}

// NewMetrics registers them; without a registry they are kept all the same.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "talkd",
			Subsystem: "mcu",
			Name:      "negotiation_seconds",
			Help:      "Time from a client's message to the offer or answer for it, with the wait for a publication, by side and result.",
			Buckets:   []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"side", "result"}),
		rebinds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd",
			Subsystem: "mcu",
			Name:      "rebinds_total",
			Help:      "Receiving connections whose publication was replaced, by what became of them.",
		}, []string{"result"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd",
			Subsystem: "mcu",
			Name:      "dropped_total",
			Help:      "Messages and candidates that found the queue of their connection full.",
		}, []string{"what"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.seconds), reg.Register(m.rebinds), reg.Register(m.dropped))
}

func (m *Metrics) negotiated(side string, err error, took time.Duration) {
	if m == nil {
		return
	}
	result := resultDone
	switch {
	case errors.Is(err, errSuperseded) || errors.Is(err, errOver):
		result = resultSuperseded
	case errors.Is(refusal(err), wire.ErrInvalidSDP) || errors.Is(err, wire.ErrNotAllowed):
		result = resultRefused
	case err != nil:
		result = resultFailed
	}
	m.seconds.WithLabelValues(side, result).Observe(took.Seconds())
}

func (m *Metrics) rebound(result string) {
	if m != nil {
		m.rebinds.WithLabelValues(result).Inc()
	}
}

func (m *Metrics) drop(w what) {
	if m == nil {
		return
	}
	kind := "message"
	if w == candidate || w == local {
		kind = "candidate"
	}
	m.dropped.WithLabelValues(kind).Inc()
}
