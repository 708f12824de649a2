package rpc

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	panics   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, c *conns) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_rpc_connections_accepted_total", Help: "Connections from other nodes, by protocol.",
		}, []string{"protocol"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_rpc_connections_refused_total", Help: "Connections to the cluster port that were closed, by reason.",
		}, []string{"reason"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "talkd_rpc_panics_total", Help: "Calls of other nodes whose handler panicked; the log says where.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.accepted, m.refused, m.panics, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "talkd_rpc_connections", Help: "Open connections of the cluster port, both directions.",
		}, func() float64 { return float64(c.len()) }))
	}
	return m
}
