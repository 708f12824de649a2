package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	logins   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_api_requests_total",
			Help: "Requests to the Talk API: answered (ok), refused to the client (refused), failed in the server (error).",
		}, []string{"result"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_api_password_checks_total",
			Help: "Passwords checked, by whether they were right.",
		}, []string{"result"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.logins} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of the API: %w", err)
		}
	}
	return m, nil
}
