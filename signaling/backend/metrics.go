package backend

import (
	"errors"
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
	retries prometheus.Counter
	skipped prometheus.Counter
	givenUp prometheus.GaugeFunc
	served  prometheus.GaugeFunc
}

func newMetrics(reg prometheus.Registerer, known *Registry) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "talkd", Subsystem: "backend", Name: name, Help: help}
	}
	m := &metrics{
		retries: prometheus.NewCounter(prometheus.CounterOpts(opts("retries_total", "Questions to Nextcloud instances that were asked again, as nobody answered."))),
		skipped: prometheus.NewCounter(prometheus.CounterOpts(opts("skipped_total", "Questions that were not asked, as the Nextcloud instance does not answer."))),
		givenUp: prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("given_up", "Nextcloud instances that do not answer and are given up for now.")), known.givenUp),
		served:  prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("instances", "Nextcloud instances that are served.")), func() float64 { return float64(known.Len()) }),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "talkd",
			Subsystem: "backend",
			Name:      "request_seconds",
			Help:      "Time that questions to Nextcloud instances took, by kind and result.",
			Buckets:   []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"kind", "result"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.seconds), reg.Register(m.retries), reg.Register(m.skipped), reg.Register(m.givenUp), reg.Register(m.served))
}

func (m *metrics) observe(kind, result string, took time.Duration) {
	m.seconds.WithLabelValues(kind, result).Observe(took.Seconds())
}
