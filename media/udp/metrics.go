package udp

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics show the stats of a Port.
type metrics struct {
	registerer prometheus.Registerer
	registered []prometheus.Collector
}

func newMetrics(p *Port, r prometheus.Registerer) (*metrics, error) {
	m := &metrics{registerer: r}
	if r == nil {
		return m, nil
	}
	const namespace, subsystem = "talkd", "media_udp"
	counter := func(name, help string, labels prometheus.Labels, of ...*atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, ConstLabels: labels,
		}, func() float64 {
			var n uint64
			for _, v := range of {
				n += v.Load()
			}
			return float64(n)
		})
	}
	const datagrams = "Datagrams through the port for media."
	const dropped = "Datagrams that were lost here: no room in the kernel in time, refused by it, a connection that does not read, of no connection, from more addresses than a client has."
	s := &p.stats
	for _, c := range []prometheus.Collector{
		counter("datagrams_total", datagrams, prometheus.Labels{"direction": "in"}, &s.received),
		counter("datagrams_total", datagrams, prometheus.Labels{"direction": "out"}, &s.datagrams, &s.single),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "full"}, &s.full),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "refused"}, &s.refused),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "queue"}, &s.queue),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "unknown"}, &s.unknown),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "addresses"}, &s.addresses),
		counter("sent_apart_total", "Messages of several datagrams that were refused, and sent again one by one.", nil, &s.refusals),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "joining",
			Help: "1 while datagrams are given to the kernel together (UDP_SEGMENT); without that each costs up to four times as much.",
		}, func() float64 {
			if p.joining.off.Load() {
				return 0
			}
			return 1
		}),
		&segments{s, prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "message_datagrams"),
			"Datagrams of media that the kernel was given as one message.", nil, nil)},
	} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

// unregister lets another Port of the process register.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}

// segments is a histogram that costs its users no more than a few additions for
// each Burst.
type segments struct {
	stats *stats
	desc  *prometheus.Desc
}

func (c *segments) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

func (c *segments) Collect(out chan<- prometheus.Metric) {
	upTo := map[float64]uint64{}
	var count uint64
	for i := range c.stats.segments {
		count += c.stats.segments[i].Load()
		upTo[float64(uint(1)<<i)] = count
	}
	out <- prometheus.MustNewConstHistogram(c.desc, count, float64(c.stats.datagrams.Load()), upTo)
}
