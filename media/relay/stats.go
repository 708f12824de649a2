package relay

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/repair"
	"github.com/talkd/talkd/store"
)

// Reasons for which something is dropped.
type dropReason int

const (
	dropMalformed dropReason = iota // not a frame, or its payload is not what it claims
	dropEpoch                       // for a key of an earlier process, or of none
	dropStream                      // for a stream that has ended
	dropReplay                      // seen before, or far too late
	dropForged                      // does not open
	dropQueue                       // the layer's goroutine does not keep up
	dropDemand                      // the flow's goroutine does not keep up
	dropData                        // who reads the data-channel messages does not keep up
	dropSend                        // the kernel did not take it
	dropRead                        // reading the socket failed
	dropReasons
)

func (r dropReason) String() string {
	return [dropReasons]string{
		"malformed", "unknown_key", "unknown_stream", "replay", "forged", "queue_full", "requests_full", "messages_full",
		"send_failed", "read_failed",
	}[r]
}

// stats counts for the whole node, datagrams as they are on the wire.
type stats struct {
	packetsIn, bytesIn atomic.Uint64
	repairs            repair.Outcomes
	drops              [dropReasons]atomic.Uint64
}

func (s *stats) drop(r dropReason) { s.drops[r].Add(1) }

func (s *stats) dropped(r dropReason, n int) { s.drops[r].Add(uint64(n)) }

func (s *stats) register(reg prometheus.Registerer, m *Manager) error {
	if reg == nil {
		return nil
	}
	counter := func(name, help string, labels prometheus.Labels, count func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "talkd", Subsystem: "relay", Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(count()) })
	}
	gauge := func(name, help string, count func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "talkd", Subsystem: "relay", Name: name, Help: help,
		}, func() float64 { return float64(count()) })
	}
	in, out := prometheus.Labels{"direction": "in"}, prometheus.Labels{"direction": "out"}
	all := []prometheus.Collector{
		counter("datagrams_total", "Datagrams from and to other nodes.", in, s.packetsIn.Load),
		counter("datagrams_total", "Datagrams from and to other nodes.", out, func() uint64 { return m.Totals().PacketsOut }),
		counter("bytes_total", "Bytes of the datagrams from and to other nodes.", in, s.bytesIn.Load),
		counter("bytes_total", "Bytes of the datagrams from and to other nodes.", out, func() uint64 { return m.Totals().BytesOut }),
		counter("repair_requests_total", "How often other nodes were asked to send a packet again.", nil, s.repairs.Asked.Load),
		counter("repairs_total", "What became of missing packets.", prometheus.Labels{"outcome": "repaired"}, s.repairs.Repaired.Load),
		counter("repairs_total", "What became of missing packets.", prometheus.Labels{"outcome": "abandoned"}, s.repairs.Abandoned.Load),
		gauge("pulls", "Publications that other nodes send to this one.", func() int { return len(m.openPulls()) }),
		gauge("flows", "Publications that this node sends to others.", func() int { return len(m.openFlows()) }),
	}
	for r := range dropReasons {
		all = append(all, counter("dropped_total", "What was dropped, by reason.", prometheus.Labels{"reason": r.String()}, s.drops[r].Load))
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Totals are the datagrams since the start, with their headers.
type Totals struct {
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
}

// Totals is for the measurement of the node's load.
func (m *Manager) Totals() Totals {
	packets, bytes := m.socket.sent()
	return Totals{
		PacketsIn: m.stats.packetsIn.Load(), BytesIn: m.stats.bytesIn.Load(),
		PacketsOut: packets, BytesOut: bytes,
	}
}

// StreamInfo is one layer that flows between two nodes: RTP packets with those
// sent again, their bytes, and how many were lost on the way, repaired or not.
// The sender only knows of losses of its own.
type StreamInfo struct {
	Group                string
	From, To             store.NodeID
	Pub                  media.PubID
	Track, Layer         uint8
	Packets, Bytes, Lost uint64
}

// Streams are the layers that flow to this node, in no order.
func (m *Manager) Streams() []StreamInfo {
	var all []StreamInfo
	for _, p := range m.openPulls() {
		for _, o := range p.ports {
			all = append(all, StreamInfo{
				Group: p.pub.Group, From: p.pub.Edge, To: m.deps.Self, Pub: p.pub.ID,
				Track: o.in.track, Layer: o.in.layer,
				Packets: o.in.packets.Load(), Bytes: o.in.bytes.Load(), Lost: o.lost() + o.in.full.Load(),
			})
		}
	}
	return all
}

// Outgoing are the layers that flow from this node, in no order.
func (m *Manager) Outgoing() []StreamInfo {
	var all []StreamInfo
	for _, f := range m.openFlows() {
		for _, o := range f.layers {
			all = append(all, StreamInfo{
				Group: f.group, From: m.deps.Self, To: f.key.peer, Pub: f.key.pub, Track: o.track, Layer: o.layer,
				Packets: o.packets.Load(), Bytes: o.bytes.Load(), Lost: o.lost.Load(),
			})
		}
	}
	return all
}
