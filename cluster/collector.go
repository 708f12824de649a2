package cluster

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/store"
)

// statusCollector tells at each scrape how this node sees the cluster, from
// one look at it.
type statusCollector struct {
	c       *Cluster
	figures []figure
	members *prometheus.Desc
	keys    *prometheus.Desc
}

// figure is a gauge without labels.
type figure struct {
	desc  *prometheus.Desc
	value func(sight) float64
}

// sight is what figures are made of.
type sight struct {
	Status
	members []Member
}

func newStatusCollector(c *Cluster) *statusCollector {
	s := &statusCollector{
		c:       c,
		members: prometheus.NewDesc("talkd_cluster_members", "Nodes, by what gossip says of them.", []string{"state"}, nil),
		keys: prometheus.NewDesc("talkd_cluster_key_created_timestamp_seconds",
			"When the newest of the keys of the cluster's own was made; talkd keys rotate makes another.", []string{"key"}, nil),
	}
	add := func(name, help string, value func(sight) float64) {
		s.figures = append(s.figures, figure{prometheus.NewDesc(name, help, nil, nil), value})
	}
	sum := func(of func(Member) int) func(sight) float64 {
		return func(v sight) float64 {
			n := 0
			for _, m := range v.members {
				n += of(m)
			}
			return float64(n)
		}
	}
	ifDraining := func(m Member, n int) int {
		if m.State == StateDraining {
			return n
		}
		return 0
	}
	add("talkd_cluster_leader", "1 while this node leads.", func(v sight) float64 { return number(v.Leader == v.Self) })
	add("talkd_cluster_leader_known", "1 while this node knows a leader.", func(v sight) float64 { return number(v.Leader != "") })
	add("talkd_cluster_lease", "1 while this node may act as a home.", func(v sight) float64 { return number(v.Lease) })
	add("talkd_cluster_term", "Term of Raft.", func(v sight) float64 { return float64(v.Term) })
	add("talkd_cluster_commit_index", "Last entry of the log that is known to be decided.", func(v sight) float64 { return float64(v.Commit) })
	add("talkd_cluster_applied_index", "Last entry of the log that is applied here; what it is behind the commit index is this node's lag.",
		func(v sight) float64 { return float64(v.Applied) })
	add("talkd_cluster_voters", "Nodes that vote.", func(v sight) float64 { return float64(v.Voters) })
	add("talkd_cluster_voters_alive", "Nodes that vote and that gossip sees.", func(v sight) float64 { return float64(v.Alive) })
	add("talkd_cluster_failure_tolerance", "Voters that may fail before nothing can be decided, as the leader says; 0 without a quorum.",
		func(v sight) float64 { return float64(v.Tolerance) })
	add("talkd_cluster_rooms", "Rooms that have a home.", func(v sight) float64 { return float64(v.Rooms) })
	add("talkd_cluster_headroom_streams", "Streams that the nodes which take rooms could still forward.", func(v sight) float64 { return float64(v.Headroom) })
	add("talkd_cluster_streams", "Connections that receive, on the nodes which take rooms.",
		sum(func(m Member) int {
			if m.State != StateAlive {
				return 0
			}
			return m.Load.Subscribers
		}))
	add("talkd_cluster_draining_rooms", "Rooms whose home is a node that drains.", sum(func(m Member) int { return ifDraining(m, m.Rooms) }))
	add("talkd_cluster_draining_sessions", "Sessions on nodes that drain.", sum(func(m Member) int { return ifDraining(m, m.Load.Sessions) }))
	add("talkd_cluster_versions", "Different versions of the program on nodes that are not dead.", func(v sight) float64 {
		versions := map[string]bool{}
		for _, m := range v.members {
			if m.State != StateDead {
				versions[m.Version] = true
			}
		}
		return float64(len(versions))
	})
	add("talkd_cluster_certificate_expiry_timestamp_seconds", "When the certificate of this node ends; 0 before it has one.", func(sight) float64 {
		expires, ok := c.CertificateExpires()
		if !ok {
			return 0
		}
		return float64(expires.Unix())
	})
	return s
}

// Describe sends the descriptions.
func (s *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.members
	ch <- s.keys
	for _, f := range s.figures {
		ch <- f.desc
	}
}

// Collect looks at the cluster.
func (s *statusCollector) Collect(ch chan<- prometheus.Metric) {
	v := sight{Status: s.c.Status(), members: s.c.Members()}
	counts := map[MemberState]int{StateAlive: 0, StateSuspect: 0, StateDead: 0, StateDraining: 0}
	for _, m := range v.members {
		counts[m.State]++
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(s.members, prometheus.GaugeValue, float64(n), string(state))
	}
	for _, kind := range []store.KeyKind{store.KeyGossip, store.KeyCA} {
		if ring := s.c.state.Keys(kind).Keys; len(ring) > 0 {
			ch <- prometheus.MustNewConstMetric(s.keys, prometheus.GaugeValue, float64(ring[len(ring)-1].Created.Unix()), string(kind))
		}
	}
	for _, f := range s.figures {
		ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, f.value(v))
	}
}
