package backend

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of a question, as metrics name them.
const (
	resultDone    = "done"
	resultRefused = "refused" // the instance said no
	resultFailed  = "failed"  // no answer, or not one of the protocol
)

type metrics struct {
	seconds *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "talkd",
		Subsystem: "backend",
		Name:      "request_seconds",
		Help:      "Time that questions to Nextcloud instances took, by kind and result.",
		Buckets:   []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"kind", "result"})}
	if reg == nil {
		return m, nil
	}
	return m, reg.Register(m.seconds)
}

func (m *metrics) observe(kind, result string, took time.Duration) {
	m.seconds.WithLabelValues(kind, result).Observe(took.Seconds())
}
