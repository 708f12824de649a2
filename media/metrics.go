package media

import (
	"fmt"
	"sync/atomic"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media/repair"
)

// metrics are the figures of the engine. There is no label per room: a group's
// figures are Engine.Counters.
type metrics struct {
	registerer prometheus.Registerer
	registered []prometheus.Collector

	keyframes  prometheus.Counter
	nacks      prometheus.Counter
	resent     prometheus.Counter
	unheard    prometheus.Counter
	panics     prometheus.Counter
	refused    prometheus.Counter
	dropped    *prometheus.CounterVec
	shakes     *prometheus.CounterVec
	paths      *prometheus.CounterVec
	sourceLost atomic.Uint64 // packets, as in dropped
	left       *prometheus.GaugeVec
	beyond     *prometheus.CounterVec // packets, as police leaves them out
	beyondSize *prometheus.CounterVec // and bytes
	repairs    repair.Outcomes        // of what is lost between publishers and this node
}

// Places where packets and messages are dropped.
const (
	dropSource = "source" // between a connection and its layer
	dropResend = "resend" // asked for again beyond the budget
	dropTCP    = "tcp"    // to a subscriber by TCP that does not keep up
	dropData   = "data"   // data-channel message to a slow subscriber
	// Connections by TCP that have not said yet whom they are for.
	dropStranger = "stranger"
)

func newMetrics(e *Engine, r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "talkd", Subsystem: "media", Name: name, Help: help})
	}
	m := &metrics{
		registerer: r,
		keyframes:  counter("keyframe_requests_total", "Keyframe requests sent to publishers of this node."),
		nacks:      counter("nacked_packets_total", "Packets that subscribers asked for again."),
		resent:     counter("resent_packets_total", "Packets sent to subscribers again."),
		unheard:    counter("unheard_packets_total", "Packets of voices that were not forwarded since others in the room were louder."),
		panics:     counter("panics_total", "Connections and pulls that ended by a panic; the log says where."),
		refused:    counter("refused_packets_total", "Packets of publishers that were forged, damaged, or came twice."),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "media", Name: "dropped_total",
			Help: "Packets, data-channel messages and TCP connections of strangers dropped because a bound was reached.",
		}, []string{"where"}),
		shakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "media", Name: "handshakes_total",
			Help: "Connections by the protection of their media; aes-128-cm-sha1 costs several times as much as the others.",
		}, []string{"profile"}),
		paths: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "media", Name: "sealed_connections_total",
			Help: "Connections that receive, by who seals their packets; the library costs several times as much.",
		}, []string{"path"}),
		beyond: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "media", Name: "policed_packets_total",
			Help: "Packets of publishers that were not forwarded since they send more than their bitrate limit.",
		}, []string{"kind"}),
		beyondSize: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "media", Name: "policed_bytes_total",
			Help: "Bytes of publishers that were not forwarded since they send more than their bitrate limit.",
		}, []string{"kind"}),
		left: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "talkd", Subsystem: "media", Name: "shed_streams",
			Help: "Streams of video that are left out (paused) or get a worse layer (lowered) since this node is overloaded.",
		}, []string{"what"}),
	}
	m.shed(Shed{}) // all labels are there from the start
	m.policed(false, 0, 0)
	m.policed(true, 0, 0)
	gauge := func(name, help string, f func(Totals) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "talkd", Subsystem: "media", Name: name, Help: help},
			func() float64 { return float64(f(e.Totals())) })
	}
	total := func(name, help string, f func(Totals) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "talkd", Subsystem: "media", Name: name, Help: help},
			func() float64 { return float64(f(e.Totals())) })
	}
	repairs := func(name, help string, labels prometheus.Labels, v *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "talkd", Subsystem: "media", Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(v.Load()) })
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.keyframes, m.nacks, m.resent, m.unheard, m.panics, m.refused, m.dropped, m.shakes, m.paths, m.left, m.beyond, m.beyondSize,
		repairs("repair_requests_total", "How often publishers were asked to send a packet again.", nil, &m.repairs.Asked),
		repairs("repairs_total", "What became of publishers' packets that were lost.", prometheus.Labels{"outcome": "repaired"}, &m.repairs.Repaired),
		repairs("repairs_total", "What became of publishers' packets that were lost.", prometheus.Labels{"outcome": "abandoned"}, &m.repairs.Abandoned),
		gauge("publishers", "Connections that publish.", func(t Totals) int { return t.Publishers }),
		gauge("subscribers", "Connections that receive.", func(t Totals) int { return t.Subscribers }),
		total("packets_in_total", "RTP packets from publishers and other nodes.", func(t Totals) uint64 { return t.PacketsIn }),
		total("bytes_in_total", "Bytes of RTP from publishers and other nodes.", func(t Totals) uint64 { return t.BytesIn }),
		total("packets_out_total", "RTP packets to subscribers.", func(t Totals) uint64 { return t.PacketsOut }),
		total("bytes_out_total", "Bytes of RTP to subscribers.", func(t Totals) uint64 { return t.BytesOut }),
		total("delays_total", "How often it was measured how long packets take through this node.", func(t Totals) uint64 { return t.Delays }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "media", Name: "delay_seconds_total",
			Help: "Sum of what was measured so; the mean is this by talkd_media_delays_total.",
		}, func() float64 { return e.Totals().Delay.Seconds() }),
	} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("media: metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

// unregister lets another engine of the process register.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) sourceDropped() {
	m.sourceLost.Add(1)
	m.dropped.WithLabelValues(dropSource).Inc()
}

// shed shows how much video is left out.
func (m *metrics) shed(s Shed) {
	m.left.WithLabelValues("lowered").Set(float64(s.Lowered))
	m.left.WithLabelValues("paused").Set(float64(s.Paused))
}

// policed counts what exceeded a limit.
func (m *metrics) policed(video bool, packets, bytes int) {
	kind := Audio
	if video {
		kind = Video
	}
	m.beyond.WithLabelValues(kind).Add(float64(packets))
	m.beyondSize.WithLabelValues(kind).Add(float64(bytes))
}

func (m *metrics) resendDropped(n int) { m.dropped.WithLabelValues(dropResend).Add(float64(n)) }

func (m *metrics) dataDropped() { m.dropped.WithLabelValues(dropData).Inc() }

// path counts who seals what a subscriber gets.
func (m *metrics) path(direct bool) {
	path := "library"
	if direct {
		path = "direct"
	}
	m.paths.WithLabelValues(path).Inc()
}

// hello counts the protection that this node chose as DTLS server.
func (m *metrics) hello(h handshake.MessageServerHello) handshake.Message {
	for _, x := range h.Extensions {
		srtp, ok := x.(*extension.UseSRTP)
		if !ok || len(srtp.ProtectionProfiles) == 0 {
			continue
		}
		switch srtp.ProtectionProfiles[0] {
		case piondtls.SRTP_AEAD_AES_256_GCM:
			m.shakes.WithLabelValues("aes-256-gcm").Inc()
		case piondtls.SRTP_AEAD_AES_128_GCM:
			m.shakes.WithLabelValues("aes-128-gcm").Inc()
		default:
			m.shakes.WithLabelValues("aes-128-cm-sha1").Inc()
		}
	}
	return &h
}
