package guesses

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	wrong, refused *prometheus.CounterVec
	untold         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, size func() int) *metrics {
	m := &metrics{
		wrong: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_guesses_wrong_total", Help: "Wrong guesses of secrets here, by what was guessed.",
		}, []string{"door"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talkd_guesses_refused_total", Help: "Tries that were refused unseen because of wrong guesses before, at any node.",
		}, []string{"door"}),
		untold: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "talkd_guesses_untold_total", Help: "Guesses that another node was not told of: it cannot be reached, or is slow.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.wrong, m.refused, m.untold, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "talkd_guesses_counters", Help: "Networks that have guessed wrong lately, each counted for each door and subject.",
		}, func() float64 { return float64(size()) }))
	}
	return m
}
