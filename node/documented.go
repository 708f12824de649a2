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

// missing are the other names that the signaling server documents, and why they are not there.
var missing = []struct{ name, why string }{
	{"signaling_call_rooms_total", "calls of a room are not counted"},
	{"signaling_call_sessions", "a value for each room: `talkd cluster rooms` has them"},
	{"signaling_call_sessions_total", "calls of a room are not counted"},
	{"signaling_client_bytes_total", "not counted; `talkd_signaling_messages_total` has what clients say"},
	{"signaling_client_countries_total", "nobody looks up where an address is"},
	{"signaling_client_messages_total", "not counted; `talkd_signaling_messages_total` has what clients say"},
	{"signaling_client_rtt", "not measured"},
	{"signaling_grpc_client_calls_total", "not counted by method"},
	{"signaling_grpc_server_calls_total", "not counted by method"},
	{"signaling_http_client_pool_connections", "not counted by host"},
	{"signaling_mcu_backend_bandwidth", "there are no proxies"},
	{"signaling_mcu_backend_connections", "there are no proxies"},
	{"signaling_mcu_backend_load", "there are no proxies"},
	{"signaling_mcu_backend_usage", "there are no proxies"},
	{"signaling_mcu_bandwidth", "`talkd cluster status` has it"},
	{"signaling_mcu_dtls_state_total", "not counted by state"},
	{"signaling_mcu_ice_state_total", "not counted by state"},
	{"signaling_mcu_media_bytes_total", "of the media only the whole is counted"},
	{"signaling_mcu_media_codecs_total", "not counted by codec"},
	{"signaling_mcu_media_jitter", "not measured in this way"},
	{"signaling_mcu_media_lost_total", "not counted in this way"},
	{"signaling_mcu_media_nacks_total", "not counted in this way"},
	{"signaling_mcu_media_retransmissions_total", "not counted in this way"},
	{"signaling_mcu_media_rtt", "not measured in this way"},
	{"signaling_mcu_messages_total", "not counted by type"},
	{"signaling_mcu_no_backend_available_total", "there are no proxies"},
	{"signaling_mcu_nopublisher_total", "who asks waits; `talkd_mcu_negotiation_seconds` has how that ended"},
	{"signaling_mcu_peerconnection_state_total", "not counted by state"},
	{"signaling_mcu_publisher_streams", "not counted"},
	{"signaling_mcu_publishers_total", "not counted; `talkd_mcu_negotiation_seconds` has the offers"},
	{"signaling_mcu_selected_candidate_total", "not counted"},
	{"signaling_mcu_slow_link_total", "there is no such event"},
	{"signaling_mcu_subscriber_streams", "not counted"},
	{"signaling_mcu_subscribers_total", "not counted; `talkd_mcu_negotiation_seconds` has the offers"},
	{"signaling_proxy_command_messages_total", "there are no proxies"},
	{"signaling_proxy_load", "there are no proxies"},
	{"signaling_proxy_payload_messages_total", "there are no proxies"},
	{"signaling_proxy_publishers", "there are no proxies"},
	{"signaling_proxy_publishers_total", "there are no proxies"},
	{"signaling_proxy_sessions", "there are no proxies"},
	{"signaling_proxy_sessions_resumed_total", "there are no proxies"},
	{"signaling_proxy_sessions_total", "there are no proxies"},
	{"signaling_proxy_subscribers", "there are no proxies"},
	{"signaling_proxy_subscribers_total", "there are no proxies"},
	{"signaling_proxy_token_errors_total", "there are no proxies"},
	{"signaling_room_sessions", "a value for each room: `talkd cluster rooms` has them"},
	{"signaling_throttle_delayed_total", "nobody is delayed: whoever has to wait is refused"},
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
