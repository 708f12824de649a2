package node

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/talkd/talkd/api"
)

// clockInterval is how often this node compares its clock with the leader's.
const clockInterval = 30 * time.Second

// metrics of the node as a whole; those of its parts are theirs.
type metrics struct {
	operations *prometheus.CounterVec
	clock      atomic.Int64 // offset from the leader's, in nanoseconds
}

// register offers the metrics. What they ask for is there when they are
// gathered.
func (n *Node) register() error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "talkd_build_info", Help: "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": n.version, "go": runtime.Version()},
	})
	build.Set(1)
	n.metrics.operations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "talkd_operations_total", Help: "Operations that were ordered at this node, by kind and by how far they came.",
	}, []string{"kind", "phase"})
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), n.metrics.operations,
		gauge("talkd_ready", "1 while this node takes traffic.", func() float64 {
			if n.takesTraffic() {
				return 1
			}
			return 0
		}),
		gauge("talkd_cpu_ratio", "Share of the machine's processors that is in use, 0 to 1.", func() float64 { return n.load().CPU }),
		gauge("talkd_headroom_streams", "Streams that this node could still forward, as it measures itself.", func() float64 { return float64(n.load().Headroom) }),
		gauge("talkd_overload_ratio", "Share of the video that this node leaves out since it is overloaded, 0 to 1; voice is always forwarded.",
			func() float64 { return n.meter.measure().share }),
		gauge("talkd_disk_free_bytes", "Room on the disk of the data directory.", func() float64 {
			free, _ := disk(n.cfg.Node.Data)
			return float64(free)
		}),
		gauge("talkd_disk_size_bytes", "Size of the disk of the data directory.", func() float64 {
			_, size := disk(n.cfg.Node.Data)
			return float64(size)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "talkd_disk_written_bytes_total", Help: "Bytes that this process wrote to disks, as the kernel counts them; media are not among them.",
		}, func() float64 { return float64(written()) }),
		gauge("talkd_clock_offset_seconds", "How far the clock of this node is ahead of the leader's.", func() float64 {
			return time.Duration(n.metrics.clock.Load()).Seconds()
		}),
	} {
		if err := n.registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// tell counts an event of an operation.
func (m *metrics) tell(e api.AdminEvent) {
	if e.Phase != api.PhaseProgress {
		m.operations.WithLabelValues(e.Kind, string(e.Phase)).Inc()
	}
}

// compareClocks measures until ctx ends.
func (n *Node) compareClocks(ctx context.Context) error {
	tick := time.NewTicker(clockInterval)
	defer tick.Stop()
	for {
		if leader := n.cluster.Status().Leader; leader == n.cluster.Self() {
			n.metrics.clock.Store(0)
		} else if ahead, ok := n.inspector.ClockOffset(ctx, leader); ok {
			n.metrics.clock.Store(int64(-ahead))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
