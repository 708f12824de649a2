package udp

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "talkd"

// metrics are those of Sockets and of what uses them.
type metrics struct {
	subsystem  string
	registerer prometheus.Registerer // nil: they are not shown
	registered []prometheus.Collector
}

// register shows metrics. When one is refused none is left.
func (m *metrics) register(all ...prometheus.Collector) error {
	if m.registerer == nil {
		return nil
	}
	for _, c := range all {
		if err := m.registerer.Register(c); err != nil {
			m.unregister()
			return err
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

// unregister lets others of the process register.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

// counter is the sum of some stats.
func (m *metrics) counter(name, help string, labels prometheus.Labels, of ...*atomic.Uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: m.subsystem, Name: name, Help: help, ConstLabels: labels,
	}, func() float64 {
		var n uint64
		for _, v := range of {
			n += v.Load()
		}
		return float64(n)
	})
}

func (s *Sockets) collectors() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{
		m.counter("sent_apart_total", "Messages of several datagrams that were refused, and sent again one by one.", nil, &s.stats.refusals),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: m.subsystem, Name: "overflows_total",
			Help: "Datagrams that the kernel dropped because the process did not read in time.",
		}, func() float64 { return float64(s.overflows()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: m.subsystem, Name: "joining",
			Help: "1 while datagrams are given to the kernel together (UDP_SEGMENT); without that each costs up to four times as much.",
		}, func() float64 {
			if s.joining.off.Load() {
				return 0
			}
			return 1
		}),
		&segments{&s.stats, prometheus.NewDesc(prometheus.BuildFQName(namespace, m.subsystem, "message_datagrams"),
			"Datagrams of media that the kernel was given as one message.", nil, nil)},
	}
}

// overflows is what the kernel dropped at all sockets.
func (s *Sockets) overflows() (n uint64) {
	for _, one := range s.sockets {
		n += one.overflows()
	}
	return n
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
