package node

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// missing are the other names that the signaling server documents, by why they are not there.
var missing = []struct {
	why   string
	names []string
}{
	{"not counted, or not apart", []string{
		"signaling_call_rooms_total", "signaling_call_sessions_total", "signaling_grpc_client_calls_total", "signaling_grpc_server_calls_total",
		"signaling_http_client_pool_connections", "signaling_mcu_dtls_state_total", "signaling_mcu_ice_state_total",
		"signaling_mcu_media_bytes_total", "signaling_mcu_media_codecs_total", "signaling_mcu_media_lost_total", "signaling_mcu_media_nacks_total",
		"signaling_mcu_media_retransmissions_total", "signaling_mcu_messages_total", "signaling_mcu_peerconnection_state_total",
		"signaling_mcu_publisher_streams", "signaling_mcu_selected_candidate_total", "signaling_mcu_subscriber_streams",
	}},
	{"a value for each room: `talkd cluster rooms` has them", []string{"signaling_call_sessions", "signaling_room_sessions"}},
	{"not counted; `talkd_signaling_messages_total` has what clients say", []string{"signaling_client_bytes_total", "signaling_client_messages_total"}},
	{"nobody looks up where an address is", []string{"signaling_client_countries_total"}},
	{"not measured, or not in this way", []string{
		"signaling_client_rtt", "signaling_mcu_media_jitter", "signaling_mcu_media_rtt",
	}},
	{"there are no proxies", []string{
		"signaling_mcu_backend_bandwidth", "signaling_mcu_backend_connections", "signaling_mcu_backend_load", "signaling_mcu_backend_usage",
		"signaling_mcu_no_backend_available_total", "signaling_proxy_command_messages_total", "signaling_proxy_load",
		"signaling_proxy_payload_messages_total", "signaling_proxy_publishers", "signaling_proxy_publishers_total", "signaling_proxy_sessions",
		"signaling_proxy_sessions_resumed_total", "signaling_proxy_sessions_total", "signaling_proxy_subscribers",
		"signaling_proxy_subscribers_total", "signaling_proxy_token_errors_total",
	}},
	{"`talkd cluster status` has it", []string{"signaling_mcu_bandwidth"}},
	{"who asks waits; `talkd_mcu_negotiation_seconds` has how that ended", []string{"signaling_mcu_nopublisher_total"}},
	{"not counted; `talkd_mcu_negotiation_seconds` has the offers", []string{"signaling_mcu_publishers_total", "signaling_mcu_subscribers_total"}},
	{"there is no such event", []string{"signaling_mcu_slow_link_total"}},
	{"nobody is delayed: whoever has to wait is refused", []string{"signaling_throttle_delayed_total"}},
}

// Each alias is of a metric that there is, with the label that it keeps, and docs/operations.md
// lists all of them.
func TestDocumentedNames(t *testing.T) {
	labels := map[string]string{}
	for _, m := range offered(t) {
		labels[m.name] = m.labels
	}
	var b strings.Builder
	b.WriteString("| metric | labels | is |\n|---|---|---|\n")
	last := ""
	for _, a := range aliases {
		has, ok := labels[a.of]
		if !ok || a.label != "" && !strings.Contains(has, a.label) || a.name <= last {
			t.Errorf("%+v: labels %q", a, has)
		}
		last = a.name
		label, is := "", "`"+a.of+"`"
		if a.label != "" {
			label = "`" + a.label + "`"
		}
		if a.count {
			is += ", how often"
		}
		if a.only != "" {
			is += ", `" + a.only + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.name, label, is)
	}
	keepsTable(t, "documented", b.String())

	b.Reset()
	b.WriteString("| why not | metrics |\n|---|---|\n")
	names := make(map[string]bool)
	for _, a := range aliases {
		names[a.name] = true
	}
	for _, m := range missing {
		for _, name := range m.names {
			if names[name] {
				t.Errorf("%s is missing twice, or is there", name)
			}
			names[name] = true
		}
		fmt.Fprintf(&b, "| %s | `%s` |\n", m.why, strings.Join(m.names, "`, `"))
		for _, ours := range regexp.MustCompile("`(talkd_[a-z_]+)`").FindAllStringSubmatch(m.why, -1) {
			if _, ok := labels[ours[1]]; !ok {
				t.Errorf("%q: there is no %s", m.why, ours[1])
			}
		}
	}
	keepsTable(t, "missing", b.String())
	if len(names) != documentedNames {
		t.Errorf("%d names, the signaling server documents %d", len(names), documentedNames)
	}
}

// documentedNames is how many metrics the signaling server documents, as of version 2.1.0.
const documentedNames = 63

// What is shown again is what ours say at the same moment.
func TestDocumentedValues(t *testing.T) {
	r := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "talkd_media_publishers"})
	rooms := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "talkd_signaling_backend_rooms"}, []string{"backend"})
	overflows := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "talkd_signaling_overflows_total"}, []string{"queue"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "talkd_backend_request_seconds", Buckets: []float64{1, 2}}, []string{"kind", "result"})
	r.MustRegister(gauge, rooms, overflows, seconds)
	gauge.Set(7)
	rooms.WithLabelValues("a").Set(2)
	rooms.WithLabelValues("b").Set(3)
	overflows.WithLabelValues("sessions").Add(4)
	overflows.WithLabelValues("slow").Add(5)
	seconds.WithLabelValues("auth", "done").Observe(0.5)
	seconds.WithLabelValues("room", "done").Observe(1.5)
	seconds.WithLabelValues("room", "failed").Observe(3)
	page := httptest.NewRecorder()
	promhttp.HandlerFor(documented{r}, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	var got strings.Builder
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "signaling_") || strings.HasPrefix(line, "# TYPE signaling_") {
			got.WriteString(line)
		}
	}
	const want = `# TYPE signaling_backend_client_requests_duration histogram
signaling_backend_client_requests_duration_bucket{le="1"} 1
signaling_backend_client_requests_duration_bucket{le="2"} 2
signaling_backend_client_requests_duration_bucket{le="+Inf"} 3
signaling_backend_client_requests_duration_sum 5
signaling_backend_client_requests_duration_count 3
# TYPE signaling_backend_client_requests_errors_total counter
signaling_backend_client_requests_errors_total 1
# TYPE signaling_backend_client_requests_total counter
signaling_backend_client_requests_total 3
# TYPE signaling_backend_session_limit_exceeded_total counter
signaling_backend_session_limit_exceeded_total 4
# TYPE signaling_hub_rooms gauge
signaling_hub_rooms{backend="a"} 2
signaling_hub_rooms{backend="b"} 3
# TYPE signaling_mcu_publishers gauge
signaling_mcu_publishers 7
`
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "\ntalkd_media_publishers 7\n") {
		t.Errorf("status %d:\n%s", page.Code, page.Body)
	}
}

// What has not happened yet takes nothing else from the page.
func TestDocumentedWithoutValues(t *testing.T) {
	r := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "talkd_media_publishers"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "talkd_backend_request_seconds", Buckets: []float64{1}}, []string{"kind", "result"})
	r.MustRegister(gauge, seconds)
	seconds.WithLabelValues("auth", "done").Observe(0.5)
	page := httptest.NewRecorder()
	promhttp.HandlerFor(documented{r}, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if text := page.Body.String(); !strings.Contains(text, "\ntalkd_media_publishers 0\n") || strings.Contains(text, "errors_total") {
		t.Errorf("the page is\n%s", text)
	}
}
