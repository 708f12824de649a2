package node

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// alias is a metric of ours under the name that the signaling server documents for the same thing.
type alias struct {
	name, of string
	label    string // is kept; over all others is summed
	only     string // only where a label of ours has this value
	count    bool   // how often, of a histogram
}

// aliases are those whose meaning is the same. What only looks alike is not among them.
var aliases = []alias{
	{name: "signaling_backend_client_requests_duration", of: "talkd_backend_request_seconds"},
	{name: "signaling_backend_client_requests_errors_total", of: "talkd_backend_request_seconds", only: "failed", count: true},
	{name: "signaling_backend_client_requests_total", of: "talkd_backend_request_seconds", count: true},
	{name: "signaling_backend_current", of: "talkd_backend_instances"},
	{name: "signaling_backend_session_limit", of: "talkd_signaling_backend_session_limit", label: "backend"},
	{name: "signaling_backend_session_limit_exceeded_total", of: "talkd_signaling_overflows_total", only: "sessions"},
	{name: "signaling_grpc_clients", of: "talkd_signaling_links"},
	{name: "signaling_hub_rooms", of: "talkd_signaling_backend_rooms", label: "backend"},
	{name: "signaling_hub_sessions", of: "talkd_signaling_backend_sessions", label: "backend"},
	{name: "signaling_hub_sessions_resume_failed_total", of: "talkd_signaling_resumes_failed_total"},
	{name: "signaling_hub_sessions_resume_total", of: "talkd_signaling_resumed_sessions_total"},
	{name: "signaling_hub_sessions_total", of: "talkd_signaling_sessions_total"},
	{name: "signaling_mcu_publishers", of: "talkd_media_publishers"},
	{name: "signaling_mcu_subscribers", of: "talkd_media_subscribers"},
	{name: "signaling_server_messages_total", of: "talkd_signaling_messages_total", label: "type"},
	{name: "signaling_throttle_bruteforce_total", of: "talkd_guesses_refused_total"},
}

// documented gathers our metrics, and shows some again under the names of aliases.
type documented struct{ ours prometheus.Gatherer }

// Gather meets prometheus.Gatherer.
func (d documented) Gather() ([]*dto.MetricFamily, error) {
	families, err := d.ours.Gather()
	byName := make(map[string]*dto.MetricFamily, len(families))
	for _, f := range families {
		byName[f.GetName()] = f
	}
	for _, a := range aliases {
		of := byName[a.of]
		if of == nil {
			continue
		}
		// One without values would end the page where it stands.
		if f := a.family(of); len(f.GetMetric()) > 0 {
			families = append(families, f)
		}
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}

func (a alias) family(of *dto.MetricFamily) *dto.MetricFamily {
	help, kind := "As "+a.of+".", of.GetType()
	if a.count {
		kind = dto.MetricType_COUNTER
	}
	f := &dto.MetricFamily{Name: &a.name, Help: &help, Type: &kind}
	sums := make(map[string]*dto.Metric) // by the value of the label
	for _, m := range of.GetMetric() {
		if !a.wants(m) {
			continue
		}
		var labels []*dto.LabelPair
		value := ""
		for _, l := range m.GetLabel() {
			if l.GetName() == a.label {
				labels, value = []*dto.LabelPair{l}, l.GetValue()
			}
		}
		if sums[value] == nil {
			sums[value] = &dto.Metric{Label: labels}
			f.Metric = append(f.Metric, sums[value])
		}
		a.add(sums[value], m)
	}
	return f
}

func (a alias) wants(m *dto.Metric) bool {
	return a.only == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == a.only })
}

// add adds m to a sum. Histograms of one metric have the same buckets.
func (a alias) add(sum, m *dto.Metric) {
	switch {
	case a.count:
		sum.Counter = &dto.Counter{Value: new(sum.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()))}
	case m.Counter != nil:
		sum.Counter = &dto.Counter{Value: new(sum.GetCounter().GetValue() + m.GetCounter().GetValue())}
	case m.Gauge != nil:
		sum.Gauge = &dto.Gauge{Value: new(sum.GetGauge().GetValue() + m.GetGauge().GetValue())}
	case m.Histogram != nil:
		h := m.GetHistogram()
		total := &dto.Histogram{
			SampleCount: new(sum.GetHistogram().GetSampleCount() + h.GetSampleCount()),
			SampleSum:   new(sum.GetHistogram().GetSampleSum() + h.GetSampleSum()),
		}
		for i, b := range h.GetBucket() {
			n := b.GetCumulativeCount()
			if sum.Histogram != nil {
				n += sum.GetHistogram().GetBucket()[i].GetCumulativeCount()
			}
			total.Bucket = append(total.Bucket, &dto.Bucket{CumulativeCount: &n, UpperBound: b.UpperBound})
		}
		sum.Histogram = total
	}
}
