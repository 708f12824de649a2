package cluster

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lagged        prometheus.Counter
	leaderChanges prometheus.Counter
	leasesLost    prometheus.Counter
	proposals     *prometheus.CounterVec
	placements    *prometheus.CounterVec
	joins         *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	return &metrics{
		lagged:        counter("talkd_cluster_watch_lagged_total", "Readers of events that were too slow."),
		leaderChanges: counter("talkd_cluster_leader_changes_total", "Changes of the leader that this node saw."),
		leasesLost:    counter("talkd_cluster_leases_lost_total", "Times this node lost its lease as a home."),
		proposals:     vector("talkd_cluster_proposals_total", "Commands that this node proposed, by outcome.", "outcome"),
		placements:    vector("talkd_cluster_placements_total", "Decisions of this node as the leader: rooms that are new, placed anew after their home died, moved by an operator, moved off a node that drains; no_node: nobody could take the room.", "kind"),
		joins:         vector("talkd_cluster_joins_total", "Nodes that asked this one to join, by outcome.", "outcome"),
	}
}

// register offers the metrics, and what the cluster is asked for at each
// scrape.
func (m *metrics) register(reg prometheus.Registerer, c *Cluster) {
	if reg == nil {
		return
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	reg.MustRegister(m.lagged, m.leaderChanges, m.leasesLost, m.proposals, m.placements, m.joins,
		gauge("talkd_cluster_ready", "1 when this node is part of the cluster.", func() float64 { return number(c.isReady()) }),
		gauge("talkd_cluster_followers", "Nodes without Raft that follow this server.", func() float64 { return float64(c.followers.count()) }),
		newStatusCollector(c),
	)
}

// proposed counts a proposal.
func (m *metrics) proposed(err error) {
	outcome := "refused"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, ErrNoLeader), errors.Is(err, ErrNotReady):
		outcome = "no_leader"
	case errors.Is(err, ErrUnknownOutcome):
		outcome = "unknown"
	case errors.Is(err, ErrUnsupported):
		outcome = "unsupported"
	}
	m.proposals.WithLabelValues(outcome).Inc()
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// CertificateExpires is the end of this node's certificate; false before it has
// one.
func (c *Cluster) CertificateExpires() (time.Time, bool) {
	cert, err := c.identity.Certificate()
	if err != nil || cert.Leaf == nil {
		return time.Time{}, false
	}
	return cert.Leaf.NotAfter, true
}
