package rpc

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, c *conns) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_rpc_connections_accepted_total", Help: "Connections from other nodes, by protocol.",
		}, []string{"protocol"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_rpc_connections_refused_total", Help: "Connections to the cluster port that were closed, by reason.",
		}, []string{"reason"}),
	}
	if reg != nil {
		reg.MustRegister(m.accepted, m.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "talkd_rpc_connections", Help: "Open connections of the cluster port, both directions.",
		}, func() float64 { return float64(c.len()) }))
	}
	return m
}
